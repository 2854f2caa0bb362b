# SPDX-License-Identifier: Apache-2.0
"""Probabilities, classes, errors and recalls from a network's outputs."""

from __future__ import annotations

import numpy as np

BLOCK = 1 << 14
"""Rows looked at together, so that memory-mapped outputs are never copied as a whole."""


def are_probabilities(outputs: np.ndarray) -> bool:
    """Whether all rows are probabilities of classes, and not logits.

        0 <= p <= 1 for all entries  and, with several columns,  |sum p - 1| <= (classes + 1) / 512

    The bound of the sum is what rounding to 8 bits may cost. Rows with NaN or infinities are left
    out. Told on all rows of a network, as single rows of logits can look like probabilities.

    Args:
        outputs: [n, classes], or [n] or [n, 1] for the second of two classes.

    Example:
        >>> are_probabilities(np.array([[0.2, 0.8], [1, 0]]))
        True
        >>> are_probabilities(np.array([[0.2, 0.8], [1.5, 0]]))
        False
    """
    outputs = _columns(outputs)
    bound, known = (outputs.shape[1] + 1) / 512, False
    for start in range(0, len(outputs), BLOCK):
        block = np.asarray(outputs[start : start + BLOCK], np.float64)
        block = block[np.isfinite(block).all(axis=1)]
        known |= len(block) > 0
        if ((block < 0) | (block > 1 + 1e-6)).any():
            return False
        if block.shape[1] > 1 and (np.abs(block.sum(axis=1) - 1) > bound).any():
            return False
    return known


def probabilities(outputs: np.ndarray, *, logits: bool | None = None) -> np.ndarray:
    """Probabilities of classes: a softmax of the outputs, unless they are probabilities already.

        p_c = exp(z_c) / sum_k exp(z_k)     one column z: (1 - s, s) with s = 1 / (1 + exp(-z))

    Probabilities are returned as they are, in float64, even if rounding keeps them from a sum of 1.

    Args:
        outputs: [n, classes], or [n] or [n, 1] for the second of two classes.
        logits: whether the outputs are logits. None: told from these values by
            `are_probabilities`; pass it where only some rows of a network are at hand.

    Returns:
        float64 [n, classes]. Rows with NaN or +inf in logits are NaN.

    Raises:
        ValueError: another shape, or outputs that are no real numbers.

    Example:
        >>> probabilities(np.array([[0.0, np.log(3)]])).round(6).tolist()
        [[0.25, 0.75]]
        >>> probabilities(np.array([0.25, 1.0])).tolist()
        [[0.75, 0.25], [0.0, 1.0]]
    """
    outputs = _columns(outputs)
    if logits is None:
        logits = not are_probabilities(outputs)
    values = np.array(outputs, np.float64)
    if values.shape[1] == 1:
        values = np.hstack([np.zeros_like(values) if logits else 1 - values, values])
    if logits:
        with np.errstate(invalid="ignore"):  # inf - inf: NaN, as said
            values -= values.max(axis=1, keepdims=True)
        np.exp(values, out=values)
        values /= values.sum(axis=1, keepdims=True)
    return values


def classes_of(probabilities: np.ndarray) -> np.ndarray:
    """The most probable class of each row; the smallest of equal ones; -1 where a row has NaN.

    Args:
        probabilities: [n, classes]. Logits do as well, which have the same order.

    Returns:
        int64 [n].

    Example:
        >>> classes_of(np.array([[0.1, 0.9], [0.5, 0.5], [np.nan, 0.5]])).tolist()
        [1, 0, -1]
    """
    values = np.asanyarray(probabilities)
    if values.ndim != 2 or values.shape[1] < 2:
        raise ValueError(
            f"probabilities of shape {values.shape}: expected [n, classes] with two "
            "classes or more; `probabilities` makes them from outputs."
        )
    found = np.full(len(values), -1, np.int64)
    for start in range(0, len(values), BLOCK):
        block = np.asarray(values[start : start + BLOCK])
        known = ~np.isnan(block.max(axis=1))
        found[start : start + BLOCK][known] = block[known].argmax(axis=1)
    return found


def wrong(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Where the most probable class is not the label; a row with NaN is wrong.

    Args:
        labels: class numbers [n] or [n, 1].
        probabilities: [n, classes].

    Returns:
        bool [n]; its mean is the error.

    Raises:
        ValueError: labels that are no class numbers of these probabilities.

    Example:
        >>> wrong(np.array([1, 0]), np.array([[0.1, 0.9], [0.4, 0.6]])).tolist()
        [False, True]
    """
    predicted = classes_of(probabilities)
    return check_labels(labels, *np.shape(probabilities)) != predicted


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """How often an example of class i is predicted as class j.

    Args:
        labels, predicted: class numbers [n]; predicted -1 (no class) is in no column.
        classes: how many there are.

    Returns:
        int64 [classes, classes], labels in rows.

    Example:
        >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    labels, predicted = _checked(labels, predicted, classes)
    known = predicted >= 0
    pairs = labels[known] * classes + predicted[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def recalls(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """For each class, the fraction of its examples that are predicted as it.

    Args:
        labels, predicted: class numbers [n]; predicted -1 (no class) is never right.
        classes: how many there are.

    Returns:
        float64 [classes]; nan for a class without examples.

    Example:
        >>> recalls(np.array([0, 0, 1]), np.array([0, 1, 1]), 3).tolist()
        [0.5, 1.0, nan]
    """
    labels, predicted = _checked(labels, predicted, classes)
    right = np.bincount(labels[labels == predicted], minlength=classes)
    examples = np.bincount(labels, minlength=classes)
    return np.divide(right, examples, out=np.full(classes, np.nan), where=examples > 0)


def check_labels(labels: np.ndarray, count: int, classes: int) -> np.ndarray:
    """Labels as int64 [n], each of them a class.

    Raises:
        ValueError: another shape, or values that are no class numbers.

    Example:
        >>> check_labels(np.array([[1.0], [0.0]]), 2, 2).tolist()
        [1, 0]
    """
    labels = np.asarray(labels)
    if labels.shape not in {(count,), (count, 1)}:
        raise ValueError(
            f"labels of shape {labels.shape}: expected [{count}], a class number for "
            "each row of the outputs."
        )
    labels = labels.reshape(count)
    if labels.dtype.kind not in "biuf":
        raise ValueError(f"labels of type {labels.dtype}: expected class numbers.")
    if not ((labels >= 0) & (labels < classes)).all() or (labels % 1 != 0).any():
        raise ValueError(
            f"labels from {labels.min()} to {labels.max()}: expected whole numbers "
            f"from 0 to {classes - 1}, as there are {classes} classes."
        )
    return labels.astype(np.int64)


def _checked(
    labels: np.ndarray, predicted: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    predicted = np.asarray(predicted)
    if predicted.ndim != 1 or predicted.dtype.kind not in "iu":
        raise ValueError(
            f"predicted of shape {predicted.shape} and type {predicted.dtype}: "
            "expected whole numbers [n]; `classes_of` makes them."
        )
    if not ((predicted >= -1) & (predicted < classes)).all():
        raise ValueError(
            f"predicted from {predicted.min()} to {predicted.max()}: expected -1 (no "
            f"class) to {classes - 1}."
        )
    return check_labels(labels, len(predicted), classes), predicted.astype(np.int64)


def _columns(outputs: np.ndarray) -> np.ndarray:
    outputs = np.asanyarray(outputs)
    if outputs.ndim == 1:
        outputs = outputs[:, None]
    if outputs.ndim != 2 or outputs.shape[1] == 0 or outputs.dtype.kind not in "biuf":
        raise ValueError(
            f"outputs of shape {outputs.shape} and type {outputs.dtype}: expected "
            "numbers [n, classes], or [n] or [n, 1] for the second of two classes."
        )
    return outputs
