# SPDX-License-Identifier: Apache-2.0
"""Data sets by name, all through tensorflow-datasets: what is on disk, and the bundled digits.

This module imports tensorflow-datasets, so nothing in `tfprune` imports it before data is asked
for. scikit-learn, which carries the digits, is imported only while they are being prepared.
"""

import contextlib
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow_datasets as tfds

if TYPE_CHECKING:
    import tensorflow as tf

TRAIN = 1437
"""Digits in the training split; the other 360 of the 1,797 are the test split."""

_ORDER_SEED = 1797
_PUBLISHED = {"glass_blur": "frosted_glass_blur", "elastic_transform": "elastic"}
"""What tensorflow-datasets calls corruptions that have another name in ImageNet-C."""


class HandwrittenDigits(tfds.core.GeneratorBasedBuilder):
    """scikit-learn's 1,797 handwritten digits as a tensorflow-datasets builder.

    Images are uint8 [8, 8, 1] with values 0 to 16, labels int64 in 0 to 9. The splits never
    change: the images in the order of `numpy.random.RandomState(1797).permutation(1797)`, the
    first 1,437 for `train` and the last 360 for `test`. (The file's own order goes by writer, so
    cutting it unshuffled would test on other people's hands than it trains on.)
    Nothing is downloaded: the images are part of scikit-learn.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Handwritten digits, 8x8 pixels with 17 grey levels (Alpaydin and "
            "Kaynak 1998), the 1,797 of the UCI test set that scikit-learn carries.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Tensor(shape=(8, 8, 1), dtype=np.uint8),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://archive.ics.uci.edu/dataset/80",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        order = np.random.RandomState(_ORDER_SEED).permutation(1797)
        return {
            "train": self._generate_examples(order[:TRAIN]),
            "test": self._generate_examples(order[TRAIN:]),
        }

    def download_and_prepare(self, **settings) -> None:
        """Write the files, without a word: there is nothing to download and no time to report."""
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            super().download_and_prepare(**settings)

    def _generate_examples(self, indices):
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise ImportError(
                "the digits come with scikit-learn, which is not installed: "
                'pip install "tfprune[demo]"'
            ) from error
        digits = load_digits()
        for position, index in enumerate(indices):
            image = digits.images[index].astype(np.uint8)[..., np.newaxis]
            yield position, {"image": image, "label": int(digits.target[index])}


def load(
    name: str = "handwritten_digits",
    split: str = "train",
    *,
    data_dir: str | os.PathLike | None = None,
    download: bool = False,
) -> "tf.data.Dataset":
    """One split of a data set as (image, label) pairs, from files that are already there.

    Args:
        name: any tensorflow-datasets name, such as "cifar10"; "handwritten_digits" is the
            bundled one, written to `data_dir` (tens of kilobytes) when it is first asked for.
        split: "train", "test", or any of tensorflow-datasets' slices, such as "train[:90%]".
        data_dir: folder with the prepared data sets; None is tensorflow-datasets' own default,
            `~/tensorflow_datasets` or the environment variable `TFDS_DATA_DIR`.
        download: allow tensorflow-datasets to fetch and prepare what is missing.

    Returns:
        A `tf.data.Dataset` of unbatched pairs, in the order of the files.

    Raises:
        FileNotFoundError: the data set is not in `data_dir` and `download` is False.
        ValueError: tensorflow-datasets knows no data set, or no split, of that name.

    Example:
        >>> import tempfile
        >>> test = load(split="test", data_dir=tempfile.mkdtemp())
        >>> len(test)
        360
    """
    builder = _builder(name, data_dir)
    if not builder.is_prepared():
        if not (download or isinstance(builder, HandwrittenDigits)):
            raise FileNotFoundError(
                f"{name!r} is not prepared in {builder.data_dir}: pass the data_dir that holds "
                "it, or download=True to let tensorflow-datasets fetch it"
            )
        builder.download_and_prepare()
    return builder.as_dataset(split=split, as_supervised=True, shuffle_files=False)


def arrays(
    name: str = "handwritten_digits",
    split: str = "train",
    *,
    data_dir: str | os.PathLike | None = None,
    download: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """The same split in memory: all images and all labels, for data sets that fit.

    Args and errors: those of `load`.

    Returns:
        images [examples, height, width, channels] in the data set's own dtype, and int32 labels
        [examples] (Keras 3 refuses smaller integers).

    Example:
        >>> import tempfile
        >>> images, labels = arrays(data_dir=tempfile.mkdtemp())
        >>> images.shape, labels.shape
        ((1437, 8, 8, 1), (1437,))
    """
    data = load(name, split, data_dir=data_dir, download=download)
    images, labels = next(data.batch(max(len(data), 1)).as_numpy_iterator())
    return images, labels.astype(np.int32)


def corrupted(
    name: str, severity: int, *, data_dir: str | os.PathLike | None = None, download: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The published CIFAR-10-C, ready-made: all 10,000 test images under one corruption.

    Args:
        name: one of `tfprune.evaluation.corruptions.CORRUPTIONS`.
        severity: 1 (weak) to 5 (strong).
        data_dir, download: those of `load`, for tensorflow-datasets' "cifar10_corrupted".

    Returns:
        images uint8 [10000, 32, 32, 3], and int32 labels [10000].

    Raises:
        FileNotFoundError: that part is not in `data_dir` and `download` is False.
        ValueError: no such corruption or severity.

    Paper: Hendrycks and Dietterich 2019, Benchmarking Neural Network Robustness to Common
    Corruptions and Perturbations.

    Example:
        >>> import tempfile
        >>> corrupted("fog", 3, data_dir=tempfile.mkdtemp())
        Traceback (most recent call last):
        ...
        FileNotFoundError: 'cifar10_corrupted/fog_3' is not prepared in ...
    """
    part = f"{_PUBLISHED.get(name, name)}_{severity}"
    known = {config.name for config in tfds.builder_cls("cifar10_corrupted").BUILDER_CONFIGS}
    if part not in known:
        ours = {theirs: name for name, theirs in _PUBLISHED.items()}
        names = sorted({ours.get(one[:-2], one[:-2]) for one in known})
        raise ValueError(
            f"cifar10_corrupted has no {name!r} of severity {severity!r}: expected 1 "
            f"to 5 and one of {', '.join(names)}"
        )
    return arrays(f"cifar10_corrupted/{part}", "test", data_dir=data_dir, download=download)


def _builder(name: str, data_dir: str | os.PathLike | None) -> tfds.core.DatasetBuilder:
    folder = None if data_dir is None else Path(data_dir).expanduser()
    try:
        return tfds.builder(name, data_dir=folder)
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(
            f"tensorflow-datasets knows no data set {name!r}: pass one of its names, or "
            f"{HandwrittenDigits.name!r} for the bundled digits"
        ) from error
