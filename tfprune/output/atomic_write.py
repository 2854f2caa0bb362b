# SPDX-License-Identifier: Apache-2.0
"""Writing of files: whole ones, so that the old ones survive every failure."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tfprune.output.argument_checks import check_path

if sys.platform != "win32":  # there nothing is locked, so nothing is taken for left behind
    import fcntl

_LONGEST = 200  # bytes of a name that temporary names repeat; with more they could get too long


class Reservation:
    """Files that can be written: `paths`, with links followed."""

    def __init__(self, slots: list[_Slot]):
        self.paths = tuple(slot.path for slot in slots)
        self._slots = slots

    def commit(self, *contents: bytes | Iterable[bytes]) -> None:
        """Replace the files, all of them or none.

        Args:
            contents: of each, in the order of `reserved`'s paths; whole, or in parts that are taken
                one by one.
        Raises:
            OSError: a file cannot be written, a full disk for example. All are as they were.
        """
        for slot, content in zip(self._slots, contents, strict=True):
            slot.fill(content)
        try:
            for slot in self._slots:
                slot.replace(keeping=len(self._slots) > 1)
        except BaseException:
            for slot in self._slots:
                slot.restore()
            raise


@contextlib.contextmanager
def reserved(*paths: str | os.PathLike) -> Iterator[Reservation]:
    """Prove now that `paths` can be written; `commit(content, ...)` replaces them later.

    Temporary files are made beside them at once, so that an unwritable path is known before slow
    work. Only `commit` renames them over `paths`. Links are followed. A new file gets the mode
    that the umask gives, another one keeps its own. What a killed process left of the same files
    is removed, what a living one writes is not.

    Args:
        paths: the files to write; their folders must exist.
    Returns:
        A context manager; its value is a `Reservation`.
    Raises:
        OSError: a folder is missing or cannot be written; or a path is a folder, a device, a pipe
            or a read-only file.
        ValueError: a path that no file can have.
        TypeError: no path.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with reserved(f"{folder}/model.h", f"{folder}/model.c") as place:
        ...         place.commit(b"header", b"source")
        ...     place.paths[1].read_bytes(), len(os.listdir(folder))
        (b'source', 2)
    """
    with contextlib.ExitStack() as stack:
        slots = []
        for path in paths:
            slots.append(_Slot(path))
            stack.callback(slots[-1].close)
        yield Reservation(slots)


def write(path: str | os.PathLike, content: bytes) -> Path:
    """Replace one file. For the arguments and errors see `reserved`; returns its path.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(f"{folder}/a.json", b"{}").read_text()
        '{}'
    """
    with reserved(path) as place:
        place.commit(content)
    return place.paths[0]


class _Slot:
    """One file to be written, and its temporary file."""

    def __init__(self, path):
        self._asked = path
        self.path, self._mode = _final(path)
        with _named(path, f" in the folder {self.path.parent}; choose another one"):
            _sweep(self.path)
            self._temporary, lock = _created(self.path, 0o666 if self._mode is None else 0o600)
        self._backup: Path | None = None
        self._locks = [lock]  # open files

    def fill(self, content: bytes | Iterable[bytes]) -> None:
        with open(self._locks[0], "wb", buffering=0, closefd=False) as file:
            for part in [content] if isinstance(content, bytes) else content:
                with _named(self._asked):  # not around what makes the parts
                    _write(file, part)
            with _named(self._asked):
                os.fsync(file.fileno())
                if self._mode is not None:
                    os.chmod(self._temporary, self._mode)

    def replace(self, *, keeping: bool) -> None:
        with _named(self._asked):
            if sys.platform == "win32":
                self._unlock()
            if keeping and self.path.exists():
                self._keep()
            os.replace(self._temporary, self.path)

    def _keep(self) -> None:
        if sys.platform != "win32":
            with contextlib.suppress(OSError):
                self._locks.append(os.open(self.path, os.O_RDONLY))
                _lock(self._locks[-1], wait=False)
        self._backup = _temporary(self.path)
        try:
            os.link(self.path, self._backup)
        except OSError:  # a file system without links
            os.replace(self.path, self._backup)

    def restore(self) -> None:
        """Undo `replace`, however far it came."""
        with contextlib.suppress(OSError):
            if self._backup is not None and self._backup.exists():
                os.replace(self._backup, self.path)
            elif not self._temporary.exists():
                self.path.unlink()

    def close(self) -> None:
        for file in filter(None, (self._temporary, self._backup)):
            with contextlib.suppress(OSError):
                file.unlink()
        self._unlock()

    def _unlock(self) -> None:
        while self._locks:
            os.close(self._locks.pop())


def _write(file, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]


def _final(path) -> tuple[Path, int | None]:
    """Where a path leads, and the mode of the file that is there."""
    asked = check_path(path, "the file to write")
    # Replacing the link itself would leave its target as it was.
    final = Path(os.path.realpath(asked))
    with _named(path):
        try:
            held = os.stat(final)
        except FileNotFoundError:
            held = None
    if held is None:
        if not final.parent.is_dir():
            raise FileNotFoundError(
                f"cannot write {path}: the folder {final.parent} does not exist; create it first"
            )
        return final, None
    if stat.S_ISDIR(held.st_mode):
        raise IsADirectoryError(f"cannot write {path}: it is a folder; pass the name of a file")
    if not stat.S_ISREG(held.st_mode):
        raise OSError(
            f"cannot write {path}: it is a device or a pipe, which a file would replace; "
            "pass the name of a file"
        )
    if not os.access(final, os.W_OK):
        raise PermissionError(
            f"cannot write {path}: the file there is read-only; remove it or pass another name"
        )
    return final, held.st_mode & 0o777


@contextlib.contextmanager
def _named(path, advice: str = "") -> Iterator[None]:
    """The system's errors, with the path."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno, f"cannot write {path}: {error.strerror or error}{advice}"
        ) from error


# Temporary files: .<name>.<12 hexadecimal digits>.part, locked as long as their process lives.


def _stem(path: Path) -> str:
    name = os.fsencode(path.name)
    return path.name if len(name) <= _LONGEST else hashlib.sha256(name).hexdigest()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{_stem(path)}.{secrets.token_hex(6)}.part")


def _created(path: Path, mode: int) -> tuple[Path, int]:
    """A new temporary file and its number."""
    while True:
        temporary = _temporary(path)
        number = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        _lock(number)
        if temporary.exists():
            return temporary, number
        os.close(number)  # Another process swept it before it was locked.


def _lock(number: int, *, wait: bool = True) -> bool:
    """Whether an open file is locked now: not where the system has no locks."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(number, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _sweep(path: Path) -> None:
    """Remove the temporary files of processes that are no more."""
    ours = re.compile(rf"\.{re.escape(_stem(path))}\.[0-9a-f]{{12}}\.part")
    with contextlib.suppress(OSError):  # what cannot be removed stays
        for found in [one.path for one in os.scandir(path.parent) if ours.fullmatch(one.name)]:
            with open(found, "rb") as file:
                if _lock(file.fileno(), wait=False):
                    os.unlink(found)
