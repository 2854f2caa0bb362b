# SPDX-License-Identifier: Apache-2.0
"""Types of inputs and outputs: uint8 is int8 plus 128 to the bit, and what cannot be is refused."""

import numpy as np
import pytest
from export_models import KERASES

from tflite_export import export, runtime, target
from tflite_export.__main__ import main
from tflite_export.devices import vela
from tflite_export.flatbuffer.graph import Graph
from tflite_export.flatbuffer.signature_io import ports
from tflite_export.runtime import tflm_interpreter


@pytest.fixture(scope="module", params=list(KERASES))
def passing(request):
    """One output is an input, another is there twice."""
    return _model(request.param, through=True)


@pytest.fixture(scope="module", params=list(KERASES))
def model(request):
    return _model(request.param, through=False)


def _model(family, through):
    layers = KERASES[family].layers
    image = KERASES[family].Input((16, 2), name="image")
    state = KERASES[family].Input((3,), name="a")
    scores = layers.Add()([layers.Dense(3)(layers.Flatten()(image)), layers.Dense(3)(state)])
    return KERASES[family].Model(
        [image, state], [scores, state if through else layers.ReLU()(state), scores]
    )


@pytest.fixture(scope="module")
def data():
    draw = np.random.default_rng(0)
    return [draw.random((64, 16, 2)).astype("float32"), draw.normal(size=(64, 3)).astype("float32")]


def _file(folder, model, data, chosen, quantize):
    report = export(model, folder / "model.tflite", target=chosen, quantize=quantize, data=data)
    content = (folder / "model.tflite").read_bytes()
    assert report.ports == sum(ports(content), ())
    return content, report


def _run(name, content, inputs):
    """In the numbers that are stored."""
    if name == "tflm" and tflm_interpreter.installed():
        return tflm_interpreter.execute(content, inputs)
    given = runtime.predict(content, dict(zip((p.name for p in ports(content)[0]), inputs)))
    return [
        np.round(given[p.name] / p.scale + p.zero_point).astype(p.dtype) for p in ports(content)[1]
    ]


@pytest.mark.parametrize("name, quantize", [("tflm", "int8"), ("mobile", "int4")])
def test_unsigned_is_signed_and_128(passing, data, name, quantize, tmp_path):
    """Every number that there is, at each place of the input."""
    signed, before = _file(
        tmp_path, passing, data, target(name, input_type="int8", output_type="int8"), quantize
    )
    unsigned, report = _file(
        tmp_path, passing, data, target(name, input_type="uint8", output_type="uint8"), quantize
    )
    assert report.error == before.error
    for one, other in zip(before.ports, report.ports, strict=True):
        assert (one.dtype, other.dtype) == ("int8", "uint8")
        assert (one.name, one.shape, one.scale, one.zero_point + 128) == (
            other.name,
            other.shape,
            other.scale,
            other.zero_point,
        )
    # A camera's white is the largest value, and its black the smallest.
    image = report.ports[0]
    assert image.zero_point == 0 and abs(255 * image.scale - data[0].max()) < 1e-2
    values = [
        np.stack([np.roll(np.arange(256), n) for n in range(port.single[1])], 1)
        for port in report.ports[:2]
    ]
    values = [np.repeat(values[0][:, :, None], 2, 2), values[1]]
    got = _run(name, unsigned, [value.astype("uint8") for value in values])
    expected = _run(name, signed, [(value - 128).astype("int8") for value in values])
    for have, want in zip(got, expected, strict=True):
        assert have.dtype == np.uint8 and np.array_equal(have, want.astype(int) + 128)


@pytest.mark.parametrize(
    "name, quantize, given, types",
    [
        ("tflm", "int8", {"input_type": "float32"}, ("float32", "int8")),
        ("tflm", "int16x8", {"output_type": "float32"}, ("int16", "float32")),
        ("mobile", "int8", {"output_type": "uint8"}, ("float32", "uint8")),
        ("ethos-u55-128", "int8", {"input_type": "uint8"}, ("uint8", "int8")),
    ],
)
def test_each_side_has_a_type_of_its_own(
    model, data, name, quantize, given, types, tmp_path, monkeypatch
):
    monkeypatch.setattr(vela, "installed", lambda: False)
    content, report = _file(tmp_path, model, data, target(name, **given), quantize)
    assert [port.dtype for port in report.ports] == [types[0]] * 2 + [types[1]] * 3
    assert report.agreement > 0.9 and report.error < 0.05
    assert all(port.scale > 0 for port in report.ports if port.dtype != "float32")
    assert Graph(content).operator_name(Graph(content).operators()[0]) == "QUANTIZE" or types[
        0
    ] in ("int8", "int16")


@pytest.mark.parametrize(
    "name, quantize, given, message",
    [
        (
            "tflm",
            "none",
            {"input_type": "int8"},
            "input_type='int8' needs quantize='int8' or 'int4'; 'none' has float32$",
        ),
        (
            "tflm",
            "int16x8",
            {"output_type": "uint8"},
            "output_type='uint8' needs quantize='int8' or 'int4'; 'int16x8' has float32, int16$",
        ),
        ("mobile", "dynamic", {"output_type": "int16"}, "needs quantize='int16x8'; 'dynamic' has"),
        (
            "mobile",
            "int8",
            {"input_type": "uint16"},
            "input_type='uint16': expected one of 'float32', 'int8', 'uint8', 'int16', or None",
        ),
        (
            "tflm",
            "int8",
            {"input_type": np.dtype("uint8")},
            r"input_type=dtype\('uint8'\): expected",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(model, data, name, quantize, given, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export(
            model, tmp_path / "a.tflite", target=target(name, **given), quantize=quantize, data=data
        )
    assert not list(tmp_path.iterdir())


def test_a_tensor_on_both_sides_has_one_type(passing, data, tmp_path):
    with pytest.raises(ValueError, match="input 'a' is an output as well, .* uint8 here and float"):
        export(
            passing,
            tmp_path / "a.tflite",
            target=target("mobile", input_type="uint8"),
            quantize="int8",
            data=data,
        )


@pytest.mark.parametrize("family", KERASES)
def test_indices_stay_what_they_are(family, tmp_path):
    layers = KERASES[family].layers
    ids = KERASES[family].Input((2,), dtype="int32", name="ids")
    real = KERASES[family].Input((3,), name="real")
    seen = layers.Flatten()(layers.Embedding(5, 4)(ids))
    both = KERASES[family].Model([ids, real], layers.Dense(2)(layers.Concatenate()([seen, real])))
    alone = KERASES[family].Model(ids, layers.Dense(2)(seen))
    draw = np.random.default_rng(0)
    data = [draw.integers(0, 5, (50, 2)), draw.normal(size=(50, 3))]
    wanted = target("mobile", input_type="uint8")
    report = export(both, tmp_path / "a.tflite", target=wanted, quantize="int8", data=data)
    assert [port.dtype for port in report.ports] == ["int32", "uint8", "float32"]
    said = "input 0 'ids': int32 [?, 2]: not uint8, since the file does not quantize it"
    assert said in report.remarks
    with pytest.raises(ValueError, match="input_type='uint8': there is no .*input 0 'ids': int32"):
        export(alone, tmp_path / "b.tflite", target=wanted, quantize="int8", data=data[0])


@pytest.mark.parametrize("family", KERASES)
def test_indices_are_not_rounded(family, tmp_path, monkeypatch):
    """Keras' inputs are real numbers where nothing else is said."""
    monkeypatch.setattr(vela, "installed", lambda: False)
    layers = KERASES[family].layers
    tokens = KERASES[family].Input((9,), name="tokens")
    model = KERASES[family].Model(tokens, layers.Embedding(256, 2, name="table")(tokens))
    ids = np.random.default_rng(0).integers(0, 20, (60, 9))
    for name, quantize in (("tflm", "int8"), ("ethos-u55-128", "int8"), ("tflm", "int4")):
        with pytest.raises(
            ValueError,
            match=r"'tokens' holds indices of layer 'table' \(Embed.*or "
            "input_type='float32'",
        ):
            export(model, tmp_path / "a.tflite", target=name, quantize=quantize, data=ids)
    assert not list(tmp_path.iterdir())
    wanted = target("tflm", input_type="float32")
    assert (
        export(model, tmp_path / "a.tflite", target=wanted, quantize="int8", data=ids).error < 0.01
    )
    # Steps of 1 are exact.
    ids[0, :2] = 0, 255
    assert (
        export(model, tmp_path / "a.tflite", target="tflm", quantize="int8", data=ids).error < 0.01
    )
    columns = KERASES[family].Input((3,), name="columns")
    looked_up = layers.Flatten()(layers.Embedding(20, 2, name="table")(columns[:, :1]))
    mixed = KERASES[family].Model(columns, layers.Concatenate()([looked_up, columns[:, 1:] * 2.0]))
    with pytest.raises(ValueError, match="'columns' holds indices of layer 'table' .*an input of"):
        export(mixed, tmp_path / "b.tflite", quantize="int8", data=ids[:, :3] % 20)


@pytest.mark.parametrize("family", KERASES)
def test_bytes_that_keras_casts_have_a_way_out(family, tmp_path):
    layers = KERASES[family].layers
    camera = KERASES[family].Input((4, 4, 1), dtype="uint8", name="camera")
    scores = layers.Dense(2)(layers.Flatten()(layers.Rescaling(1 / 255)(camera)))
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 1)).astype("uint8")
    with pytest.raises(ValueError, match="casts no uint8, .* 'camera' .*input_type='uint8"):
        export(
            KERASES[family].Model(camera, scores),
            tmp_path / "a.tflite",
            target="tflm",
            quantize="int8",
            data=images,
        )
    assert not list(tmp_path.iterdir())


def test_loops_of_recurrent_layers_take_and_give_integers(tmp_path):
    data = np.random.default_rng(0).normal(size=(40, 5, 3)).astype("float32")

    def written(family, ends, **more):
        layers = KERASES[family].layers
        KERASES[family].utils.set_random_seed(0)
        inputs = KERASES[family].Input((5, 3))
        hidden = layers.GRU(4, return_sequences=True)(inputs)
        outputs = [hidden, layers.Dense(2)(inputs)] if ends == "loop" else layers.Dense(2)(hidden)
        report = export(
            KERASES[family].Model(inputs, outputs), tmp_path / "a.tflite", data=data, **more
        )
        assert report.error < 0.3  # of few examples; numbers in a wrong grid are off by 1
        return [port.dtype for port in report.ports]

    tflm = target("tflm", input_type="uint8", output_type="float32")
    assert written("keras", "loop", quantize="int8", target="tflm") == ["int8"] * 3
    assert written("tf_keras", "dense", quantize="int8", target=tflm) == ["uint8", "float32"]
    mobile = target("mobile", output_type="int8")
    assert written("keras", "loop", quantize="int8", target=mobile) == ["float32", "int8", "int8"]
    assert written("keras", "dense", quantize="int16x8", target="tflm") == ["int16"] * 2


def test_the_command_line_offers_them(model, data, tmp_path, capsys):
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "x.npz", image=data[0], a=data[1])
    path = tmp_path / "model.tflite"
    assert (
        main(
            [
                str(tmp_path / "model.keras"),
                str(path),
                "--target",
                "tflm",
                "--quantize",
                "int8",
                "--data",
                str(tmp_path / "x.npz"),
                "--input-type",
                "uint8",
                "--option",
                "output_type=float32",
                "--format",
                "markdown",
            ]
        )
        == 0
    )
    taken, given = ports(path.read_bytes())
    assert [port.dtype for port in (*taken, *given)] == ["uint8"] * 2 + ["float32"] * 3
    assert "| input 0 | image | 1x16x2 | uint8 |" in capsys.readouterr().out
