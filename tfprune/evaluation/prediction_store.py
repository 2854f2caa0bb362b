# SPDX-License-Identifier: Apache-2.0
"""The folder that keeps predictions: one file each, whole or not there.

A file is a .npy (or other content) and the SHA-256 of it behind. Its name is a hash of what it
belongs to, so that a file that is there and undamaged is the only record that there is.
"""

from __future__ import annotations

import errno
import hashlib
import io
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.output.atomic_write import reserved

_HASH, _BLOCK = 32, 1 << 22  # bytes


class Store:
    """Files of a folder, which is made if it is missing.

    Args:
        folder: where they are.

    Attributes:
        damaged: the files that were there and not whole; they are made again.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.damaged: list[str] = []
        self._checked: set[str] = set()
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"folder={str(folder)!r}: a file is there; pass another one.")
        folder.mkdir(parents=True, exist_ok=True)

    def has(self, name: str) -> bool:
        """Whether a file is there and whole."""
        if name in self._checked:
            return True
        path = self.folder / name
        if not path.exists():
            return False
        if not _is_whole(path):
            self.damaged.append(name)
            return False
        self._checked.add(name)
        return True

    def write(self, name: str, content: Iterable[bytes]) -> None:
        """Make a file of parts, which are taken one by one.

        Raises:
            OSError: it cannot be written; no file of this name is left but a whole one.
        """
        with reserved(self.folder / name) as place:
            place.commit(_with_hash(content))
        self._checked.add(name)

    def write_array(
        self, name: str, dtype: Any, blocks: Iterable[np.ndarray], shape: tuple[int, ...]
    ) -> None:
        """Make a .npy file of blocks along the first axis, for the errors see `write`."""
        self.write(name, _npy(np.dtype(dtype), blocks, shape))

    def array(self, name: str) -> np.ndarray:
        """A .npy file, memory-mapped."""
        return np.load(self.folder / name, mmap_mode="r", allow_pickle=False)

    def content(self, name: str) -> bytes:
        """What was written, whole."""
        return (self.folder / name).read_bytes()[:-_HASH]

    def bytes(self, suffix: str = "") -> int:
        """What files take whose names end so."""
        return sum(path.stat().st_size for path in self.folder.glob(f"*{suffix}"))

    def free(self) -> int:
        """Bytes that are left on the disk."""
        return shutil.disk_usage(self.folder).free

    def check_room(self, needed: int) -> None:
        """Raise if the disk has less room than what is to come.

        Raises:
            OSError: ENOSPC.
        """
        free = self.free()
        if needed > free:
            raise OSError(
                errno.ENOSPC,
                f"the predictions that are left take {_mega(needed)}, but "
                f"{self.folder} has {_mega(free)} left; free some room, or pass another "
                "folder=. What is there is kept",
            )


def file_name(*parts: str, suffix: str) -> str:
    """The name of the file of these parts.

    Example:
        >>> file_name("a", "b", suffix=".npy") == file_name("ab", "", suffix=".npy")
        False
    """
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:40] + suffix


def _mega(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _npy(dtype: np.dtype, blocks: Iterable[np.ndarray], shape: tuple) -> Iterator[bytes]:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    yield head.getvalue()
    for block in blocks:
        yield np.ascontiguousarray(block, dtype).tobytes()


def _with_hash(content: Iterable[bytes]) -> Iterator[bytes]:
    found = hashlib.sha256()
    for part in content:
        found.update(part)
        yield part
    yield found.digest()


def _is_whole(path: Path) -> bool:
    found, left = hashlib.sha256(), path.stat().st_size - _HASH
    if left < 0:
        return False
    with open(path, "rb") as file:
        while left:
            part = file.read(min(_BLOCK, left))
            if not part:
                return False
            found.update(part)
            left -= len(part)
        return file.read() == found.digest()
