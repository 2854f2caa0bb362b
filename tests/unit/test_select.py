# SPDX-License-Identifier: Apache-2.0
"""`select` against a slow, obviously correct choice, in NumPy, TensorFlow and XLA."""

import inspect
import os

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.masks import select_blocks
from tfprune.masks.select import select, select_joint, threshold
from tfprune.masks.select_blocks import stride
from tfprune.masks.select_graph import select_in_graph
from tfprune.masks.select_graph import stride as stride_in_graph

DTYPES = ["float16", "bfloat16", "float32", "float64"]
# Every dtype with two lengths, every length with a dtype: each pair is traced and compiled once.
KINDS_OF_ROWS = [*zip(DTYPES, (1, 40, 17, 5)), *zip(DTYPES, (40, 5, 2, 17))]
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 6e-8, -6e-8, 2.0, np.inf, -np.inf, np.nan]


def reference(scores, keep):
    """Sort each row by (NaN last, score descending, index) and keep the first `keep`."""
    rows = np.asarray(scores, np.float64).reshape(-1, scores.shape[-1])
    mask = np.zeros(rows.shape, bool)
    for row, count, out in zip(rows, np.broadcast_to(np.ravel(keep), len(rows)), mask):
        out[np.lexsort((np.arange(len(row)), -row, np.isnan(row)))[:count]] = True
    return mask.reshape(scores.shape)


graph = tf.function(select, autograph=False)
jit = tf.function(select, autograph=False, jit_compile=True)


def all_forms(scores, keep):
    tensor, count = tf.constant(scores), tf.constant(keep)
    yield "numpy", select(scores, keep)
    yield "eager", select(tensor, keep).numpy()
    yield "graph", graph(tensor, count).numpy()
    yield "xla", jit(tensor, count).numpy()


def check(scores, keep):
    expected = reference(scores, keep)
    for form, mask in all_forms(scores, keep):
        assert mask.dtype == bool and mask.shape == scores.shape, form
        np.testing.assert_array_equal(mask, expected, err_msg=form)


def weights(size, kind, dtype="float32", seed=0):
    values = np.random.default_rng(seed).normal(size=size)
    if kind == "mostly zero":
        values[np.abs(values) < 1.2816] = 0
    elif kind == "rounded":
        values = np.round(values * 4) / 4
    elif kind == "equal":
        values[:] = 0.25
    elif kind == "two scales":
        values[::2] *= 1e-6
    elif kind == "sorted":
        values.sort()
    elif kind == "special":
        values = np.random.default_rng(seed).choice(SPECIAL, size)
    return values.astype(tf.as_dtype(dtype).as_numpy_dtype)


KINDS = ["dense", "mostly zero", "rounded", "equal", "two scales", "sorted", "special"]


def test_golden():
    nan, inf = np.nan, np.inf
    scores = np.array([0.0, nan, 3.0, -inf, -0.0, 3.0, -1.0, inf], np.float32)
    # The order of places: inf, the two 3s by index, the two zeros by index, -1, -inf, NaN.
    order = [7, 2, 5, 0, 4, 6, 3, 1]
    for keep in range(9):
        expected = np.isin(np.arange(8), order[:keep])
        for form, mask in all_forms(scores, keep):
            np.testing.assert_array_equal(mask, expected, err_msg=f"{form}, keep {keep}")


def test_golden_rows():
    scores = np.array([[1, 2, 2, 0], [0, 0, 0, 0], [-4, -3, -2, -1]], np.float32)
    expected = np.array([[0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1]], bool)
    for form, mask in all_forms(scores, 2):
        np.testing.assert_array_equal(mask, expected, err_msg=form)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(KINDS_OF_ROWS))
def test_any_scores(data, row):
    dtype, size = row
    value = st.sampled_from(SPECIAL) | st.floats(width=16)
    values = data.draw(st.lists(value, min_size=size, max_size=size))
    keep = data.draw(st.integers(0, size + 2))
    check(np.array(values).astype(tf.as_dtype(dtype).as_numpy_dtype), keep)


@settings(max_examples=25, deadline=None)
@given(st.data(), st.sampled_from([(3, 2), (6, 4), (2, 2, 8), (5, 32), (4, 33)]))
def test_any_rows(data, shape):
    rows = int(np.prod(shape[:-1]))
    size = int(np.prod(shape))
    values = data.draw(st.lists(st.sampled_from(SPECIAL), min_size=size, max_size=size))
    keep = data.draw(st.lists(st.integers(0, shape[-1]), min_size=rows, max_size=rows))
    check(np.array(values, np.float32).reshape(shape), np.reshape(keep, shape[:-1]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [4096, 36_865, 65_536, 200_003])
def test_large(kind, size):
    scores = weights(size, kind)
    for keep in (0, 1, 7, size // 100, size // 5, size // 2, size - 1, size):
        check(np.abs(scores), keep)
    check(scores, size // 3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["dense", "rounded", "special"])
def test_large_dtypes(kind, dtype):
    check(weights(70_000, kind, dtype), 6001)


@pytest.mark.parametrize("kind", KINDS)
def test_nested(kind):
    scores = weights(30_000, kind)
    smaller = np.zeros(scores.shape, bool)
    for keep in (0, 1, 100, 3000, 15_000, 29_999, 30_000):
        mask = select(scores, keep)
        assert mask.sum() == keep
        assert not (smaller & ~mask).any()
        smaller = mask


def test_misleading_sample_stays_exact():
    # Large where the sample looks, small elsewhere: every bracket is wrong.
    scores = weights(80_000, "dense")
    for step in (stride(len(scores)), stride_in_graph(len(scores))):
        misled = np.abs(scores)
        misled[::step] += 100
        check(misled, 20_000)


def test_denormal_scores_are_ordered():
    # TensorFlow's float comparisons flush these to zero.
    check((np.arange(6000) % 7 * 1e-42).astype(np.float32), 2000)


def test_static_form_outside_xla():
    scores = weights(10_000, "rounded")
    mask = select_in_graph(tf.constant(scores), tf.constant(3000, tf.int64), False)
    np.testing.assert_array_equal(mask.numpy(), reference(scores, 3000))


def test_inside_cond_and_with_unknown_length():
    @tf.function(input_signature=[tf.TensorSpec([None]), tf.TensorSpec([], tf.int32)])
    def due(scores, keep):
        return tf.cond(keep > 0, lambda: select(scores, keep), lambda: tf.zeros_like(scores) > 0)

    scores = weights(5000, "rounded")
    np.testing.assert_array_equal(due(scores, 1000).numpy(), reference(scores, 1000))
    assert not due(scores, 0).numpy().any()


def test_graphs_call_one_function_for_all():
    choose = tf.function(lambda one: [select(one, 9), select(2 * one, 9)], autograph=False)
    scores = weights(777, "rounded")
    graph = choose.get_concrete_function(tf.constant(scores)).graph
    kept = graph.outer_graph._py_funcs_used_in_graph  # for ever, and so must hold nothing
    assert len(set(map(inspect.unwrap, kept[-2:]))) == 1
    assert inspect.unwrap(kept[-1]).__closure__ is None
    assert [op.type for op in graph.get_operations()].count("PyFuncStateless") == 2
    for mask, shape in zip(choose(tf.constant(scores)), graph.structured_outputs, strict=True):
        assert shape.shape == (777,)
        np.testing.assert_array_equal(mask.numpy(), reference(scores, 9))


def test_saved_graphs_do_not_call_python():
    from tensorflow.python.saved_model import save_context

    scores = weights(5000, "rounded")
    with save_context.save_context(tf.saved_model.SaveOptions()):
        choose = tf.function(lambda one: select(one, 900), autograph=False)
        saved = choose.get_concrete_function(tf.constant(scores))
    assert "PyFunc" not in str(saved.graph.as_graph_def())
    np.testing.assert_array_equal(saved(tf.constant(scores)).numpy(), reference(scores, 900))


@pytest.fixture
def small_blocks(monkeypatch):
    """Many blocks of few keys, which several threads share."""
    monkeypatch.setattr(select_blocks, "BLOCK", 1 << 10)
    monkeypatch.setattr(select_blocks, "_cores", lambda: 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [4097, 8192, 20_479])
def test_blocks(small_blocks, kind, size):
    for dtype in DTYPES:
        scores = weights(size, kind, dtype)
        for keep in (1, 7, size // 100, size // 5, size // 2, size - 2500, size - 1):
            np.testing.assert_array_equal(select(scores, keep), reference(scores, keep))
            expected = reference(np.abs(scores), keep)
            np.testing.assert_array_equal(select(scores, keep, magnitude=True), expected)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_ties_across_blocks(data):
    # Runs of few values, which begin and end anywhere, and a block of one value at its border.
    block = 1 << 10
    values = [-np.inf, -1.0, -0.0, 0.0, 1.0, 1.0 + 2**-20, np.inf, np.nan]
    value = st.sampled_from(values)
    length = st.integers(1, 3000) | st.sampled_from([block - 1, block, block + 1])
    runs = data.draw(st.lists(st.tuples(value, length), min_size=3, max_size=12))
    scores = np.repeat(*map(np.array, zip(*runs, strict=True))).astype(np.float32)
    scores = np.concatenate([scores, weights(4096, "rounded")])
    ends = np.cumsum([length for _, length in runs])
    keep = data.draw(st.integers(0, len(scores)) | st.sampled_from([int(end) for end in ends]))
    magnitude = data.draw(st.booleans())
    expected = reference(np.abs(scores) if magnitude else scores, keep)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(select_blocks, "BLOCK", block)
        np.testing.assert_array_equal(select(scores, keep, magnitude=magnitude), expected)
        cuts = data.draw(st.lists(st.integers(0, len(scores)), max_size=9))
        parts = np.split(scores, sorted(cuts))
        masks = select_joint(parts, keep, magnitude=magnitude)
        assert [len(mask) for mask in masks] == [len(part) for part in parts]
        np.testing.assert_array_equal(np.concatenate(masks), expected)


def test_magnitudes_in_all_forms():
    for shape in ((3, 4), (5, 40), (70_000,)):
        scores = weights(int(np.prod(shape)), "special").reshape(shape)
        expected = reference(np.abs(scores), 3)
        ours = tf.function(lambda one: select(one, 3, magnitude=True), autograph=False)
        compiled = tf.function(ours.python_function, autograph=False, jit_compile=True)
        for choose in (ours.python_function, ours, compiled):
            np.testing.assert_array_equal(choose(tf.constant(scores)).numpy(), expected)
        np.testing.assert_array_equal(select(scores, 3, magnitude=True), expected)
    parts = [weights(20, "special", seed=seed) for seed in range(3)]
    expected = reference(np.abs(np.concatenate(parts)), 25)
    for jit in (None, True):
        joint = tf.function(
            lambda parts: select_joint(parts, 25, magnitude=True), jit_compile=jit, autograph=False
        )
        np.testing.assert_array_equal(np.concatenate(joint(parts)), expected)
    np.testing.assert_array_equal(np.concatenate(select_joint(parts, 25, magnitude=True)), expected)


def test_threads_after_a_fork():
    scores = weights(3 * select_blocks.BLOCK, "rounded")
    expected = select(scores, 99_999)
    child = os.fork() if hasattr(os, "fork") else None
    if child == 0:
        os._exit(0 if np.array_equal(select(scores, 99_999), expected) else 1)
    if child is not None:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_threshold():
    scores = np.array([3.0, 1.0, 2.0], np.float32)
    for kind in (np.asarray, tf.constant):
        assert float(threshold(kind(scores), select(kind(scores), 2))) == 2.0
        assert float(threshold(kind(scores), select(kind(scores), 0))) == np.inf


@pytest.mark.parametrize("kind", [np.asarray, tf.constant])
def test_errors(kind):
    scores = kind(np.ones((2, 3), np.float32))
    with pytest.raises(TypeError, match="float64; expected an integer"):
        select(scores, 0.5)
    with pytest.raises(ValueError, match="expected 0 or more"):
        select(scores, -1)
    with pytest.raises(ValueError, match=r"keep has shape \(3,\)"):
        select(scores, [1, 2, 3])
    with pytest.raises(TypeError, match="scores are int32"):
        select(kind(np.ones(3, np.int32)), 1)
    with pytest.raises(ValueError, match="scores are a scalar"):
        select(kind(np.float32(1)), 1)


def test_nothing_to_choose_from():
    for mask in (select(np.zeros(0, np.float32), 3), select(tf.zeros(0), 3).numpy()):
        assert mask.shape == (0,) and mask.dtype == bool
