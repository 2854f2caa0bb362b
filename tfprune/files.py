"""Which Keras wrote a saved model."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from tfprune.adapters import KERAS3, TF_KERAS


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
                return json.loads(archive.read("metadata.json"))["keras_version"]
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
