# SPDX-License-Identifier: Apache-2.0
"""What is said to wrong arguments: the argument's name, what was passed, what was expected."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_models import KERASES, cnn, compiled, data, fit, said

import tflite_export
import tfprune
from tflite_export.convert.representative_data import examples
from tflite_export.convert.signature import Signature

WRONG = [None, math.nan, "x", [], {}, len, object()]
everywhere = pytest.mark.parametrize("family", KERASES)


def refused(call, words, error=(TypeError, ValueError)):
    """A message for a user: not Python's own of something inside."""
    with pytest.raises(error, match=words) as raised:
        call()
    assert "object has no attribute" not in str(raised.value)
    assert "not supported between" not in str(raised.value)


SETTINGS = {
    tfprune.Filter: ("coupled", "pooling"),
    tfprune.Kernel: ("balanced",),
    tfprune.Pattern: ("library", "connectivity"),
    tfprune.Rows: ("of", "tiles"),
    tfprune.Block: ("rows",),
    tfprune.NofM: ("m",),
    tfprune.Global: ("min_keep",),
    tfprune.PFP: ("delta",),
    tfprune.CostAware: ("unit",),
    tfprune.WeightDecayGate: ("rate",),
    tfprune.GumbelTopKGate: ("rate", "temperature", "seed", "turn"),
    tfprune.RegrowthGate: ("gradient",),
    tfprune.MovementGate: ("rate", "penalty", "optimizer"),
    tfprune.StochasticGate: ("seed",),
    tfprune.DJPQConfig: ("kl", "width", "restricted", "threshold"),
    tfprune.SyntheticInputs: ("batch", "kind"),
    tfprune.QuantizationConfig: ("weights", "momentum"),
    tfprune.ADMM: ("rate", "penalty", "inputs"),
    tfprune.ADMMPenalty: ("start",),
    tfprune.Polynomial: ("begin", "initial", "power", "frequency"),
    tfprune.Budget: ("macs", "latency"),
    tflite_export.Meter: ("runs", "threads"),
}
GIVEN = {
    tfprune.Block: {"columns": 4},
    tfprune.NofM: {"n": 2},
    tfprune.Polynomial: {"sparsity": 0.5},
    tfprune.Budget: {"parameters": 0.5, "meter": len},
}
OPTIONAL = {"turn", "frequency", "begin", "end", "macs", "latency"}


@pytest.mark.parametrize(
    "kind, name",
    [(kind, name) for kind, names in SETTINGS.items() for name in names],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_setting_of_a_wrong_type(kind, name):
    for value in WRONG:
        if value is None and name in OPTIONAL or value == "x" and name == "optimizer":
            continue
        refused(
            lambda: kind(**{**GIVEN.get(kind, {}), name: value}), rf"({name}|Annealed).*xpected"
        )


@pytest.mark.parametrize(
    "name, given",
    [
        ("structure", 3),
        ("structure", "Filter"),
        ("structure", tfprune.Filter),
        ("allocation", "uniform"),
        ("allocation", tfprune.Global),
        ("schedule", 0.5),
        ("gate", "soft"),
        ("seed", "x"),
        ("rounds", None),
        ("momentum", "x"),
        ("score", "snip"),
    ],
)
def test_a_part_of_a_method_of_a_wrong_type(name, given):
    refused(
        lambda: tfprune.PruningCallback(tfprune.get_method("magnitude", **{name: given})),
        f"{name}=.*expected|How much to prune",
        TypeError if name != "schedule" else Exception,
    )


@pytest.mark.parametrize(
    "call, words",
    [
        (
            lambda: tfprune.PruningCallback("magnitude", 0.8, structure="filter"),
            r"^structure='filter': expected a structure such as tfprune.Filter\(\), got str",
        ),
        (
            lambda: tfprune.PruningCallback("magnitude", 0.8, structure=tfprune.Filter),
            r"^structure=.*expected a structure .*, got the class: write Filter\(...\)",
        ),
        (
            lambda: tfprune.PruningCallback("magnitude", 0.8, allocation="global"),
            r"^allocation='global': expected an allocation such as tfprune.Global\(\), got str",
        ),
        (lambda: tfprune.PerSite({}, others="uniform"), "expected an Allocation, got str"),
        (lambda: tfprune.Pattern(0), "library=0: expected a list of patterns such as"),
        (lambda: tfprune.Pattern([None]), r"library=\[None\]: expected patterns such as"),
        *(
            (
                lambda given=given: tfprune.PerSite(given),
                "expected a dictionary from layers, or their",
            )
            for given in (None, 3, "", "x", len)
        ),
        *(
            (
                lambda given=given: tfprune.SparsityLog(given),
                "path=.*the path of the folder for Tensor",
            )
            for given in (3, "", "a\0b", len)
        ),
        (lambda: tfprune.SparsityLog(progress="yes"), "progress='yes': expected True or False"),
        (lambda: tfprune.SparsityLog(title=3), "title=3: expected the text before the bar"),
        (lambda: tfprune.PruningRecord(3), "sizes=3: expected a dictionary"),
        (lambda: tfprune.PruningRecord({"a": 4}, 3), "steps=3: expected the steps"),
        (lambda: tfprune.PruningRecord({"a": 4}, "x"), "steps='x': expected"),
        *(
            (
                lambda given=given: tfprune.load_model(given),
                "path=.*expected the path of a saved model",
            )
            for given in ("", "a\0b", None, 3)
        ),
        *(
            (lambda given=given: tflite_export.inspect(given), "path=.*the path of a .tflite file")
            for given in ("", None, 3)
        ),
        *(
            (
                lambda given=given: tflite_export.c_package("x", given),
                "path=.*of the folder to write",
            )
            for given in ("", None, 3)
        ),
        (
            lambda: tflite_export.c_package(None, "folder"),
            "path=None: expected the path of a .tflite",
        ),
        (lambda: tflite_export.c_package("x", "folder", name=3), "name=3: expected small letters"),
        (
            lambda: tflite_export.target("ethos-u55-128", system="../../x"),
            "system='../../x': expected the name of a section",
        ),
        (lambda: tflite_export.target("ethos-u55-128", memory=""), "memory='': expected a text"),
        (lambda: tflite_export.target("ethos-u55-128", config=""), "config='': expected a text"),
        (lambda: tflite_export.target([]), "unknown target .*; possible are"),
        (
            lambda: examples(
                np.ones((2, 3), "c8"), Signature(("x",), ((None, 3),), ("float32",), 0), 9
            ),
            "data for input 'x' is complex",
        ),
    ],
)
def test_what_is_said(call, words):
    refused(call, words)


@pytest.mark.parametrize("kind", [tfprune.Polynomial, tfprune.Exponential])
def test_a_schedule_that_goes_down(kind):
    assert said(lambda: kind(0.5, initial=0.5)) == []
    (text,) = said(lambda: kind(0.5, initial=0.9))
    assert "initial=0.9 is above sparsity=0.5" in text


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match="file: it is a file; pass the name of a folder"):
        tflite_export.c_package("x", tmp_path / "file")
    log = tfprune.SparsityLog(tmp_path / "file", progress=False)
    with pytest.raises(NotADirectoryError, match="file' is a file: pass a folder"):
        log.on_train_begin()


# Models.

CALLS = {
    "sparsify": lambda model: tfprune.sparsify(model, "magnitude", 0.5),
    "report": tfprune.report,
    "strip_pruning": tfprune.strip_pruning,
    "start": lambda model: tfprune.PruningCallback("magnitude", 0.5).start(model, total_steps=4),
    "shrink": tfprune.shrink,
    "reinitialize": tfprune.reinitialize,
    "shrink_to": lambda model: tfprune.shrink_to(model, tfprune.Budget(parameters=0.5)),
    "channel_groups": tfprune.channel_groups,
    "family": lambda model: tfprune.scaled_models(model, tfprune.PruningRecord({"a": 4}), [0.5]),
    "replay": lambda model: tfprune.PruningRecord({"a": 4}).replay(model),
    "lottery": lambda model: tfprune.find_lottery_ticket(model, {"x": np.ones((2, 4))}),
    "export": lambda model: tflite_export.export(model, "never.tflite"),
    "advise": tflite_export.advise,
}
ON_LAYERS = {"sparsify", "report", "strip_pruning", "start"}


@everywhere
@pytest.mark.parametrize("call", CALLS)
def test_what_is_no_model(family, call):
    library = KERASES[family]
    layer, model = library.layers.Dense(3, name="alone"), library.Sequential()
    for given in (None, "model.keras", [model], library.optimizers.SGD(), library.layers.Dense):
        refused(lambda: CALLS[call](given), "xpected", TypeError)
    if call not in ON_LAYERS:
        refused(
            lambda: CALLS[call](layer),
            "Expected a Keras model, got the layer 'alone'|got Dense, expected a Keras",
            TypeError,
        )


@everywhere
def test_wrapping_what_is_no_model(family):
    for given in (KERASES[family].optimizers.SGD(), [KERASES[family].optimizers.SGD()]):
        refused(lambda: tfprune.prune(given, "magnitude", 0.5), "Expected a Keras model or layer")
    refused(
        lambda: tfprune.prune_low_magnitude(KERASES[family].optimizers.SGD()),
        "can only prune an object of the following types",
    )


@everywhere
def test_models_without_weights(family):
    library = KERASES[family]
    empty = library.Sequential([library.Input((4,)), library.layers.ReLU()], name="empty")
    unbuilt = library.Sequential([library.layers.Dense(2)], name="unbuilt")
    layer = library.layers.Dense(2, name="alone")
    for call in ("sparsify", "lottery"):
        refused(lambda: CALLS[call](empty), "The model 'empty' has no weights, so there is nothing")
        refused(lambda: CALLS[call](unbuilt), "The model 'unbuilt' is not built.*call it on a")
    refused(lambda: CALLS["sparsify"](layer), "The layer 'alone' is not built")


def test_arguments_of_family():
    model, record = cnn("keras"), tfprune.PruningRecord({"conv": 4})
    refused(
        lambda: tfprune.scaled_models(model, None, [0.5]),
        "record=None: expected a tfprune.PruningRecord",
    )
    refused(
        lambda: tfprune.scaled_models(model, record, 0.5), "sizes=0.5: expected a list of scales"
    )


# Runs.


@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")
@everywhere
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_run_without_a_step(family, wrapped):
    model, callback = cnn(family), tfprune.PruningCallback("magnitude", 0.5)
    if wrapped:
        model, callback = tfprune.prune(model, "magnitude", 0.5), tfprune.PruningCallback()
    compiled(model, family)
    nothing = tf.data.Dataset.from_tensor_slices(data()).batch(8).take(0)
    with pytest.raises(ValueError, match="no step.*the data yields no batch.*sparsify|non-empty"):
        model.fit(nothing, verbose=0, callbacks=[callback])
    with pytest.raises(ValueError, match="would train no step.*epochs=0|epochs to be positive"):
        fit(model, callback, epochs=0)


@pytest.mark.parametrize(
    "given, words",
    [
        ({"total_steps": "x"}, "total_steps='x': expected a number of steps"),
        ({"total_steps": math.inf}, "total_steps=inf: expected"),
        ({"total_steps": 0}, "at least 1"),
        ({"steps_per_epoch": -1}, "steps_per_epoch=-1: expected at least 1"),
    ],
)
def test_lengths_of_a_run(given, words):
    refused(lambda: tfprune.PruningCallback("magnitude", 0.5).start(cnn("keras"), **given), words)


@pytest.mark.parametrize(
    "given, words",
    [
        ({"fraction": "a"}, "fraction='a': expected a number in"),
        ({"fraction": None}, "=None: exp"),
        ({"levels": "a"}, "levels='a': expected an integer"),
        ({"rewind": "a"}, "rewind='a': expected"),
        ({"train": {}}, "train has no arguments: expected the arguments of model.fit, at least"),
        ({"train": {"epochs": 3}}, "train has .epochs.: expected .* at least the data .x."),
        ({"train": 3}, "train=3: expected the arguments of model.fit"),
        ({"method": 3}, "name of a method or a Method, got int"),
    ],
)
def test_arguments_of_lottery(given, words):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    refused(lambda: tfprune.find_lottery_ticket(model, **{"train": {"x": 1}, **given}), words)


@everywhere
def test_labels_outside_of_the_classes(family):
    inputs, labels = data()
    for wrong in (labels + 99, labels - 9):
        refused(
            lambda: tfprune.sparsify(
                compiled(cnn(family), family), "snip", 0.5, data=(inputs, wrong)
            ),
            rf"int64\[24\] from {wrong.min()} to {wrong.max()} for outputs \(24, 3\).*below",
        )
