# SPDX-License-Identifier: Apache-2.0
"""Silence for C++ libraries that write to the process's standard error."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import IO

__all__ = ["suppress_stderr"]


@contextlib.contextmanager
def suppress_stderr() -> Iterator[IO[bytes]]:
    """Keep file descriptor 2, Python's logging and warnings still while the block runs.

    The converter and the interpreter log from C++, so replacing `sys.stderr` does not reach
    them. The descriptor is process-wide: other threads are silent for that time, too.

    Returns:
        A context manager; its value is the file that has what was written.

    Example:
        >>> with suppress_stderr():
        ...     _ = os.write(2, b"not seen")
    """
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
    disabled = logging.root.manager.disable
    saved = _duplicate(2)
    with tempfile.TemporaryFile() as sink, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            if saved is not None:
                os.dup2(sink.fileno(), 2)
            yield sink
        finally:
            logging.disable(disabled)
            if saved is not None:
                os.dup2(saved, 2)
                os.close(saved)


def _duplicate(descriptor: int) -> int | None:
    """A daemon may have closed its standard error: then there is nothing to silence."""
    try:
        return os.dup(descriptor)
    except OSError:
        return None
