"""Which Keras wrote a file, read from the file."""

import json
import zipfile

import h5py
import pytest

from tfprune.files import keras_of_file


def _archive(path, version):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
    return path


@pytest.mark.parametrize("version, package", [("3.15.1", "keras"), ("2.21.0", "tf_keras")])
def test_version_of_keras_files_and_h5(version, package, tmp_path):
    assert keras_of_file(_archive(tmp_path / "model.keras", version)) == package
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file.attrs["keras_version"], file.attrs["model_config"] = version, "{}"
    assert keras_of_file(tmp_path / "model.h5") == package


def test_folders(tmp_path):
    with pytest.raises(ValueError, match="inference only"):
        keras_of_file(tmp_path)
    (tmp_path / "keras_metadata.pb").touch()
    assert keras_of_file(tmp_path) == "tf_keras"


def test_what_is_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="No model at"):
        keras_of_file(tmp_path / "nothing.keras")
    (tmp_path / "text.keras").write_text("no model")
    with pytest.raises(ValueError, match="not a saved Keras model"):
        keras_of_file(tmp_path / "text.keras")
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file.attrs["keras_version"] = "3.15.1"
    with pytest.raises(ValueError, match="load_weights"):
        keras_of_file(tmp_path / "weights.h5")
