# SPDX-License-Identifier: Apache-2.0
"""Confidence and diversity: by hand."""

import numpy as np
import pytest

from tfprune.methods.rules.mask_statistics import confidence, diversity

SURE = 50 * np.eye(4)


@pytest.mark.parametrize(
    "logits, sure, differs",
    [
        (np.zeros((3, 4)), 0, 0),
        (SURE[[1, 1, 1]], 1, 0),
        (SURE, 1, 1),
        (SURE[:2], 1, 0.5),  # ln 2 / ln 4
        ([[2.0, 1.0, 0.0, -1.0]], 1 - 0.683503, 0),
        # means (.5, .5): H = ln 2; rows (.9, .1), (.1, .9): H = .325083
        (np.log([[0.9, 0.1], [0.1, 0.9]]), 1 - 0.325083 / np.log(2), 1 - 0.325083 / np.log(2)),
    ],
)
def test_by_hand(logits, sure, differs):
    assert confidence(logits) == pytest.approx(sure, abs=1e-6)
    assert diversity(logits) == pytest.approx(differs, abs=1e-6)


def test_large_logits_do_not_overflow():
    logits = np.array([[1e9, -1e9], [-1e9, 1e9]])
    assert (confidence(logits), diversity(logits)) == (1, 1)


@pytest.mark.parametrize("shape", [(3,), (3, 1), (2, 3, 4)])
def test_logits_of_another_shape(shape):
    for measure in (confidence, diversity):
        with pytest.raises(ValueError, match=r"expected \[rows, n\]"):
            measure(np.zeros(shape))
