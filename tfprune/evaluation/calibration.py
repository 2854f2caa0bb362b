# SPDX-License-Identifier: Apache-2.0
"""Calibration: accuracy of a network by its confidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfprune.evaluation.measures import check_labels, classes_of

FLOOR = 1e-7
"""The least probability of a label in the negative log-likelihood, as in Keras' losses."""


@dataclass(frozen=True)
class Calibration:
    """How well confidences tell the accuracy; what a reliability diagram shows.

    Attributes:
        error: expected calibration error, from 0 to 1.
        nll: mean negative log-likelihood of the labels, in nats, probabilities at least `FLOOR`.
        counts: examples in each bin, int64 [bins].
        confidences, accuracies: their means in each bin, float64 [bins]; nan in empty bins.
    """

    error: float
    nll: float
    counts: np.ndarray
    confidences: np.ndarray
    accuracies: np.ndarray


def calibrate(labels: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> Calibration:
    """The expected calibration error, with its bins, and the negative log-likelihood.

        ECE = sum_m n_m / n |accuracy_m - confidence_m|     confidence = max_c p_c
        NLL = -mean log max(p_label, 1e-7)

    Bin m holds confidences in ((m - 1) / bins, m / bins], the first one 0, too. Without examples,
    or with NaN among the probabilities, both are nan.

    Args:
        labels: class numbers [n].
        probabilities: [n, classes].
        bins: how many of equal width.

    Raises:
        ValueError: labels that do not fit the probabilities, or no bins.

    Paper: C. Guo, G. Pleiss, Y. Sun, K. Weinberger, 'On Calibration of Modern Neural Networks',
    ICML 2017, arXiv 1706.04599.

    Example:
        >>> found = calibrate(np.array([0, 1]), np.array([[0.75, 0.25], [0.75, 0.25]]), bins=2)
        >>> found.error, round(found.nll, 4), found.counts.tolist()
        (0.25, 0.837, [0, 2])
    """
    if bins < 1:
        raise ValueError(f"bins={bins}: expected at least 1.")
    predicted = classes_of(probabilities)
    count, classes = np.shape(probabilities)
    labels, rows = check_labels(labels, count, classes), np.arange(count)
    probabilities = np.asanyarray(probabilities)
    known = predicted >= 0
    confidence = np.asarray(probabilities[rows[known], predicted[known]], np.float64)
    edges = np.arange(bins + 1) / bins
    places = np.clip(np.searchsorted(edges, confidence) - 1, 0, bins - 1)
    counts, confident, right = (
        np.bincount(places, weights, minlength=bins)
        for weights in (None, confidence, (predicted == labels)[known])
    )
    if known.all() and count:
        error = float(np.abs(right - confident).sum() / count)
        chosen = np.asarray(probabilities[rows, labels], np.float64)
        nll = float(-np.log(np.maximum(chosen, FLOOR)).mean())
    else:
        error = nll = float("nan")
    means = (
        np.divide(total, counts, out=np.full(bins, np.nan), where=counts > 0)
        for total in (confident, right)
    )
    return Calibration(error, nll, counts, *means)
