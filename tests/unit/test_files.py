# SPDX-License-Identifier: Apache-2.0
"""Which Keras wrote a file, read from the file."""

import json
import zipfile

import h5py
import pytest

from tfprune.backend import saved_model
from tfprune.backend.saved_model import keras_of_file


def _archive(path, version):
    return _of_members(path, **{"metadata.json": json.dumps({"keras_version": version})})


def _of_members(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
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


@pytest.mark.parametrize(
    "content, reason",
    [
        ("", "JSONDecodeError"),
        (b"\xff\xfe\xff", "Error"),
        ("[]", "TypeError"),
        ("{}", "KeyError"),
        ("null", "TypeError"),
        ('{"keras_version": 3}', "keras_version is 3"),
        ('{"keras_version": null}', "keras_version is None"),
        ("[" * 200_000, "RecursionError"),
    ],
)
def test_metadata_that_say_nothing(tmp_path, content, reason):
    path = _of_members(tmp_path / "model.keras", **{"metadata.json": content})
    with pytest.raises(ValueError, match=f"(?s)not a saved Keras model: its metadata.*{reason}"):
        keras_of_file(path)


def test_a_damaged_archive(tmp_path):
    path = _archive(tmp_path / "model.keras", "3.15.1")
    content = path.read_bytes()
    at = content.index(b"metadata.json") + len("metadata.json")
    path.write_bytes(content[:at] + bytes(8) + content[at + 8 :])
    with pytest.raises(ValueError, match="its metadata.json cannot be read"):
        keras_of_file(path)


@pytest.mark.parametrize("member", ["metadata.json", "config.json"])
def test_archives_that_unpack_to_more_than_a_model_has(tmp_path, member, monkeypatch):
    """The size is read, not the content."""
    monkeypatch.setitem(saved_model._LONGEST, "config.json", 1 << 20)
    path = _of_members(
        tmp_path / "model.keras",
        **{"metadata.json": json.dumps({"keras_version": "3.15.1"}), member: bytes(2 << 20)},
    )
    with pytest.raises(ValueError, match=f"its {member} unpacks to 2,097,152 bytes, expected at "):
        keras_of_file(path)
