# SPDX-License-Identifier: Apache-2.0
"""Images and classes on which pruned networks differ from dense ones."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from tfprune.evaluation.optional import stats


@dataclass(frozen=True)
class Exemplars:
    """Examples that pruned networks take for another class than dense ones, the clearest first.

    Attributes:
        indices: of the examples, int64 [found].
        pruned, dense: the most frequent prediction of either, int64 [found].
        disagreements: how many pairs of a pruned and a dense network differ, int64 [found].
    """

    indices: np.ndarray
    pruned: np.ndarray
    dense: np.ndarray
    disagreements: np.ndarray


@dataclass(frozen=True)
class ClassChange:
    """How the recall of one class changed, and whether it is more than chance.

    Attributes:
        label: number of the class.
        pruned, dense: mean recall over the networks of either, from 0 to 1.
        change: pruned - dense.
        against_mean: `change` less the change of the mean recall over all classes.
        t, degrees, p: Welch's t of `against_mean` (below 0: lost), its degrees of freedom, and the
            two-sided p-value; None with a single network on a side, or without any spread.
    """

    label: int
    pruned: float
    dense: float
    change: float
    against_mean: float
    t: float | None
    degrees: float | None
    p: float | None


def exemplars(pruned: np.ndarray, dense: np.ndarray) -> Exemplars:
    """The examples whose most frequent predictions by pruned and by dense networks differ.

        { i : mode_k pruned[k, i] != mode_k dense[k, i] }     of equally frequent classes: the least

    Args:
        pruned: predicted classes of the pruned networks, whole numbers [networks, n].
        dense: of the dense networks, [networks, n] with the same n; as many or others.

    Returns:
        Those of which most pairs of networks disagree first, then by index.

    Raises:
        ValueError: shapes that do not fit, no networks, or predictions that are no classes.

    Paper: S. Hooker, A. Courville, G. Clark, Y. Dauphin, A. Frome, 'What Do Compressed Deep Neural
    Networks Forget?', 2019, arXiv 1911.05248 (pruning identified exemplars).

    Example:
        >>> found = exemplars(np.array([[0, 1, 2], [0, 1, 1], [1, 1, 2]]), np.array([[0, 2, 1]]))
        >>> found.indices.tolist(), found.pruned.tolist(), found.dense.tolist()
        ([1, 2], [1, 2], [2, 1])
    """
    pruned, dense = np.asarray(pruned), np.asarray(dense)
    for name, values in (("pruned", pruned), ("dense", dense)):
        if values.ndim != 2 or not len(values) or values.dtype.kind not in "iu":
            raise ValueError(
                f"{name} predictions of shape {values.shape} and type {values.dtype}: "
                "expected class numbers [networks, n]."
            )
    if pruned.shape[1] != dense.shape[1]:
        raise ValueError(
            f"predictions of {pruned.shape[1]} and {dense.shape[1]} examples: "
            "expected the same ones."
        )
    ours, theirs = _mode(pruned), _mode(dense)
    found = np.flatnonzero(ours != theirs)
    answers = dense[:, found]
    differ = sum((row != answers).sum(axis=0) for row in pruned[:, found])
    order = np.argsort(-differ, kind="stable")
    return Exemplars(found[order], ours[found][order], theirs[found][order], differ[order])


def class_changes(pruned_recalls: np.ndarray, dense_recalls: np.ndarray) -> tuple[ClassChange, ...]:
    """The classes by how much more than the mean their recall fell, the worst first.

        t = (m_p - m_d) / sqrt(s_p^2 / n_p + s_d^2 / n_d)     m, s: mean and deviation over the
                                       networks of either kind of  recall - mean recall

    As in the paper, the recalls of either kind are shifted by one number, the mean accuracy of its
    networks; here the mean over classes, which is the accuracy where classes are of equal size.
    p-values are of single classes: of 100 unchanged ones, about 5 are below 0.05.

    Args:
        pruned_recalls: [networks, classes], from `measures.recalls`; nan: no examples.
        dense_recalls: [networks, classes], as many networks or others.

    Returns:
        One row a class; classes without examples are nan and last.

    Raises:
        ValueError: shapes that do not fit.
        ImportError: without SciPy, with several networks on both sides.

    Paper: S. Hooker, A. Courville, G. Clark, Y. Dauphin, A. Frome, 'What Do Compressed Deep Neural
    Networks Forget?', 2019, arXiv 1911.05248.

    Example:
        >>> dense = np.array([[0.9, 0.8], [0.8, 0.7]])
        >>> pruned = np.array([[0.9, 0.5], [0.8, 0.6]])
        >>> worst = class_changes(pruned, dense)[0]
        >>> worst.label, round(worst.change, 3), round(worst.against_mean, 3), round(worst.t, 3)
        (1, -0.2, -0.1, -1.414)
    """
    recalls = [np.asarray(values, np.float64) for values in (pruned_recalls, dense_recalls)]
    if any(values.ndim != 2 or not values.size for values in recalls) or (
        recalls[0].shape[1] != recalls[1].shape[1]
    ):
        raise ValueError(
            f"recalls of shapes {recalls[0].shape} and {recalls[1].shape}: expected "
            "[networks, classes] both, of the same classes."
        )
    means = np.array([values.mean(axis=0) for values in recalls])
    known = ~np.isnan(means).any(axis=0)
    centers = [values[:, known].mean() if known.any() else np.nan for values in recalls]
    change = means[0] - means[1]
    against = change - (centers[0] - centers[1])
    tests = _welch(*(values - center for values, center in zip(recalls, centers, strict=True)))
    return tuple(
        ClassChange(
            int(label), *(float(row[label]) for row in (*means, change, against)), *tests[label]
        )
        for label in np.argsort(against, kind="stable")
    )  # nan is last


_Test = tuple[float | None, float | None, float | None]


def _welch(pruned: np.ndarray, dense: np.ndarray) -> list[_Test]:
    """(t, degrees of freedom, p) for each class."""
    none: list[_Test] = [(None, None, None)] * pruned.shape[1]
    if min(len(pruned), len(dense)) < 2:
        return none
    with warnings.catch_warnings():
        # Of recalls that hardly vary; those that do not vary at all are not told.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = stats.ttest_ind(pruned, dense, equal_var=False)
    spread = np.ptp(pruned, axis=0) + np.ptp(dense, axis=0) > 0  # False for nan, too
    return [
        (float(t), float(degrees), float(p)) if told else empty
        for t, degrees, p, told, empty in zip(
            found.statistic, found.df, found.pvalue, spread, none, strict=True
        )
    ]


def _mode(predictions: np.ndarray) -> np.ndarray:
    """The most frequent of each column, int64; the smallest of equally frequent ones."""
    ordered = np.sort(predictions, axis=0)
    best, most = np.zeros(ordered.shape[1], np.int64), np.zeros(ordered.shape[1], np.int64)
    for row in ordered:
        count = (ordered == row).sum(axis=0)
        np.copyto(best, row, where=count > most, casting="unsafe")
        np.maximum(most, count, out=most)
    return best
