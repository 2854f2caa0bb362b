# SPDX-License-Identifier: Apache-2.0
"""XNNPACK's sparse inference: judged by the rules, encoded where it is right, else refused."""

import re

import numpy as np
import pytest
import sparse_graphs as graphs

from tflite_export import advise, export, inspect, target
from tflite_export.convert.converter import convert
from tflite_export.convert.signature import signature
from tflite_export.devices.sparse_inference import runs_here
from tflite_export.flatbuffer.graph import Graph
from tflite_export.runtime import predict
from tflite_export.sparsity.xnnpack.verdict import verdict

# A third of the table, each rule once; benchmarks/gate.py judges all of it.
CHOSEN = [
    "base",
    "residual",
    "squeeze and excite",
    "depthwise 5x5 stride 2, padding 2",
    "bilinear",
    "depth to space at the end",
    "stem same",
    "stem of one channel",
    "concatenation with a fan-out",
    "60 % zeros",
    "second output inside",
    "segmentation",
    "nearest neighbour",
    "depthwise same stride 2",
    "max pooling inside",
    "1x1 classifier",
    "prelu",
    "product with a constant vector",
    "exactly two thirds",
    "hard sigmoid in the gate",
    "grouped 1x1",
    "tanh",
    "mean of the channels",
    "relu of at most 4 everywhere",
    "relu of at most 4",
    "maximum with a number",
    "minimum with a vector",
    "sum with a number",
    "power",
    "minimum with a number",
    "quotient of a number",
    "tiled pixels",
]


def judged(name):
    state, words, *_ = graphs.ROWS[name]
    model = graphs.model_of(name)
    known = signature(model)
    inputs = {n: np.zeros((1, *s[1:]), "f4") for n, s in zip(known.names, known.shapes)}
    dense = convert(
        model, known, target=target("mobile-sparse-f32"), quantize="none", inputs=inputs
    ).content
    return state, words, verdict(Graph(dense))


@pytest.mark.parametrize("name", CHOSEN)
def test_graphs_that_meet_and_break_the_rules(name):
    state, words, found = judged(name)
    assert found.state == state, str(found)
    assert re.search(words, str(found), re.S), str(found)


def test_the_table_has_every_outcome_and_is_large_enough():
    states = [state for state, *_ in graphs.ROWS.values()]
    assert len(states) >= 40 and len(CHOSEN) * 3 >= len(states)
    assert all(states.count(state) >= 15 for state in ("engages", "off", "unsafe"))


@pytest.mark.parametrize(
    "target, quantize",
    [("mobile-sparse-f32", "none"), ("mobile-sparse-f32", "float16"), ("mobile", "none")],
)
def test_what_engages_is_encoded_and_said_to_be_unverified(target, quantize, tmp_path):
    model = graphs.model_of("residual")
    report = export(model, tmp_path / "m.tflite", target=target, quantize=quantize)
    pointwise = [t for t in report.tensors if t.shape[1:3] == (1, 1) and t.shape[0] == 18]
    assert report.bytes < report.dense_bytes
    if quantize == "none":
        assert [t.encoding for t in pointwise] == ["csr"] * 3
    assert report.sparse and report.error < (1e-5 if quantize == "none" else 1e-2)
    remarks = " ".join(report.remarks)
    assert "on Arm, XNNPACK skips the zeros" in remarks
    assert ("were not verified" in remarks) == (not runs_here())


def test_what_does_not_engage_stays_dense_with_the_reason(tmp_path):
    model = graphs.model_of("stem same")
    report = export(model, tmp_path / "m.tflite", target="mobile-sparse-f32")
    assert not report.sparse and report.bytes == report.dense_bytes
    assert "sparse inference does not run: CONV_2D" in " ".join(report.remarks)
    with pytest.raises(ValueError, match="no weight was encoded: .*padding 'same'"):
        export(model, tmp_path / "n.tflite", target="mobile-sparse-f32", sparse=True)
    # On `mobile` the same zeros make the file smaller, and nothing more is claimed.
    report = export(model, tmp_path / "m.tflite")
    assert report.sparse and "skips the zeros" not in " ".join(report.remarks)


def test_what_would_be_wrong_is_refused_by_name(tmp_path):
    model = graphs.model_of("max pooling inside")
    path = tmp_path / "m.tflite"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="wrong values on Arm.*MAX_POOL_2D '.*max_pooling2d"):
        export(model, path, target="mobile-sparse-f32")
    assert path.read_bytes() == b"old"
    report = export(model, path)
    assert not report.sparse and report.bytes == report.dense_bytes
    assert "would return wrong values on Arm (MAX_POOL_2D" in " ".join(report.remarks)
    with pytest.raises(ValueError, match="sparse=True, but no weight was encoded: .*MAX_POOL_2D"):
        export(model, path, sparse=True)
    # Without encodings nothing switches sparse inference on.
    report = export(model, path, target="mobile-sparse-f32", sparse=False)
    assert not report.sparse


def test_what_later_releases_do_right_is_written_and_said(tmp_path):
    """Up to LiteRT 2.0 a minimum in sparse inference returns wrong values, from 2.1 right ones."""
    model, path = graphs.model_of("relu of at most 4"), tmp_path / "m.tflite"
    report = export(model, path, target="mobile-sparse-f32")
    caution = next(remark for remark in report.remarks if "LiteRT 2.1 or later" in remark)
    assert report.sparse and "MINIMUM" in caution
    opinion = inspect(path).targets["mobile-sparse-f32"]
    assert not opinion.objections and caution in opinion.notes
    assert advise(model).notes == (caution,) and not advise(model).changes
    # Nobody asked for it there: dense where an app's release is not known.
    assert "LiteRT 2.1 and later are right" in " ".join(export(model, path).remarks)
    assert "csr" not in {tensor.encoding for tensor in inspect(path).tensors}


def test_mobile_says_when_it_engages(tmp_path):
    model = graphs.model_of("base")
    report = export(model, tmp_path / "m.tflite")
    data = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype("f4")
    np.testing.assert_allclose(
        predict(tmp_path / "m.tflite", data)["output"], model.predict(data, verbose=0), atol=1e-5
    )
    assert report.batch == "dynamic" and report.sparse
    assert "on Arm, XNNPACK skips the zeros" in " ".join(report.remarks)


def test_blocks_need_no_densify_and_stay_where_it_would_be_wrong(tmp_path):
    """A dense layer of 1x4 blocks is read directly: nothing switches sparse inference on."""

    def build(image):
        pooled = graphs.L.GlobalAveragePooling2D(keepdims=True)(graphs.point(graphs.stem(image)))
        wide = graphs.L.Flatten()(graphs.L.Conv2D(64, 1)(pooled))
        return graphs.L.Dense(64)(wide)

    graphs.row(graphs.BY_RULE, "blocks", "unsafe", "")(build)
    model = graphs.model_of("blocks")
    del graphs.BY_RULE["blocks"]
    kernel = model.layers[-1].kernel
    mask = np.repeat(np.random.default_rng(0).random((16, 64)) < 0.1, 4, axis=0)
    kernel.assign(np.asarray(kernel) * mask)
    report = export(model, tmp_path / "m.tflite")
    encodings = {tensor.shape: tensor.encoding for tensor in report.tensors}
    assert encodings[64, 64] == "block 1x4" and "csr" not in encodings.values()


def test_processors(tmp_path):
    for flags, sparse in (("fpu sse avx sse2", False), ("fpu sse sse2", True)):
        (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
        assert runs_here("x86_64", str(tmp_path / "cpuinfo")) is sparse
