# SPDX-License-Identifier: Apache-2.0
"""Data sets by name: the bundled digits, and what tensorflow-datasets has on disk."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from sklearn.datasets import load_digits

from tfprune import data
from tfprune.evaluation.corruptions import CORRUPTIONS

CIFAR = Path(os.environ.get("TFPRUNE_DATA", Path(__file__).parents[3] / "shared" / "data")) / "tfds"


class Squares(tfds.core.GeneratorBasedBuilder):
    """Somebody else's data set, registered under "squares" as all of them are."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict({"root": np.int64, "square": np.int64})
        return tfds.core.DatasetInfo(
            builder=self,
            description="Squares.",
            features=features,
            supervised_keys=("root", "square"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for root in range(5):
            yield root, {"root": root, "square": root * root}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    data.load(data_dir=folder)
    return folder


def test_the_splits_are_the_documented_permutation_of_scikit_learns_digits(prepared):
    source = load_digits()
    order = np.random.RandomState(1797).permutation(1797)
    for split, chosen in (("train", order[:1437]), ("test", order[1437:])):
        images, labels = data.arrays(split=split, data_dir=prepared)
        np.testing.assert_array_equal(images[..., 0], source.images[chosen])
        np.testing.assert_array_equal(labels, source.target[chosen])
        assert images.dtype == np.uint8 and labels.dtype == np.int32


def test_slices_are_those_of_tensorflow_datasets(prepared):
    images, _ = data.arrays(split="train[:10]", data_dir=prepared)
    everything, _ = data.arrays(split="train", data_dir=prepared)
    np.testing.assert_array_equal(images, everything[:10])


def test_prepared_digits_need_no_scikit_learn(prepared, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert len(data.load(split="test", data_dir=prepared)) == 360


def test_without_scikit_learn_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"tfprune\[demo\]"):
        data.load(data_dir=tmp_path)


def test_preparing_the_digits_says_nothing(tmp_path, capsys):
    data.load(data_dir=tmp_path)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == ""


def test_a_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    data.load(data_dir="~/sets")
    assert (tmp_path / "sets" / "handwritten_digits").is_dir()


def test_nothing_is_fetched_unless_asked(tmp_path):
    with pytest.raises(FileNotFoundError, match="data_dir.*download=True"):
        data.load("squares", data_dir=tmp_path)
    assert not (tmp_path / "squares").exists()


def test_any_other_data_set_takes_the_same_path(tmp_path):
    fetched = data.load("squares", data_dir=tmp_path, download=True)
    found = data.load("squares", data_dir=tmp_path)
    assert list(fetched.as_numpy_iterator()) == list(found.as_numpy_iterator())
    assert list(found.as_numpy_iterator()) == [(0, 0), (1, 1), (2, 4), (3, 9), (4, 16)]


def test_an_unknown_data_set_is_named(tmp_path):
    with pytest.raises(ValueError, match="'no_such_set'.*'handwritten_digits'"):
        data.load("no_such_set", data_dir=tmp_path)


def test_an_unknown_split_lists_those_there_are(prepared):
    with pytest.raises(ValueError, match=r"validation.*\['train', 'test'\]"):
        data.load(split="validation", data_dir=prepared)


def test_published_corruptions_are_found_by_the_names_of_the_benchmark(tmp_path, monkeypatch):
    for name in CORRUPTIONS:  # tensorflow-datasets has each, some by another name
        with pytest.raises(FileNotFoundError, match=f"cifar10_corrupted/.*_5.*{tmp_path}"):
            data.corrupted(name, 5, data_dir=tmp_path)
    made = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    examples = [(place, {"image": image, "label": place}) for place, image in enumerate(made)]
    monkeypatch.setattr(
        tfds.builder_cls("cifar10_corrupted"),
        "_split_generators",
        lambda self, manager: {"test": iter(examples)},
    )
    tfds.builder("cifar10_corrupted/frosted_glass_blur_2", data_dir=tmp_path).download_and_prepare()
    images, labels = data.corrupted("glass_blur", 2, data_dir=tmp_path)
    assert {image.tobytes() for image in images} == {image.tobytes() for image in made}
    assert all((made[label] == image).all() for image, label in zip(images, labels))
    with pytest.raises(FileNotFoundError):
        data.corrupted("glass_blur", 3, data_dir=tmp_path)


@pytest.mark.parametrize("part", [("glas_blur", 2), ("fog", 0), ("fog", 6), ("fog", 2.0)])
def test_an_unpublished_corruption_lists_those_there_are(tmp_path, part):
    with pytest.raises(ValueError, match=f"no '{part[0]}' of severity {part[1]}.*1 to 5.*, glass_"):
        data.corrupted(*part, data_dir=tmp_path)


def test_importing_it_loads_no_keras_and_changes_no_environment():
    code = (
        "import os, sys; before = dict(os.environ); import tfprune.data; "
        "loaded = {'keras', 'tf_keras', 'tensorflow', 'sklearn'} & set(sys.modules); "
        "assert not loaded, loaded; assert dict(os.environ) == before"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not (CIFAR / "cifar10").is_dir(), reason=f"no CIFAR-10 in {CIFAR}")
def test_cifar10_from_its_files():
    images, labels = data.arrays("cifar10", "test[:100]", data_dir=CIFAR)
    assert images.shape == (100, 32, 32, 3) and images.dtype == np.uint8
    assert set(labels) <= set(range(10))
