# SPDX-License-Identifier: Apache-2.0
"""What is taken as the data of a score, and how much of it one pass takes."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

import tfprune
from tfprune.statistics.calibration_data import Feed

BATCH = (np.ones((4, 2), "f4"), np.zeros(4, int))
DATASET = tf.data.Dataset.from_tensors(BATCH)


class Flow:
    """As Keras' image generators: a length, and an iterator that never ends."""

    def __len__(self):
        return 3

    def __iter__(self):
        return itertools.cycle([BATCH])


class Items:
    """The old protocol."""

    def __getitem__(self, index):
        if index == 2:
            raise IndexError
        return BATCH


@pytest.mark.parametrize(
    "source, batches, count",
    [
        (BATCH, None, 1),
        ([BATCH] * 2, None, 2),
        ([BATCH] * 2, 3, 3),
        (DATASET, None, 1),
        (DATASET.repeat(3).filter(lambda *_: True), None, 3),
        (DATASET.repeat(), 5, 5),
        (itertools.cycle([BATCH]), 5, 5),
        (iter([BATCH] * 2), None, 2),
        (Flow(), None, 3),
        (Flow(), 7, 7),
        (Items(), None, 2),
    ],
)
def test_how_much_one_pass_takes(source, batches, count):
    assert len(list(Feed(tfprune.CalibrationData(source, batches=batches)).take())) == count


@pytest.mark.parametrize(
    "source", [DATASET.repeat(), itertools.cycle([BATCH]), itertools.repeat(BATCH)]
)
def test_data_that_never_ends(source):
    with pytest.raises(
        ValueError, match=r"never ends.*pass tfprune.CalibrationData\(data, batches=n\)"
    ):
        tfprune.PruningCallback("snip", 0.5, data=source)


@pytest.mark.parametrize(
    "source, words",
    [
        (lambda: BATCH, "; call the function and pass what it returns"),
        (3, ", got int"),
        ("train", ", got str"),
        (None, ", got NoneType"),
        (tfprune.CalibrationData, "; call the function"),
        (object(), ", got object"),
    ],
)
def test_what_is_no_data(source, words):
    text = (
        r"data=.*: expected arrays \(x, y\), a tf.data.Dataset or another iterable of such "
        "batches"
    )
    with pytest.raises(TypeError, match=text + words):
        tfprune.CalibrationData(source)


def test_complex_inputs():
    with pytest.raises(ValueError, match="complex64; expected real numbers"):
        next(Feed(tfprune.CalibrationData((BATCH[0].astype("c8"), BATCH[1]))).take())
