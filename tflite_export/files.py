"""Writing a file so that an old one survives every failure."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

__all__ = ["reserved"]


class _Reservation:
    def __init__(self, path: Path, temporary: Path):
        self.path = path
        self._temporary = temporary

    def commit(self, content: bytes) -> None:
        with open(self._temporary, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(self._temporary, self.path)


@contextlib.contextmanager
def reserved(path: str | os.PathLike) -> Iterator[_Reservation]:
    """Prove now that `path` can be written; `commit(content)` on the result replaces it later.

    A temporary file is created in the same folder at once, so that an unwritable path is known
    before the slow work; it is renamed over `path` only by `commit`, and removed otherwise.

    Args:
        path: the file to write; its folder must exist.
    Returns:
        A context manager; its value has `path` and `commit(content: bytes)`.
    Raises:
        OSError: the folder is missing or cannot be written, or `path` is a folder or a device.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> with reserved(Path(folder.name) / "model.tflite") as place:
        ...     place.commit(b"content")
        >>> place.path.read_bytes()
        b'content'
        >>> folder.cleanup()
    """
    # A link is followed: replacing the link itself would leave its target untouched.
    final = Path(os.path.realpath(os.fspath(path)))
    try:
        is_folder = final.is_dir()
        is_special = final.exists() and not final.is_file() and not is_folder
    except OSError as error:
        raise type(error)(error.errno, f"cannot write {path!s}: {error.strerror}") from error
    if is_folder:
        raise IsADirectoryError(f"cannot write {path!s}: it is a folder; pass the name of a file")
    if is_special:
        raise OSError(f"cannot write {path!s}: it is a device or a pipe, which a file would "
                      "replace; pass the name of a file")
    if not final.parent.is_dir():
        raise FileNotFoundError(
            f"cannot write {path!s}: the folder {final.parent!s} does not exist; create it first"
        )
    temporary = final.with_name(f".{secrets.token_hex(6)}.tmp")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise type(error)(
            error.errno,
            f"cannot write {path!s}: the folder {final.parent!s} does not accept a new file "
            f"({error.strerror}); choose another folder",
        ) from error
    try:
        yield _Reservation(final, temporary)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
