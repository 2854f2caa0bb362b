# SPDX-License-Identifier: Apache-2.0
"""What is lost, on made-up predictions: numbers checked by eye, and definitions written out."""

import math
from collections import Counter

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfprune.evaluation.calibration import calibrate
from tfprune.evaluation.excess_error import Slope, excess_error, fit
from tfprune.evaluation.exemplars import class_changes, exemplars
from tfprune.evaluation.functional_distance import agreement, distance
from tfprune.evaluation.measures import (
    are_probabilities,
    classes_of,
    confusion,
    probabilities,
    recalls,
    wrong,
)
from tfprune.evaluation.prune_potential import Potential, prune_potential

NAN = float("nan")
pytestmark = pytest.mark.filterwarnings("error")


def _made_up(seed, n=200, classes=5):
    """Logits that lean to the label, float32, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(0, 2, (n, classes)) + 3 * np.eye(classes)[labels]
    return logits.astype(np.float32), labels


# Outputs to classes


def test_probabilities_are_a_softmax_written_out_to_the_digit():
    logits, labels = _made_up(0)
    found = probabilities(logits)
    for row, expected in zip(found, logits.astype(float).tolist()):
        powers = [math.exp(z) for z in expected]
        np.testing.assert_allclose(row, [p / math.fsum(powers) for p in powers], rtol=1e-14)
    best = [max(range(5), key=lambda c: row[c]) for row in logits.tolist()]
    assert classes_of(found).tolist() == classes_of(logits).tolist() == best
    assert wrong(labels, found).tolist() == [a != b for a, b in zip(labels.tolist(), best)]
    table = confusion(labels, classes_of(found), 5)
    pairs = Counter(zip(labels.tolist(), best))
    assert table.tolist() == [[pairs[i, j] for j in range(5)] for i in range(5)]
    assert recalls(labels, classes_of(found), 5).tolist() == [
        pairs[i, i] / sum(pairs[i, j] for j in range(5)) for i in range(5)
    ]


@pytest.mark.parametrize(
    "outputs, expected",
    [
        ([[0.25, 0.75]], [[0.25, 0.75]]),
        ([[0.9, 0.9]], [[0.5, 0.5]]),  # within 0 and 1, but no sum of 1: logits
        ([[1000.0, 1000.0], [-1000.0, 1000.0]], [[0.5, 0.5], [0, 1]]),
        ([[-np.inf, 0.0]], [[0, 1]]),
        ([0.25, 1.0], [[0.75, 0.25], [0, 1]]),
        (
            [[0.25], [2.0]],
            [[1 - 1 / (1 + math.exp(-z)), 1 / (1 + math.exp(-z))] for z in (0.25, 2)],
        ),
        (
            [[255 / 256, 0, 1 / 256, 1 / 256]],
            [[255 / 256, 0, 1 / 256, 1 / 256]],
        ),  # of an int8 softmax
        ([[0.2, 0.8], [NAN, 0.5]], [[0.2, 0.8], [NAN, 0.5]]),
        ([[NAN, 0.5]], [[NAN, NAN]]),
        ([[np.inf, 0.5]], [[NAN, NAN]]),
        (np.zeros((0, 3)), np.zeros((0, 3))),
        ([], np.zeros((0, 2))),
    ],
)
def test_what_is_taken_for_probabilities(outputs, expected):
    np.testing.assert_allclose(probabilities(np.array(outputs, np.float64)), expected, atol=1e-15)


def test_single_rows_of_logits_that_look_like_probabilities_are_told_by_the_whole():
    outputs = np.array([[0.4, 0.6], [3.0, 0.0]])
    assert not are_probabilities(outputs) and are_probabilities(outputs[:1])
    assert probabilities(outputs[:1], logits=True).tolist() == probabilities(outputs)[:1].tolist()


def test_a_row_with_nan_is_of_no_class_and_never_right():
    values = np.array([[NAN, 0.9], [0.1, 0.9], [NAN, NAN]])
    assert classes_of(values).tolist() == [-1, 1, -1]
    assert wrong(np.array([1, 1, 0]), values).tolist() == [True, False, True]
    assert recalls(np.array([1, 1, 0]), classes_of(values), 2).tolist() == [0, 0.5]
    assert confusion(np.array([1, 1, 0]), classes_of(values), 2).tolist() == [[0, 0], [0, 1]]
    assert agreement(values, values) == 1 / 3
    assert math.isnan(distance(values, values))


def test_rows_are_looked_at_in_blocks_and_none_is_lost(monkeypatch):
    logits, labels = _made_up(1, n=23)
    whole = classes_of(logits).tolist(), are_probabilities(logits), distance(logits, logits[::-1])
    monkeypatch.setattr("tfprune.evaluation.measures.BLOCK", 7)
    monkeypatch.setattr("tfprune.evaluation.functional_distance._TOGETHER", 3 * logits.shape[1])
    assert whole[:2] == (classes_of(logits).tolist(), are_probabilities(logits))
    assert whole[2] == distance(logits, logits[::-1])
    late = probabilities(logits)
    late[-1] = 2
    assert not are_probabilities(late)


@pytest.mark.parametrize(
    "call, told",
    [
        (
            lambda: probabilities(np.zeros((2, 3, 4))),
            r"shape \(2, 3, 4\).*expected numbers \[n, cl",
        ),
        (lambda: probabilities(np.array(["a"])), "type <U1"),
        (lambda: classes_of(np.zeros(3)), r"expected \[n, classes\] with two classes or more"),
        (lambda: wrong(np.zeros(3), np.zeros((2, 2))), r"labels of shape \(3,\): expected \[2\]"),
        (lambda: wrong([0, 10], np.zeros((2, 10))), "labels from 0 to 10: expected .* 0 to 9"),
        (lambda: wrong([0, 0.5], np.zeros((2, 10))), "expected whole numbers"),
        (lambda: wrong([-1, 0], np.zeros((2, 10))), "labels from -1"),
        (lambda: wrong(["cat", "dog"], np.zeros((2, 10))), "expected class numbers"),
        (lambda: confusion([0], np.array([4]), 3), "predicted from 4 to 4: expected -1"),
        (lambda: recalls([0], np.array([0.5]), 3), "expected whole numbers"),
        (lambda: agreement(np.zeros((2, 3)), np.zeros((2, 4))), r"shapes \(2, 3\) and \(2, 4\)"),
        (lambda: distance(1.0, 2.0), "for the same inputs"),
        (lambda: calibrate([0], np.zeros((1, 2)), bins=0), "bins=0"),
        (lambda: prune_potential([0.5, 0.5], [1, 1], 1, 0), "each ratio once"),
        (lambda: prune_potential([0.5], [1, 1], 1, 0), "a loss for each ratio"),
        (lambda: prune_potential([NAN], [1], 1, 0), "at least 0"),
        (lambda: prune_potential([0.5], [1], 1, -1), "delta=-1: expected at least 0"),
        (lambda: excess_error([1, 2], [1]), "of the same networks"),
        (lambda: fit([1, 2], [1]), r"expected \[n\] both"),
        (lambda: fit([1, 2], [1, 2], resamples=0), "resamples=0"),
        (lambda: exemplars(np.zeros((2, 3)), np.zeros((2, 3), int)), "pruned .*type float64"),
        (
            lambda: exemplars(np.zeros((2, 3), int), np.zeros((0, 3), int)),
            r"dense .*shape \(0, 3\)",
        ),
        (lambda: exemplars(np.zeros((2, 3), int), np.zeros((2, 4), int)), "of 3 and 4 examples"),
        (lambda: class_changes(np.zeros((2, 3)), np.zeros((2, 4))), "of the same classes"),
    ],
)
def test_what_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()


# Prune potential


@pytest.mark.parametrize(
    "losses, first, largest",
    [
        ([8.1, 8.5, 8.6, 9.0], 0.4, 0.4),
        ([8.1, 8.6, 8.2, 9.0], 0.2, 0.6),  # comes back
        ([8.6, 8.0, 8.0, 8.0], 0.0, 0.9),
        ([9.0, 9.0, 9.0, 9.0], 0.0, 0.0),
        ([7.0, 7.0, 7.0, 7.0], 0.9, 0.9),
        ([8.1, NAN, 8.1, NAN], 0.2, 0.6),
        ([NAN, NAN, NAN, NAN], 0.0, 0.0),
        ([-np.inf, 8.0, 8.0, np.inf], 0.6, 0.6),
    ],
)
def test_potential_by_hand(losses, first, largest):
    ratios = [0.2, 0.4, 0.6, 0.9]
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):  # any order
        found = prune_potential([ratios[i] for i in order], [losses[i] for i in order], 8.0, 0.5)
        assert found == Potential(first, largest)


def test_exactly_delta_more_counts_whatever_rounding_makes_of_it():
    for errors in range(2001):  # of 2000 examples; 0.5 points are 10 of them
        dense, at, above = (count / 2000 * 100 for count in (errors, errors + 10, errors + 11))
        assert prune_potential([0.5, 0.6], [at, above], dense, 0.5) == Potential(0.5, 0.5)


def test_potential_of_nothing_and_against_nothing():
    assert prune_potential([], [], 8.0, 0.5) == Potential(0.0, 0.0)
    for dense in (NAN, np.inf):
        assert prune_potential([0.5], [8.0], dense, 0.5) == Potential(0.0, 0.0)


@given(
    st.lists(st.tuples(st.integers(1, 99), st.floats(0, 10)), unique_by=lambda pair: pair[0]),
    st.floats(0, 3),
    st.floats(0, 3),
)
def test_potential_is_the_definition_and_grows_with_delta(pairs, delta, more):
    ratios, losses = [ratio / 100 for ratio, _ in pairs], [loss for _, loss in pairs]
    found = prune_potential(ratios, losses, 5.0, delta)
    good = {r: loss - 5.0 - delta <= 1e-9 * 5 for r, loss in zip(ratios, losses)}
    assert found.largest == max((r for r in ratios if good[r]), default=0)
    assert found.first == max(
        (r for r in ratios if all(good[s] for s in ratios if s <= r)), default=0
    )
    larger = prune_potential(ratios, losses, 5.0, delta + more)
    assert larger.first >= found.first and larger.largest >= found.largest >= found.first


# Excess error


def test_excess_error_and_its_line_by_hand():
    assert excess_error(8.0, 20.0) == 12
    assert excess_error([8.0, 9.0], [20.0, NAN]).tolist()[0] == 12
    # means 2 and 3; (-1)(-1) + 0(-1) + 1 * 2 = 3 over 2
    found = fit([1, 2, 3], [2, 2, 5])
    assert (found.slope, found.intercept) == (1.5, 0)


def test_a_line_and_its_interval_are_the_definition():
    rng = np.random.default_rng(3)
    ratios, differences = rng.uniform(0, 1, 40), rng.normal(0, 1, 40)
    found = fit(ratios, differences, seed=5, resamples=300)
    draws = np.random.default_rng(5).integers(0, 40, (300, 40))
    slopes = [scipy.stats.linregress(ratios[draw], differences[draw]).slope for draw in draws]
    line = scipy.stats.linregress(ratios, differences)
    np.testing.assert_allclose(
        [found.slope, found.intercept, found.low, found.high],
        [line.slope, line.intercept, *np.percentile(slopes, [2.5, 97.5])],
        rtol=1e-11,
    )
    assert found == fit(ratios, differences, seed=5, resamples=300)
    assert found != fit(ratios, differences, seed=6, resamples=300)


def test_resamples_in_pieces_are_as_many(monkeypatch):
    ratios, differences = np.array([0.1, 0.5, 0.6, 0.9]), np.array([1.0, 1.2, 1.0, 2.0])
    monkeypatch.setattr("tfprune.evaluation.excess_error._TOGETHER", 4 * 7)
    found, rng = fit(ratios, differences, resamples=10), np.random.default_rng(0)
    draws = np.concatenate([rng.integers(0, 4, (7, 4)), rng.integers(0, 4, (3, 4))])
    slopes = [np.polyfit(ratios[draw], differences[draw], 1)[0] for draw in draws]
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(slopes, [2.5, 97.5])))


@pytest.mark.parametrize(
    "ratios, differences, expected",
    [
        ([], [], Slope(NAN, NAN, NAN, NAN)),
        ([0.5], [1.0], Slope(NAN, NAN, NAN, NAN)),
        ([0.1, 0.1, 0.1], [1.0, 2.0, 3.0], Slope(NAN, NAN, NAN, NAN)),
        ([0.0, 0.5], [1.0, 2.0], Slope(2, 1, NAN, NAN)),
        ([0.0, 0.5, 1.0, 0.7], [1.0, 2.0, NAN, np.inf], Slope(2, 1, NAN, NAN)),
        ([0.0, 0.5, 1.0], [0.0, 0.0, 0.0], Slope(0, 0, 0, 0)),
        ([0.0, 1e-200, 2e-200], [0.0, 0.0, 1.0], Slope(NAN, NAN, NAN, NAN)),
    ],
)
def test_a_line_through_too_little(ratios, differences, expected):
    found = fit(ratios, differences)
    np.testing.assert_array_equal(list(vars(found).values()), list(vars(expected).values()))


# Functional distance


def test_agreement_and_distance_are_the_definition():
    (a, _), (b, _) = _made_up(4), _made_up(5)
    p, q = probabilities(a), probabilities(b)
    same = sum(
        max(range(5), key=x.__getitem__) == max(range(5), key=y.__getitem__)
        for x, y in zip(p.tolist(), q.tolist())
    )
    assert agreement(p, q) == same / 200
    lengths = [math.dist(x, y) for x, y in zip(p.tolist(), q.tolist())]
    assert distance(p, q) == pytest.approx(math.fsum(lengths) / 200, rel=1e-14)
    assert distance(p.reshape(200, 5, 1), q.reshape(200, 5, 1)) == distance(p, q)
    assert distance([0.0, 1.0], [3.0, -1.0]) == 2.5
    assert distance(np.uint8([0]), np.uint8([255])) == 255
    assert math.isnan(agreement(p[:0], q[:0])) and math.isnan(distance(p[:0], q[:0]))


@given(arrays.arrays(np.float32, (2, 6, 3), elements=st.floats(-50, 50, width=32)))
def test_distance_of_networks_is_a_distance(logits):
    p, q = probabilities(logits[0]), probabilities(logits[1])
    assert agreement(p, p) == 1 and distance(p, p) == 0
    assert agreement(p, q) == agreement(q, p) and distance(p, q) == distance(q, p)
    assert distance(p, q) <= math.sqrt(2) + 1e-12


# Calibration


def test_calibration_by_hand():
    #   confidence  0.6    0.6     0.9    1.0 ; bins (0.5, 0.75] and (0.75, 1] of four
    values = np.array([[0.6, 0.4], [0.4, 0.6], [0.9, 0.1], [0.0, 1.0]])
    found = calibrate(np.array([0, 0, 0, 0]), values, bins=4)
    assert found.counts.tolist() == [0, 0, 2, 2]
    np.testing.assert_allclose(found.confidences, [NAN, NAN, 0.6, 0.95])
    np.testing.assert_allclose(found.accuracies, [NAN, NAN, 0.5, 0.5])
    assert found.error == pytest.approx(0.5 * 0.1 + 0.5 * 0.45)
    # labels have 0.6, 0.4, 0.9 and 0, which counts as 1e-7:
    # (0.510826 + 0.916291 + 0.105361 + 16.118096) / 4
    assert found.nll == pytest.approx(4.412643, abs=1e-6)


def test_calibration_is_the_definition():
    logits, labels = _made_up(6, n=500)
    p = probabilities(logits)
    found = calibrate(labels, p)
    error, counts = 0.0, []
    for m in range(1, 16):
        inside = [i for i in range(500) if (m - 1) / 15 < p[i].max() <= m / 15]
        counts.append(len(inside))
        if inside:
            right = sum(int(p[i].argmax()) == labels[i] for i in inside) / len(inside)
            sure = math.fsum(p[i].max() for i in inside) / len(inside)
            error += len(inside) / 500 * abs(right - sure)
            assert found.accuracies[m - 1] == right
            assert found.confidences[m - 1] == pytest.approx(sure, rel=1e-14)
    assert found.counts.tolist() == counts and found.counts.dtype == np.int64
    assert found.error == pytest.approx(error, rel=1e-12)
    assert found.nll == pytest.approx(
        -math.fsum(math.log(max(p[i, labels[i]], 1e-7)) for i in range(500)) / 500, rel=1e-13
    )


def test_a_confidence_on_an_edge_is_in_the_bin_below():
    for bins in (4, 15, 100):
        edges = np.array([m / bins for m in range(bins // 2 + 1, bins + 1)])
        found = calibrate(np.zeros(len(edges)), np.stack([edges, 1 - edges], axis=1), bins)
        assert found.counts.tolist() == [0] * (bins // 2) + [1] * len(edges)


def test_calibration_without_examples_or_with_nan_is_nan():
    empty = calibrate([], np.zeros((0, 3)))
    broken = calibrate([0, 1], np.array([[NAN, 0.5], [0.2, 0.8]]))
    assert math.isnan(empty.error) and math.isnan(empty.nll) and empty.counts.sum() == 0
    assert math.isnan(broken.error) and math.isnan(broken.nll) and broken.counts.sum() == 1


@given(
    arrays.arrays(np.float32, (12, 4), elements=st.floats(-30, 30, width=32)),
    arrays.arrays(np.int64, 12, elements=st.integers(0, 3)),
    st.integers(1, 20),
)
def test_calibration_loses_no_example_and_knows_no_order(logits, labels, bins):
    p = probabilities(logits)
    found, turned = calibrate(labels, p, bins), calibrate(labels[::-1], p[::-1], bins)
    assert found.counts.sum() == 12 and found.counts.tolist() == turned.counts.tolist()
    assert found.error == pytest.approx(turned.error, abs=1e-12) and 0 <= found.error <= 1
    gap = abs(np.mean(p.max(axis=1)) - np.mean(~wrong(labels, p)))
    assert found.error >= gap - 1e-12  # equal with one bin
    assert bins > 1 or found.error == pytest.approx(gap, abs=1e-12)
