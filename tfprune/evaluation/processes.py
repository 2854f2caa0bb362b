# SPDX-License-Identifier: Apache-2.0
"""An executor whose tasks run in a fresh process each, as many as cores and memory allow."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Callable

from tflite_export.latency import cores

__all__ = ["ProcessDied", "Processes", "cores", "dumps"]

_UNKNOWN = 2 << 30  # bytes that a task is taken to need before one has ended
_MARGIN = 1.2
_TAIL = 2000  # characters of what a dead process printed last
_CHILD = "import sys; sys.path[:] = {path!r}; from {module} import child; child()"


class ProcessDied(RuntimeError):
    """A process ended without a result: by a signal, out of memory, or by os._exit."""


class Processes(Executor):
    """Runs every task in a process of its own that ends with it.

    A task that dies is the exception of its own future, `ProcessDied`; the others go on. The
    first tasks start side by side if there are 2 GiB of free memory for each; as soon as one has
    ended, the largest peak so far (and a fifth more) is taken for what a task needs. One task
    always runs. Processes end with the one that started them, however that one ends. The
    processes import what they need: the script that is being run needs no guard against being
    imported.

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
            raise ImportError('processes of their own need psutil: pip install '
                              '"tfprune[evaluation]"') from error
        self._memory = _Memory(psutil)
        self._threads = ThreadPoolExecutor(workers or cores())
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.Lock()
        self._ended = False

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        return self._threads.submit(self._run, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)

    def kill(self) -> None:
        """End every process at once; what has not begun never will."""
        with self._lock:
            self._ended = True
            for process in self._running:
                process.kill()
        self.shutdown(cancel_futures=True)

    def _run(self, fn: Callable, args: tuple, kwargs: dict) -> Any:
        task = dumps((fn, args, kwargs))
        with self._memory.room() as room, tempfile.TemporaryFile() as printed:
            process = self._started(printed)
            try:
                room.pid = process.pid
                answer = _ask(process, task)
            finally:
                with self._lock:
                    self._running.discard(process)
                process.kill()
                with contextlib.suppress(OSError):  # what it did not read
                    process.stdin.close()
                process.wait()
            if not answer:
                raise ProcessDied(f"{_ending(process.returncode)}{_tail(printed)}")
        value, error = pickle.loads(answer)
        if error is not None:
            raise error
        return value

    def _started(self, printed: Any) -> subprocess.Popen:
        with self._lock:
            if self._ended:
                raise ProcessDied("it was not started: the executor has ended")
            path = [os.path.abspath(one) for one in sys.path]
            process = subprocess.Popen(
                [sys.executable, "-c", _CHILD.format(path=path, module=__name__)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=printed)
            self._running.add(process)
            return process


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
        raise TypeError(f"cannot be sent to another process: {error}. Open files, data sets and "
                        "models are made inside of the function; arrays can be sent.") from error


def _plainly(value: Any) -> bytes:
    file = io.BytesIO()
    try:
        _Plain(file).dump(value)
    except Exception as error:
        raise TypeError(f"cannot be sent to another process: {error}. Functions have to stand in "
                        "a module that can be imported; those of a script, a notebook or another "
                        'function need cloudpickle: pip install "tfprune[evaluation]"') from error
    return file.getvalue()


class _Plain(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        # By name, which in another process is another script's.
        if getattr(value, "__module__", None) == "__main__" and isinstance(
                value, (type, type(_plainly))):
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
        fn, args, kwargs = pickle.loads(task)
        return dumps((fn(*args, **kwargs), None))
    except BaseException as error:
        text = f"{type(error).__name__}: {error}"
        try:
            answer = dumps((None, error))
            pickle.loads(answer)  # some exceptions can be written, and not read
            return answer
        except Exception:
            return pickle.dumps((None, RuntimeError(text)))


def _ask(process: subprocess.Popen, task: bytes) -> bytes:
    """The answer of a process; nothing if it died before it had said all."""
    try:
        process.stdin.write(struct.pack("q", len(task)))
        process.stdin.write(task)
        process.stdin.flush()
    except BrokenPipeError:
        pass
    with process.stdout as answers:
        head, answer = answers.read(8), answers.read()
    if len(head) == 8 and len(answer) == struct.unpack("q", head)[0]:
        return answer
    process.wait()
    return b""


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
    text = printed.read().decode(errors="replace").strip()[-_TAIL:]
    return f"; it printed last:\n{text}" if text else ""


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

    def room(self) -> "_Waiting":
        return _Waiting(self)

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
        except self.psutil.Error:
            held = 0
        room.peak = max(room.peak, held)
        return held


@dataclass
class _Waiting:
    """A context manager that waits for room."""

    memory: _Memory
    room: _Room = field(default_factory=_Room)

    def __enter__(self) -> _Room:
        with self.memory.changed:
            while not self.memory.fits():
                self.memory.changed.wait(1.0)
            self.memory.rooms.add(self.room)
        self.watch = threading.Thread(target=self._watch, daemon=True)
        self.watch.start()
        return self.room

    def __exit__(self, *exception: Any) -> None:
        with self.memory.changed:
            self.memory.rooms.discard(self.room)
            self.memory.largest = max(self.memory.largest, self.room.peak)
            self.memory.changed.notify_all()

    def _watch(self) -> None:
        while self.room in self.memory.rooms:
            self.memory.held(self.room)
            time.sleep(0.2)
