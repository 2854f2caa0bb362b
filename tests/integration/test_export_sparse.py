# SPDX-License-Identifier: Apache-2.0
"""Sparse encodings: smaller, correct in the interpreter, and refused where a runtime errs."""

import subprocess
import sys

import export_models as models
import numpy as np
import pytest

from tflite_export import export
from tflite_export.api import export as exporter
from tflite_export.flatbuffer.graph import Graph, schema
from tflite_export.runtime import predict

BOTH = pytest.mark.parametrize("family", ["keras", "tf_keras"])


def pair(model, tmp_path, data, quantize="none"):
    """(report of sparse="auto", outputs of it, outputs of the dense file)."""
    report = export(model, tmp_path / "s.tflite", quantize=quantize, data=data)
    dense = export(model, tmp_path / "d.tflite", quantize=quantize, data=data, sparse=False)
    assert not dense.sparse and dense.bytes == dense.dense_bytes == report.dense_bytes
    outputs = [predict(tmp_path / f"{name}.tflite", data)["output"] for name in "sd"]
    return report, *outputs


def operators(path):
    graph = Graph(path.read_bytes())
    return [
        (graph.code(o), graph.model.operatorCodes[o.opcodeIndex].version) for o in graph.operators()
    ]


@BOTH
@pytest.mark.parametrize("quantize", ["none", "float16"])
def test_csr_behind_densify_gives_equal_bits(family, quantize, tmp_path):
    model = models.cnn(family, 0.9)
    report, sparse, dense = pair(model, tmp_path, models.examples(10, 12, 12, 2), quantize)
    np.testing.assert_array_equal(sparse, dense)
    encodings = [tensor.encoding for tensor in report.tensors]
    assert encodings.count("csr") >= 2 and report.bytes < 0.35 * report.dense_bytes
    assert report.gzip_bytes < report.dense_gzip_bytes


@BOTH
def test_int8_convolution_is_encoded_and_dense_layers_never(family, tmp_path):
    library = models.KERASES[family]
    model = models.with_zeros(
        library.Sequential(
            [
                library.Input((8, 8, 32)),
                library.layers.Conv2D(128, 3),
                library.layers.Flatten(),
                library.layers.Dense(16),
            ]
        ),
        0.9,
    )
    report, sparse, dense = pair(model, tmp_path, models.examples(20, 8, 8, 32), "int8")
    np.testing.assert_array_equal(sparse, dense)
    encodings = {tensor.name.split("/")[-2][:5]: tensor.encoding for tensor in report.tensors}
    assert encodings == {"conv2": "csr", "dense": "dense"}
    assert report.bytes < report.dense_bytes
    remarks = " ".join(report.remarks)
    assert "fails to prepare a sparse int8 dense layer" in remarks
    assert "smaller, not faster" in remarks


@BOTH
def test_blocks_are_read_directly(family, tmp_path):
    model = models.mlp(family, 0.9, blocks=True)
    data = models.examples(10, 64)
    report, sparse, dense = pair(model, tmp_path, data)
    assert report.tensors[0].encoding == "block 1x4"
    np.testing.assert_allclose(sparse, dense, atol=1e-5 * np.abs(dense).max())
    ops = schema().BuiltinOperator
    found = operators(tmp_path / "s.tflite")
    assert (ops.FULLY_CONNECTED, 8) in found and ops.DENSIFY not in dict(found)
    # An open batch still works.
    together = predict(tmp_path / "s.tflite", data, batch=5)["output"]
    np.testing.assert_allclose(together, dense, atol=1e-5 * np.abs(dense).max())


def test_blocks_below_three_quarters_do_not_take_the_slow_kernel(tmp_path):
    model = models.mlp("keras", 0.6, blocks=True)
    report, sparse, dense = pair(model, tmp_path, models.examples(10, 64))
    assert report.tensors[0].encoding == "csr"
    np.testing.assert_array_equal(sparse, dense)


@pytest.mark.parametrize(
    "shape", [{"kernel": 3, "stride": 2, "channels": 3}, {"kernel": 1, "channels": 32}]
)
def test_convolutions_that_xnnpack_may_run_sparsely_are_encoded_where_it_does_not(shape, tmp_path):
    """What is safe and what not is tested in test_sparse_inference.py."""
    report = export(models.convolution("tf_keras", **shape), tmp_path / "m.tflite")
    assert report.sparse and "csr" in {tensor.encoding for tensor in report.tensors}


def test_int8_may_have_pointwise_convolutions(tmp_path):
    """XNNPACK's sparse inference is for floats; the int8 file is safe and only gets smaller."""
    model = models.convolution("keras", filters=256, kernel=1, channels=128)
    report, sparse, dense = pair(model, tmp_path, models.examples(10, 10, 10, 128), "int8")
    assert report.sparse
    np.testing.assert_array_equal(sparse, dense)


@pytest.mark.parametrize(
    "quantize, words", [("dynamic", "dynamic range"), ("int16x8", "16-bit activations")]
)
def test_formats_that_stay_dense(quantize, words, tmp_path):
    data = models.examples(20, 12, 12, 2)
    report = export(models.cnn("keras", 0.95), tmp_path / "m.tflite", quantize=quantize, data=data)
    assert not report.sparse and words in " ".join(report.remarks)


@pytest.mark.parametrize("sparsity", [0.0, 0.1])
def test_too_few_zeros_leave_the_file_as_the_converter_made_it(sparsity, tmp_path):
    report = export(models.mlp("keras", sparsity), tmp_path / "m.tflite")
    assert not report.sparse and report.bytes == report.dense_bytes
    words = "no weight is zero" if sparsity == 0 else "too few zeros"
    assert words in " ".join(report.remarks)


def test_shared_and_all_zero_weights(tmp_path):
    """A kernel of zeros only, and one layer used twice."""
    keras = models.KERASES["keras"]
    inputs = keras.Input((64,))
    shared = keras.layers.Dense(64, activation="relu")
    x = shared(shared(inputs))
    dead = keras.layers.Dense(32, kernel_initializer="zeros", bias_initializer="ones")
    model = keras.Model(inputs, keras.layers.Dense(3)(dead(x)))
    for weights, sparsity in ((shared, 0.9), (model.layers[-1], 0.0)):
        models.with_zeros(weights, sparsity)
    report = export(model, tmp_path / "m.tflite")
    assert report.error < 1e-5 and report.sparse


def test_mismatch_in_the_interpreter_falls_back_to_dense(tmp_path, monkeypatch):
    monkeypatch.setattr(exporter, "same", lambda *args, **kwargs: "its outputs deviate")
    report = export(models.mlp("keras", 0.9), tmp_path / "m.tflite")
    assert not report.sparse and report.bytes == report.dense_bytes
    assert "sparse encoding not used: its outputs deviate" in report.remarks


def test_a_damaged_sparse_file_is_noticed(tmp_path):
    """`same` sees a changed value and a file that LiteRT refuses."""
    from tflite_export.api.verify import same

    data = models.examples(5, 64)
    export(models.mlp("keras", 0.9), tmp_path / "s.tflite", data=data)
    sparse = (tmp_path / "s.tflite").read_bytes()
    graph = Graph(sparse)
    tensor = next(t for t in graph.model.subgraphs[0].tensors if t.sparsity is not None)
    values = np.array(graph.model.buffers[tensor.buffer].data)
    graph.model.buffers[tensor.buffer].data = np.roll(values, 4)
    assert same(sparse, sparse, {"input": data}) is None
    assert "deviate" in same(sparse, graph.content(), {"input": data})
    assert "refuses" in same(sparse, b"no model", {"input": data})


REFERENCE = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

path, given, found = sys.argv[1:]
runner = Interpreter(
    model_path=path, experimental_op_resolver_type=OpResolverType.BUILTIN_REF
).get_signature_runner()
np.save(found, [runner(input=row[None])["output"][0] for row in np.load(given)])
"""


def test_reference_kernels_read_our_sparse_files(tmp_path):
    """Another reader of the format: the reference kernels, without any delegate."""
    model, data = models.cnn("keras", 0.9), models.examples(3, 12, 12, 2)
    files = [tmp_path / name for name in ("m.tflite", "given.npy", "found.npy")]
    assert export(model, files[0], data=data).sparse
    np.save(files[1], data)
    subprocess.run([sys.executable, "-c", REFERENCE, *files], check=True, timeout=60)
    np.testing.assert_allclose(np.load(files[2]), model.predict(data, verbose=0), atol=1e-5)
