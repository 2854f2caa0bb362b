# SPDX-License-Identifier: Apache-2.0
"""A process that answers requests, so that what it runs may crash or hang."""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import struct
import subprocess
import sys
import threading
from typing import Any

__all__ = ["WorkerProcess"]

_SECONDS = 1800
_PROGRAM = os.path.join(os.path.dirname(__file__), "worker_main.py")


class WorkerProcess:
    """Starts a program at the first request, and again after it has died.

    Args:
        kind: of interpreter, "litert" or "micro": the argument of the program.
        program: its path; it reads pickles from its standard input and answers each on its
            standard output, as `worker_main` does.
        name: of the interpreter, for errors; the program's kind by default.
    """

    def __init__(self, kind: str, program: str = _PROGRAM, *, name: str = ""):
        self._command, self._name = (program, kind), name or kind
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def ask(self, request: Any, seconds: float) -> Any:
        """The answer to a request.

        Args:
            request: anything that can be pickled.
            seconds: how long it may take.
        Raises:
            RuntimeError: the process died, or took too long.
        """
        with self._lock:
            process = self._running()
            late = threading.Timer(seconds, process.kill)
            late.start()
            try:
                _send(process.stdin, request)
                return _received(process.stdout)
            except (EOFError, OSError) as error:
                code = process.wait()
                if late.is_alive():
                    raise RuntimeError(
                        f"it ended the process with "
                        f"{f'signal {-code}' if code < 0 else f'exit code {code}'}"
                    ) from error
                raise RuntimeError(f"it did not finish within {seconds:g} seconds") from error
            except BaseException:
                # Interrupted in between: its answer would be taken for that of the next request.
                process.kill()
                process.wait()
                raise
            finally:
                late.cancel()

    def result(self, request: dict, *, refusal: str = "", seconds: float = _SECONDS) -> Any:
        """An interpreter's answer to a request, within half an hour by default.

        Args:
            request: as `worker_main` understands it.
            refusal: the beginning of the error if the interpreter raises one.
            seconds: how long it may take.
        Raises:
            RuntimeError: it refused, its process died, or it took too long.
        """
        try:
            state, answer = self.ask(request, seconds)
        except RuntimeError as error:
            raise RuntimeError(f"{self._name} failed: {error}") from error
        if state != "done":
            raise RuntimeError(f"{refusal}{answer}")
        return answer

    def close(self) -> None:
        """Let the process end, if there is one; the next request starts another."""
        with self._lock:
            if self._process is not None:
                _close(self._process)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            # -P: the folder of the program is no place to import from.
            self._process = subprocess.Popen(
                [sys.executable, "-P", *self._command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            atexit.register(_close, self._process)
        return self._process


def _send(stream, request: Any) -> None:
    packed = pickle.dumps(request)
    stream.write(struct.pack("<Q", len(packed)) + packed)
    stream.flush()


def _received(stream) -> Any:
    head = stream.read(8)
    if len(head) < 8:
        raise EOFError
    return pickle.loads(stream.read(struct.unpack("<Q", head)[0]))


def _close(process: subprocess.Popen[bytes]) -> None:
    """Let a process end: it stops at the end of its input."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        process.wait(timeout=5)
