# SPDX-License-Identifier: Apache-2.0
"""Saved files as numbers: what they hold and how they go on. Counts are integers, values floats."""

import json
from pathlib import Path

import numpy as np
import tensorflow as tf

import tflite_export
import tfprune

from . import networks

HERE = Path(__file__).parent
EXPECTED = HERE / "expected.json"


def measured(path):
    """The numbers of a file, by its ending."""
    if path.name == "configs.json":
        return {name: of_config(config) for name, config in json.loads(path.read_text()).items()}
    ways = {
        ".record.json": of_record,
        ".tflite": of_tflite,
        ".weights.h5": of_weights,
        ".ckpt.index": of_checkpoint,
        ".tf.index": of_weights,
        ".keras": of_model,
        ".h5": of_model,
    }
    return next(way for ending, way in ways.items() if path.name.endswith(ending))(path)


def parts(path):
    """(family, name of the model) of a file called "family-name.ending"."""
    family, _, name = path.name.partition(".")[0].partition("-")
    return family, name


def of_model(path):
    """A whole model, with what its optimizer holds; .h5 of Keras 3 loses what its optimizer is."""
    family, _ = parts(path)
    model = tfprune.load_model(path)
    if family == "keras" and path.suffix == ".h5":
        networks.compiled(model, family)
    model.run_eagerly = True
    return _of_trained(model, family)


def of_weights(path):
    """Weights alone; in TensorFlow's form with the state of the optimizer."""
    family, name = parts(path)
    model = networks.compiled(networks.MODELS[name](family), family)
    status = model.load_weights(path.with_suffix("") if path.suffix == ".index" else path)
    if status is not None:
        status.assert_existing_objects_matched()
    return _of_trained(model, family)


def of_checkpoint(path):
    """A `tf.train.Checkpoint` of the model and its optimizer."""
    family, name = parts(path)
    model = networks.compiled(networks.MODELS[name](family), family)
    model.optimizer.build(model.trainable_variables)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    status = checkpoint.read(str(path.with_suffix("")))
    status.assert_existing_objects_matched()
    return _of_trained(model, family)


def _of_trained(model, family):
    inputs, _ = networks.data(model)
    loaded = of_network(model, inputs)
    trained = of_network(networks.trained(model, family, 3, initial_epoch=2), inputs)
    plain = tfprune.strip_pruning(model)
    report = {one.name: [one.kept, one.size] for one in tfprune.report(plain).sites}
    return {
        "loaded": loaded,
        "after an epoch": trained,
        "stripped": {**of_network(plain, inputs), "report": report},
    }


def of_record(path):
    """A pruning record, replayed."""
    family, name = parts(path)
    record = tfprune.PruningRecord.load(path)
    small = record.replay(getattr(networks, name)(family))
    return {
        "channels": {
            name: [size, int(record.removed()[name].sum())] for name, size in record.sizes.items()
        },
        "steps": len(record.steps),
        **of_network(small, networks.data(small)[0]),
    }


def of_config(config):
    """The values of a method's settings, as a method that was read from them writes them.

    Names of classes and fields may change; what was written under the old ones is read.
    """
    method = tfprune.Method.from_config(config)
    again = tfprune.Method.from_config(json.loads(json.dumps(method.get_config())))
    assert again == method
    return values(method.get_config())


def values(config):
    """The sorted leaves of a configuration, as texts, without names of classes."""
    if isinstance(config, dict):
        config = [value for key, value in config.items() if key != "class_name"]
    if isinstance(config, (list, tuple)):
        return sorted(leaf for one in config for leaf in values(one))
    return [json.dumps(config)]


def of_tflite(path):
    """What is in a file for a device, and its outputs."""
    found = tflite_export.inspect(path)
    numbers = {
        "bytes": found.bytes,
        "quantize": found.quantize,
        "operators": found.operators,
        "ports": [
            [one.name, list(one.shape), one.dtype] for one in (*found.inputs, *found.outputs)
        ],
        "tensors": [
            [list(one.shape), one.dtype, one.zeros, one.elements, one.encoding, one.bytes]
            for one in found.tensors
        ],
        "runs on": [name for name, opinion in found.targets.items() if not opinion.objections],
    }
    if path.name.startswith("vela"):  # nothing here executes what an accelerator does
        return numbers
    device = tflite_export.target("tflm" if path.name.startswith("tflm") else "mobile")
    (port,) = found.inputs
    inputs = networks.wave(4, *port.shape[1:], phase=0.5)
    return {
        **numbers,
        "outputs": [
            _floats(one) for one in device.run(path.read_bytes(), {port.name: inputs}).values()
        ],
    }


def of_network(model, inputs):
    """Variables and outputs of a model, wrapped or plain."""
    return {"weights": _weights(model), "outputs": _floats(model(inputs, training=False))}


def _weights(model):
    """[name, zeros, size, mean] of every variable, masks and what gates keep among them."""
    found = []
    for variable, value in zip(model.weights, model.get_weights(), strict=True):
        name = variable.name.partition(":")[0].rpartition("/")[2]
        found.append(
            [
                name,
                int(np.count_nonzero(value == 0)),
                value.size,
                *_floats(np.mean(value, dtype="float64")),
            ]
        )
    return found


def _floats(array):
    return [round(float(one), 7) for one in np.ravel(array)]
