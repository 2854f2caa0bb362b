# SPDX-License-Identifier: Apache-2.0
"""TFLite Micro: pruned weights as bitmaps, executed by its own interpreter."""

import itertools
import os
import sys

import export_models as models
import numpy as np
import pytest

from tflite_export import export
from tflite_export.devices import tflm
from tflite_export.devices.registry import target
from tflite_export.devices.target import ExportContext
from tflite_export.flatbuffer.aligned_buffers import ALIGNMENT, aligned
from tflite_export.flatbuffer.graph import Graph, schema
from tflite_export.runtime import predict, tflm_interpreter, worker_process
from tflite_export.runtime.worker_process import WorkerProcess
from tflite_export.sparsity.encode import encode
from tflite_export.sparsity.tflm_decode import attach, candidates, expanded

INTERPRETER = pytest.mark.skipif(
    not tflm_interpreter.installed(), reason="tflite-micro has wheels for Linux on x86-64 only"
)


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """{number format: (dense file, inputs, names of the weights)}, made once."""
    model, data = models.cnn("tf_keras"), models.examples(40, 12, 12, 2)
    made = {}
    for quantize in ("none", "int8", "int16x8"):
        path = tmp_path_factory.mktemp("dense") / "m.tflite"
        export(model, path, target="tflm", quantize=quantize, sparse=False, data=data)
        content = path.read_bytes()
        names = {
            at: f"weight {at[1]}" for at, a in Graph(content).constants().items() if a.ndim > 1
        }
        made[quantize] = content, {"input": data[:4]}, names
    return made


@INTERPRETER
@pytest.mark.parametrize("family", ["keras", "tf_keras"])
def test_a_model_is_smaller_and_verified_where_it_runs(family, tmp_path):
    model, data = models.cnn(family), models.examples(80, 12, 12, 2)
    path = tmp_path / "m.tflite"
    report = export(model, path, target="tflm", quantize="int8", data=data)
    content = path.read_bytes()
    assert report.sparse and report.bytes == len(content) < 0.6 * report.dense_bytes
    assert report.examples == 64 and report.agreement >= 0.9 and not report.missing
    measured = {found.name: found.value for found in report.measured}
    before = {found.name: found.value for found in report.dense_measured}
    assert measured["flash"] == report.bytes and before["flash"] == report.dense_bytes
    assert before["arena"] < measured["arena"] == tflm_interpreter.arena_bytes(content)
    assert "more RAM" in " ".join(report.remarks)
    # The largest kernel and its activations fit, or the arena would be too small.
    assert measured["arena"] > max(tensor.elements for tensor in report.tensors)
    zeros = {tensor.name: tensor.zeros for tensor in report.tensors}
    assert all(zeros[name] >= count for name, count in models.zeros_in(model).items())


@INTERPRETER
@pytest.mark.parametrize("quantize", ["none", "int8", "int16x8"])
def test_outputs_are_bit_identical(dense, quantize):
    content, inputs, names = dense[quantize]
    packed = tflm.pack(content, ExportContext(quantize, names, inputs))
    assert len(packed.encodings) >= 3 and len(packed.content) < 0.7 * len(content)
    before, after = (tflm.run(file, inputs)["output"] for file in (content, packed.content))
    assert np.array_equal(before, after) and np.ptp(before) > 0
    # Without the interpreter LiteRT runs the same weights, decoded.
    decoded = expanded(packed.content)
    assert np.array_equal(predict(decoded, inputs)["output"], predict(content, inputs)["output"])
    assert expanded(content) == content
    for file in (packed.content, packed.dense):
        _buffers_are_aligned(file)


def _buffers_are_aligned(content):
    model = schema().Model.GetRootAs(content, 0)
    tables = [model.Buffers(number)._tab for number in range(model.BuffersLength())]
    places = [table.Vector(table.Offset(4)) for table in tables if table.Offset(4)]
    assert len(places) > 8 and not any(place % ALIGNMENT for place in places)


@INTERPRETER
def test_flash_is_smallest_under_every_ram_budget(dense):
    """Against every subset of the weights, each measured."""
    content, inputs, names = dense["none"]
    plain = tflm.pack(content, ExportContext("none", names, inputs, sparse=False)).content
    found = candidates(Graph(plain))
    assert len(found) == 4
    measured = []
    for count in range(len(found) + 1):
        for chosen in itertools.combinations(found, count):
            graph = Graph(plain)
            attach(graph, {at: found[at].packed for at in chosen})
            file = aligned(graph)
            measured.append((len(file), tflm_interpreter.arena_bytes(file)))
    budgets = sorted({arena for _, arena in measured})
    assert len(budgets) > 6
    for budget in budgets:
        packed = tflm.pack(content, ExportContext("none", names, inputs, True, tflm.Micro(budget)))
        assert len(packed.content) == min(size for size, arena in measured if arena <= budget)
        assert tflm_interpreter.arena_bytes(packed.content) <= budget
    with pytest.raises(ValueError, match=f"too small: .* arena of {budgets[0]:,} bytes"):
        tflm.pack(content, ExportContext("none", names, inputs, True, tflm.Micro(budgets[0] - 1)))
    left = " ".join(
        tflm.pack(
            content, ExportContext("none", names, inputs, True, tflm.Micro(budgets[-2]))
        ).remarks
    )
    assert "dense, to keep the arena within the budget" in left


@INTERPRETER
def test_a_budget_too_small_leaves_the_old_file(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="ram_bytes=500 is too small"):
        export(models.mlp("keras"), path, target=target("tflm", ram_bytes=500))
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["m.tflite"]


@INTERPRETER
def test_sparse_files_are_made_dense_and_never_run(dense):
    content, inputs, names = dense["none"]
    sparse = encode(content, "none").content
    assert len(sparse) < len(content)
    packed = tflm.pack(sparse, ExportContext("none", names, inputs))
    assert packed.encodings and len(packed.content) < len(packed.dense)
    assert np.array_equal(
        tflm.run(packed.content, inputs)["output"], tflm.run(content, inputs)["output"]
    )
    with pytest.raises(RuntimeError, match="reads no sparse encoding"):
        tflm_interpreter.predict(sparse, inputs)
    assert "reads no sparse encoding" in tflm.measure(sparse).missing[0]


@INTERPRETER
def test_what_the_interpreter_says_is_in_the_error(dense):
    content, inputs, names = dense["none"]
    graph = Graph(content)
    graph.operators()[0].opcodeIndex = graph.operator_code(schema().BuiltinOperator.RFFT2D, 1)
    with pytest.raises(RuntimeError, match="refuses the file: .*RFFT2D"):
        tflm_interpreter.predict(graph.content(), inputs)
    with pytest.raises(ValueError, match="no operator RFFT2D; replace"):
        tflm.pack(graph.content(), ExportContext("none", names, inputs))
    with pytest.raises(ValueError, match="expected 1"):
        tflm_interpreter.predict(content, inputs, batch=2)
    with pytest.raises(ValueError, match="no .tflite file"):
        tflm.pack(content[:200], ExportContext("none", names, inputs))


def test_without_the_interpreter_the_report_says_so(dense, monkeypatch):
    content, inputs, names = dense["int8"]
    monkeypatch.setitem(sys.modules, "tflite_micro", None)
    monkeypatch.setattr(tflm_interpreter, "installed", lambda: False)
    packed = tflm.pack(content, ExportContext("int8", names, inputs))
    assert packed.encodings
    assert np.array_equal(
        tflm.run(packed.content, inputs)["output"], predict(content, inputs)["output"]
    )
    measured = tflm.measure(packed.content)
    assert [value.name for value in measured.values] == ["flash"]
    assert "pip install 'tfprune[micro]'" in measured.missing[0]
    with pytest.raises(ValueError, match="cannot be checked: .* not installed"):
        tflm.pack(content, ExportContext("int8", names, inputs, True, tflm.Micro(10**6)))


@pytest.mark.parametrize("value", [0, -1, 1.5, "64k", True])
def test_impossible_budgets(value):
    with pytest.raises(ValueError, match="ram_bytes=.* at least 1"):
        target("tflm", ram_bytes=value)


@INTERPRETER
def test_damaged_files_are_errors(dense):
    """Bytes are changed and cut off at random; the interpreter itself checks nothing."""
    content, inputs, names = dense["int8"]
    packed = tflm.pack(content, ExportContext("int8", names, inputs)).content
    draw, refused = np.random.default_rng(0), 0
    for trial in range(40):
        broken = bytearray(packed)
        if trial % 4 == 0:
            broken = broken[: draw.integers(len(broken))]
        for _ in range(draw.integers(20)):
            broken[draw.integers(max(1, len(broken))) % 4000 % len(broken)] = draw.integers(256)
        for use in (
            tflm_interpreter.arena_bytes,
            lambda c: tflm.pack(c, ExportContext("int8", {}, inputs)),
        ):
            try:
                use(bytes(broken))
            except (RuntimeError, ValueError):
                refused += 1
        assert tflm.measure(bytes(broken)).values[0].value == len(broken)
    assert refused > 20
    assert tflm_interpreter.arena_bytes(packed) > 0


@pytest.fixture
def runner(tmp_path):
    """A process that answers what it is asked, unless that ends it."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, pickle, struct, sys, time\n"
        "while head := sys.stdin.buffer.read(8):\n"
        "    what = pickle.loads(sys.stdin.buffer.read(struct.unpack('<Q', head)[0]))\n"
        "    if what == 'die': os.abort()\n"
        "    if what == 'leave': sys.exit(3)\n"
        "    if what == 'hang': time.sleep(60)\n"
        "    packed = pickle.dumps(what)\n"
        "    sys.stdout.buffer.write(struct.pack('<Q', len(packed)) + packed)\n"
        "    sys.stdout.buffer.flush()\n"
    )
    return WorkerProcess("any", str(program))


def test_a_process_that_dies_or_hangs_is_an_error_and_starts_again(runner):
    assert runner.ask("word", 30) == "word"
    for what, message in (("die", "signal 6"), ("leave", "exit code 3")):
        with pytest.raises(RuntimeError, match=f"ended the process with {message}"):
            runner.ask(what, 30)
        assert runner.ask([1, 2], 30) == [1, 2]
    with pytest.raises(RuntimeError, match="did not finish within 0.5 seconds"):
        runner.ask("hang", 0.5)
    assert runner.ask("word", 30) == "word"


def test_an_interrupted_request_is_not_answered_later(runner, monkeypatch):
    assert runner.ask("before", 30) == "before"

    def interrupted(stream):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(worker_process, "_received", interrupted)
        with pytest.raises(KeyboardInterrupt):
            runner.ask("lost", 30)
    assert runner.ask("after", 30) == "after"
