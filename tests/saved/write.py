# SPDX-License-Identifier: Apache-2.0
"""Writes saved files and their numbers (`expected.json`) into this folder: new ones only.

The files of this folder are from tfprune 0.1.0 as of commit 53c30ce, with Keras 3.15.1, tf_keras
2.21.0, TF-MOT 0.8.1 and TensorFlow 2.21.0. All later versions have to read them, so none is ever
written again: a file that is there is left alone. `python -m tests.saved.write`, from the root of
the repository, adds the rows of `FILES` that are missing; name the version here if you do so.
Of the numbers only names in memory were changed since: a second mask in Keras 3 is `mask_1`.
"""

import gzip
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot

import tflite_export
import tfprune

from . import networks
from .measure import EXPECTED, HERE, measured, of_network, parts

_WHOLE = {
    "dpf": ("keras.keras", "keras.h5", "tf_keras.keras", "tf_keras.h5"),
    "joint": ("keras.keras", "keras.h5", "tf_keras.keras", "tf_keras.h5"),
    "quantized": ("keras.keras", "keras.h5", "tf_keras.keras", "tf_keras.h5"),
    "separable": ("keras.keras", "tf_keras.h5"),
    "gates": ("keras.keras", "tf_keras.h5"),
    "taylor": ("keras.h5", "tf_keras.keras"),
    "drop-in": ("keras.keras", "tf_keras.h5"),
    "tfmot": ("tf_keras.keras", "tf_keras.h5"),
}
_WEIGHTS = {
    "dpf": ("keras.weights.h5", "tf_keras.weights.h5", "tf_keras.ckpt", "tf_keras.tf"),
    "gates": ("tf_keras.tf",),
    "joint": ("tf_keras.tf",),
    "quantized": ("keras.weights.h5", "tf_keras.ckpt"),
}
# {name: (network, target, quantize, sparse)}
_DEVICES = {
    "mobile-dense": (networks.convolutional, "mobile", "none", False),
    "mobile-csr": (networks.convolutional, "mobile", "none", True),
    "mobile-block": (networks.blocks, "mobile", "none", True),
    "mobile-float16": (networks.convolutional, "mobile", "float16", "auto"),
    "mobile-dynamic": (networks.wide, "mobile", "dynamic", "auto"),
    "mobile-int8": (networks.wide, "mobile", "int8", "auto"),
    "mobile-int16x8": (networks.convolutional, "mobile", "int16x8", "auto"),
    "mobile-int4": (networks.convolutional, "mobile", "int4", "auto"),
    "xnnpack-none": (networks.convolutional, "mobile-sparse-f32", "none", True),
    "xnnpack-float16": (networks.convolutional, "mobile-sparse-f32", "float16", "auto"),
    "tflm-none": (networks.convolutional, "tflm", "none", "auto"),
    "tflm-int8": (networks.wide, "tflm", "int8", "auto"),
    "tflm-int16x8": (networks.convolutional, "tflm", "int16x8", "auto"),
    "tflm-int4": (networks.convolutional, "tflm", "int4", "auto"),
    "ethos-int8": (networks.convolutional, "ethos-u55-128", "int8", "auto"),
    "ethos-int16x8": (networks.convolutional, "ethos-u85-256", "int16x8", "auto"),
    "vela": (networks.convolutional, "ethos-u55-128", "int8", "auto"),
}
FILES = (
    *(f"{name}.tflite" for name in _DEVICES),
    "keras-normalized.record.json",
    "tf_keras-normalized.record.json",
    "configs.json",
    *(
        f"{form.partition('.')[0]}-{name}.{form.partition('.')[2]}"
        for table in (_WHOLE, _WEIGHTS)
        for name, forms in table.items()
        for form in forms
    ),
)


def main():
    """Write what is missing."""
    expected = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
    for name in FILES:
        key = name + ".index" if name.endswith((".ckpt", ".tf")) else name
        if key in expected:
            print(f"{name} is there, and stays")
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, key)
            end = _written(path, Path(folder, name))
            numbers = measured(path)
            if end is not None:
                _check(path, end, numbers["after an epoch"])
            for made in sorted(Path(folder).iterdir()):
                _add(made)
        expected[key] = numbers
        EXPECTED.write_text(_lines(expected))
        print(name)


def _add(made):
    """A file into this folder, never over another one; all but JSON is packed."""
    content, name = made.read_bytes(), made.name
    if made.suffix != ".json":
        content, name = gzip.compress(content, mtime=0), name + ".gz"
    with open(HERE / name, "xb") as file:
        file.write(content)


def _lines(expected):
    """JSON with one line for each part of an entry."""

    def inner(value):
        return ",\n".join(f"  {json.dumps(key)}: {json.dumps(one)}" for key, one in value.items())

    return (
        "{\n"
        + ",\n".join(
            f"{json.dumps(name)}: {{\n{inner(value)}\n}}" for name, value in expected.items()
        )
        + "\n}\n"
    )


def _written(path, target):
    """Write a file; of a model its numbers at the end of the run in whose middle it was saved."""
    if path.name == "configs.json":
        path.write_text(_lines(_configs()))
    elif path.name.endswith(".record.json"):
        family, name = parts(path)
        model = getattr(networks, name)(family)
        _, report = tfprune.shrink_to(model, tfprune.Budget(parameters=0.5), steps=2)
        report.record.save(path)
    elif path.suffix == ".tflite":
        _export(path)
    else:
        return _trained(path, target)
    return None


def _trained(path, target):
    family, name = parts(path)
    library = networks.KERASES[family]
    model = networks.compiled(
        networks.MODELS[name](family) if name != "tfmot" else _tfmot(), family
    )

    class Save(library.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch != 1:
                return
            if target.suffix == ".ckpt":
                tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(str(target))
            elif target.suffix == ".tf" or path.name.endswith(".weights.h5"):
                model.save_weights(target)
            else:
                model.save(path)

    networks.trained(model, family, 3, Save())
    for index in path.parent.glob("checkpoint"):  # the name of the newest, which nobody asks for
        index.unlink()
    return of_network(model, networks.data(model)[0])


def _check(path, end, numbers):
    """A run that goes on from the file ends as the one that was not interrupted."""
    if path.name.endswith(".weights.h5") or (
        path.name.startswith("keras-") and path.suffix == ".h5"
    ):
        return  # no state of an optimizer in it, or none that Keras 3 reads
    for one, other in zip(end["weights"], numbers["weights"], strict=True):
        if one[:3] != other[:3] or not abs(one[3] - other[3]) < 1e-6:
            raise AssertionError(f"{path.name}: {other}, without a break {one}")
    if not np.allclose(end["outputs"], numbers["outputs"], atol=1e-6):
        raise AssertionError(f"{path.name}: other outputs than without a break")


def _tfmot():
    kinds = tfmot.sparsity.keras
    schedule = kinds.PolynomialDecay(0.1, 0.6, begin_step=0, end_step=6, frequency=1)
    return kinds.prune_low_magnitude(networks.separable("tf_keras"), schedule)


def _export(path):
    make, name, quantize, sparse = _DEVICES[path.stem]
    model = make()
    compiled = {"compiled": str(path)} if path.stem == "vela" else {}
    dense = path.with_name("dense.tflite") if compiled else path
    tflite_export.export(
        model,
        dense,
        target=tflite_export.target(name, **compiled),
        quantize=quantize,
        sparse=sparse,
        data=networks.wave(64, *model.input_shape[1:], phase=0.5),
    )
    if compiled:
        dense.unlink()


def _configs():
    """For the name of every class a method whose configuration has it, with no field at rest.

    `QuantizationConfig` and `Part` are in those of the wrappers, "quantized" and "joint".
    """
    get, epochs = tfprune.get_method, tfprune.Epochs
    course = tfprune.Annealed(2.0, 0.5, 0.75)
    synthetic = tfprune.SyntheticInputs("normal", 5, 0.5, size=6, tokens=7)
    solver = tfprune.ADMM(2, 3, 4, 0.1, tfprune.ADMMPenalty(0.2, 3.0, 4.0), synthetic, False)
    removal = tfprune.StepwiseRemoval(0.3, 7, begin=epochs(1.5), frequency=5, groups=90)
    structures = (
        tfprune.Element(),
        tfprune.Block(2, 3, "max"),
        tfprune.NofM(1, 4),
        tfprune.Kernel("sum", balanced=True),
        tfprune.Column("max"),
        tfprune.Channel("max"),
        tfprune.Pattern(((0, 1), (2, 3)), connectivity=True, balanced=True),
        tfprune.Rows("maps", 3, tiles=2, pooling="max"),
        tfprune.Filter("sum", coupled=True),
    )
    allocations = (
        tfprune.Uniform(3),
        tfprune.Global(5),
        tfprune.ERK(6),
        tfprune.LAMP(7),
        tfprune.PerSite({"a": 0.25, "b/kernel": 0.0}, tfprune.ERK(2), 4),
        tfprune.CostAware(3, beta=0.5, unit="parameters"),
        tfprune.PFP(3, delta=0.1, constant=2.0),
    )
    schedules = (
        tfprune.OneShot(0.3, at=epochs(2.5)),
        tfprune.FixedMask(),
        removal,
        tfprune.Constant(0.3, begin=2, end=0.75, frequency=3),
        tfprune.Polynomial(0.3, 0.1, begin=0.25, end=1.0, power=2, frequency=4),
        tfprune.Exponential(0.3, 0.1, begin=epochs(1.25), end=9, frequency=4),
    )
    gates = (
        tfprune.MaskGate(straight_through=True),
        tfprune.WeightDecayGate(0.5),
        tfprune.StochasticGate(3),
        tfprune.SoftThresholdGate(),
        tfprune.RegrowthGate(gradient=False),
        tfprune.MovementGate(0.5, "sgd", 3.0),
        tfprune.GumbelTopKGate(
            tfprune.Annealed(2.0, 1.0),
            tfprune.Annealed(0.0, 1e-3),
            0.01,
            8,
            seed=3,
            turn=100,
            noise=course,
        ),
        tfprune.DJPQConfig(
            kl=0.25,
            bops=0.5,
            form="log",
            width=4,
            restricted=True,
            seed=2,
            activations=False,
            threshold=2.0,
            temperature=3.0,
            learn_power=True,
            rate=2.5,
            ramp=7,
        ),
    )
    rules = {
        "Chances": get("spp", increment=0.1, center=0.5),
        "Told": get("djpq"),
        "Draw": get("coreset_draws", seed=4),
        "Logits": get("dpp", deviation=1.5, start="random"),
        "Regrowth": get("set", fraction=0.25, anneal="constant", start="random", seed=5),
        "Solve": get("admm", solver=solver),
        "Threshold": get("movement_soft", threshold=0.2, least=0.01),
    }
    others = {
        "Epochs": epochs(1.5),
        "Course": course,
        "ADMM": solver,
        "Penalty": solver.penalty,
        "Synthetic": synthetic,
    }
    methods = {
        **{type(one).__name__: get("magnitude", structure=one) for one in structures},
        **{type(one).__name__: get("magnitude", allocation=one) for one in allocations},
        **{type(one).__name__: get("magnitude", schedule=one) for one in schedules},
        **{type(one).__name__: get("magnitude", gate=one) for one in gates},
        **rules,
        # A method's own timing may be anything, also what stands elsewhere in other files.
        **{name: get("magnitude", default_schedule=one) for name, one in others.items()},
        "Method": get("magnitude", default_schedule=get("grasp", temperature=150.0)),
        "Rank": get("taylor", rounds=3, momentum=0.5, seed=6),
    }
    configs = {name: method.get_config() for name, method in methods.items()}
    configs["Rank"]["rule"]["class_name"] = "Rank"  # understood where it is left out
    layout = {"outputs": [2, 1], "inputs": [0], "spatial": [3]}
    configs["Layout"] = get("magnitude").get_config() | {
        "timing": {"class_name": "Layout", "config": layout}
    }
    return configs


if __name__ == "__main__":
    sys.exit(main())
