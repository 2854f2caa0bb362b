# SPDX-License-Identifier: Apache-2.0
"""Functions in fresh processes, and an executor of them: as many as cores and memory allow."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import pickle
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import IO, Any, Callable

from tflite_export.devices.litert_latency import cores

__all__ = ["ProcessDied", "Processes", "apart", "dumps"]

_UNKNOWN = 2 << 30  # bytes that a task is taken to need before one has ended
_MARGIN = 1.2
_TAIL = 2000  # characters of what a dead process printed last
_CHILD = "import sys; sys.path[:] = {path!r}; from {module} import child; child()"


class ProcessDied(RuntimeError):
    """A process ended without a result: by a signal, out of memory, or by os._exit."""


def apart(
    fn: Callable, /, *args: Any, begun: Callable[[subprocess.Popen], Any] | None = None
) -> Any:
    """Run a function in a fresh process, and wait for what it returns.

    The process ends with this one, however this one ends. It imports what it needs: the script
    that is being run needs no guard against being imported.

    Args:
        fn: the function; see `dumps` for what can be sent.
        begun: is told the process.

    Raises:
        ProcessDied: the process ended without a result.
        BaseException: what the function raised.

    Example:
        >>> apart(divmod, 7, 2)
        (3, 1)
    """
    task = dumps((fn, args))
    path = [os.path.abspath(one) for one in sys.path]
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(
            [sys.executable, "-c", _CHILD.format(path=path, module=__name__)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=printed,
        )
        try:
            if begun is not None:
                begun(process)
            answer = _ask(process, task)
        finally:
            process.kill()
            with contextlib.suppress(OSError):  # what it did not read
                _pipes(process)[0].close()
            process.wait()
        if not answer:
            raise ProcessDied(f"{_ending(process.returncode)}{_tail(printed)}")
    value, error = pickle.loads(answer)
    if error is not None:
        raise error
    return value


class Processes(Executor):
    """Runs every task in a process of its own that ends with it.

    A task that dies is the exception of its own future, `ProcessDied`; the others go on. The
    first tasks start side by side if there are 2 GiB of free memory for each; as soon as one has
    ended, the largest peak so far (and a fifth more) is taken for what a task needs. One task
    always runs.

    Args:
        workers: how many at once at most; None: one for each core.

    Raises:
        ImportError: psutil is missing.

    Example:
        >>> with Processes(1) as processes:
        ...     processes.submit(divmod, 7, 2).result()
        (3, 1)
    """

    def __init__(self, workers: int | None = None):
        try:
            import psutil
        except ImportError as error:
            raise ImportError(
                'processes of their own need psutil: pip install "tfprune[evaluation]"'
            ) from error
        self._memory = _Memory(psutil)
        self._threads = ThreadPoolExecutor(workers or cores())
        self._running: weakref.WeakSet[subprocess.Popen] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._ended = False

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        return self._threads.submit(self._run, functools.partial(fn, *args, **kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)

    def kill(self) -> None:
        """End every process at once; what has not begun never will."""
        with self._lock:
            self._ended = True
            for process in self._running:
                process.kill()
        self.shutdown(cancel_futures=True)

    def _run(self, task: Callable) -> Any:
        with self._memory.room() as room:
            return apart(task, begun=functools.partial(self._begun, room))

    def _begun(self, room: _Room, process: subprocess.Popen) -> None:
        room.pid = process.pid
        with self._lock:
            self._running.add(process)
            if self._ended:
                process.kill()


def dumps(value: Any) -> bytes:
    """Pickled, with functions of a notebook or of the running script by value (cloudpickle).

    Raises:
        TypeError: it cannot be pickled, or only by cloudpickle, which is missing.
    """
    try:
        from cloudpickle import dumps as pickled
    except ImportError:
        return _plainly(value)
    try:
        return pickled(value)
    except Exception as error:  # whatever an object's own __reduce__ raises
        raise TypeError(
            f"cannot be sent to another process: {error}. Open files, data sets and "
            "models are made inside of the function; arrays can be sent."
        ) from error


def _plainly(value: Any) -> bytes:
    file = io.BytesIO()
    try:
        _Plain(file).dump(value)
    except Exception as error:
        raise TypeError(
            f"cannot be sent to another process: {error}. Functions have to stand in "
            "a module that can be imported; those of a script, a notebook or another "
            'function need cloudpickle: pip install "tfprune[evaluation]"'
        ) from error
    return file.getvalue()


class _Plain(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        # By name, which in another process is another script's.
        if getattr(value, "__module__", None) == "__main__" and isinstance(
            value, (type, type(_plainly))
        ):
            raise pickle.PicklingError(f"{value.__qualname__} is of the running script")
        return NotImplemented


def child() -> None:
    """What a process does: one task from its input, one answer to its output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # its parent ends it
    tasks, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the task prints is no answer
    task = tasks.read(struct.unpack("q", tasks.read(8))[0])
    threading.Thread(target=_end_with, args=(tasks,), daemon=True).start()
    answer = _answer(task)
    answers.write(struct.pack("q", len(answer)) + answer)
    answers.close()


def _end_with(tasks: Any) -> None:
    """Wait until the parent closes the pipe, or is no more."""
    tasks.read(1)
    os._exit(1)


def _answer(task: bytes) -> bytes:
    try:
        fn, args = pickle.loads(task)
        return dumps((fn(*args), None))
    except BaseException as error:  # SystemExit of the task is an answer, too
        text = f"{type(error).__name__}: {error}"
        try:
            answer = dumps((None, error))
            pickle.loads(answer)  # some exceptions can be written, and not read
            return answer
        except Exception:
            return pickle.dumps((None, RuntimeError(text)))


def _ask(process: subprocess.Popen, task: bytes) -> bytes:
    """The answer of a process; nothing if it died before it had said all."""
    tasks, found = _pipes(process)
    try:
        tasks.write(struct.pack("q", len(task)))
        tasks.write(task)
        tasks.flush()
    except BrokenPipeError:
        pass
    with found as answers:
        head, answer = answers.read(8), answers.read()
    if len(head) == 8 and len(answer) == struct.unpack("q", head)[0]:
        return answer
    process.wait()
    return b""


def _pipes(process: subprocess.Popen) -> tuple[IO[bytes], IO[bytes]]:
    """Its input and its output."""
    assert process.stdin is not None and process.stdout is not None  # `apart` makes both
    return process.stdin, process.stdout


def _ending(code: int) -> str:
    if code >= 0:
        return f"its process ended with exit code {code} and without a result"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    more = ", as by a lack of memory" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{more}"


def _tail(printed: Any) -> str:
    size = printed.seek(0, os.SEEK_END)
    printed.seek(max(size - 4 * _TAIL, 0))
    lines = printed.read().decode(errors="replace").strip().splitlines()
    text = "\n".join(line for line in lines if not _OF_TENSORFLOW.match(line))[-_TAIL:]
    return f"; it printed last:\n{text}" if text else ""


_OF_TENSORFLOW = re.compile(r"WARNING: All log messages before absl|[IW]\d{4} \d\d:\d\d")
"""What it prints whenever it starts."""


@dataclass(eq=False)
class _Room:
    """The memory that one task has."""

    pid: int | None = None
    peak: int = 0


@dataclass
class _Memory:
    """Lets tasks begin where there is memory for them."""

    psutil: Any
    rooms: set[_Room] = field(default_factory=set)
    largest: int = 0  # peak of a task that has ended
    changed: threading.Condition = field(default_factory=threading.Condition)

    @contextlib.contextmanager
    def room(self) -> Iterator[_Room]:
        """Wait until there is room."""
        room = _Room()
        with self.changed:
            while not self.fits():
                self.changed.wait(1.0)
            self.rooms.add(room)
        threading.Thread(target=self._watch, args=(room,), daemon=True).start()
        try:
            yield room
        finally:
            with self.changed:
                self.rooms.discard(room)
                self.largest = max(self.largest, room.peak)
                self.changed.notify_all()

    def fits(self) -> bool:
        """Whether there is room for one more, when those that run have grown."""
        if not self.rooms:
            return True
        need = int(self.largest * _MARGIN) or _UNKNOWN
        growing = sum(max(need - self.held(room), 0) for room in self.rooms)
        return self.psutil.virtual_memory().available - growing >= need

    def held(self, room: _Room) -> int:
        """What a task holds now, in bytes."""
        try:
            held = self.psutil.Process(room.pid).memory_info().rss if room.pid else 0
        except self.psutil.Error:  # it has just ended
            held = 0
        room.peak = max(room.peak, held)
        return held

    def _watch(self, room: _Room) -> None:
        while room in self.rooms:
            self.held(room)
            time.sleep(0.2)
