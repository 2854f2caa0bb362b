# SPDX-License-Identifier: Apache-2.0
"""The Keras that wrote a saved model."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path

from tfprune.backend import KERAS3, TF_KERAS

_LONGEST = {"metadata.json": 1 << 20, "config.json": 1 << 28}  # bytes


def keras_of_file(path: Path) -> str:
    """`"keras"` or `"tf_keras"`, from the version that the file itself states.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: not a saved Keras model.
    """
    if not path.exists():
        raise FileNotFoundError(f"No model at {path}.")
    if path.is_dir():
        if (path / "keras_metadata.pb").exists():
            return TF_KERAS
        raise ValueError(
            f"{path} is a folder, but not a SavedModel written by tf_keras' model.save. What "
            "model.export writes is for inference only; load a .keras file instead."
        )
    return KERAS3 if _version(path).startswith("3") else TF_KERAS


def _version(path: Path) -> str:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if "metadata.json" in archive.namelist():
                return _version_in(archive, path)
    import h5py

    if h5py.is_hdf5(path):
        with h5py.File(path) as file:
            if "keras_version" in file.attrs and "model_config" in file.attrs:
                version = file.attrs["keras_version"]
                return version.decode() if isinstance(version, bytes) else str(version)
    raise ValueError(
        f"{path} is not a saved Keras model: expected a .keras or .h5 file written by model.save. "
        "Weights alone are loaded by model.load_weights."
    )


def _version_in(archive: zipfile.ZipFile, path: Path) -> str:
    # A megabyte of an archive can unpack to a gigabyte; not more than what is declared is read.
    for member in archive.infolist():
        if member.file_size > _LONGEST.get(member.filename, member.file_size):
            raise ValueError(
                f"{path} is not a saved Keras model: its {member.filename} unpacks to "
                f"{member.file_size:,} bytes, expected at most "
                f"{_LONGEST[member.filename]:,}."
            )
    try:
        version = json.loads(archive.read("metadata.json"))["keras_version"]
        if not isinstance(version, str):
            raise TypeError(f"keras_version is {version!r}")
    except (
        LookupError,
        TypeError,
        ValueError,
        RecursionError,
        RuntimeError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(
            f"{path} is not a saved Keras model: its metadata.json cannot be read "
            f"({type(error).__name__}: {error}). Save the model again."
        ) from error
    return version
