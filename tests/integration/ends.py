# SPDX-License-Identifier: Apache-2.0
"""Models of several inputs and outputs under random names, and files that are run by position."""

from collections import OrderedDict

import numpy as np
from export_models import KERASES

_LETTERS = "abcdefghijklmnopqrstuvwxyz_"


def drawn(family, seed):
    """A model of 1 to 5 inputs [4] and 1 to 5 outputs [3], lists or dicts, names at random; every
    output depends on every input by weights of its own. A kernel between has 90 % zeros."""
    random = np.random.default_rng(seed)
    layers = KERASES[family].layers
    inputs, outputs = ([_name(random) for _ in range(random.integers(1, 6))] for _ in range(2))
    tensors = [KERASES[family].Input((4,), name=name) for name in inputs]
    joined = layers.Concatenate()(tensors) if len(tensors) > 1 else tensors[0]
    hidden = layers.Dense(64, activation="relu")(joined)
    ends = [layers.Dense(3, name=name)(layers.Concatenate()([hidden, joined])) for name in outputs]
    model = KERASES[family].Model(
        _nested(random, inputs, tensors), _nested(random, [_name(random) for _ in ends], ends)
    )
    for variable in model.weights:
        values = random.normal(size=variable.shape)
        if variable.shape[-1] == 64 and len(variable.shape) == 2:
            values *= random.random(values.shape) > 0.9
        variable.assign(values)
    return model


def examples(model, count=40):
    """Examples for each of `model.inputs`."""
    random = np.random.default_rng(1)
    return [random.normal(size=(count, 4)).astype("float32") for _ in model.inputs]


def by_keras(model, data):
    """Outputs in the order of `model.outputs` for inputs in the order of `model.inputs`."""
    listed = type(model)(list(model.inputs), list(model.outputs))
    found = listed(list(data) if len(data) > 1 else data[0], training=False)
    return [np.asarray(y) for y in (found if isinstance(found, (list, tuple)) else [found])]


def by_position(content, data, outputs):
    """Outputs 0, 1, ... of LiteRT's interpreter for inputs 0, 1, ..."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details(), interpreter.get_output_details()
    assert (len(taken), len(given)) == (len(data), outputs)

    def run(rows):
        for detail, row in zip(taken, rows, strict=True):
            interpreter.set_tensor(detail["index"], _stored(row, detail))
        interpreter.invoke()
        return [_real(interpreter.get_tensor(detail["index"]), detail) for detail in given]

    return _each(run, data)


def on_the_device(content, data, outputs):
    """The same of TFLite Micro's interpreter."""
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(content, arena_size=1 << 18)

    def run(rows):
        for position, row in enumerate(rows):
            detail = interpreter.get_input_details(position)
            interpreter.set_input(_stored(row, detail), position)
        interpreter.invoke()
        return [
            _real(interpreter.get_output(n), interpreter.get_output_details(n))
            for n in range(outputs)
        ]

    return _each(run, data)


def places(expected, got):
    """For each output that was got, the position of the nearest of those expected; None where that
    is further away than a third of what there is between any two (int4 is coarse)."""
    distances = np.array([[np.abs(want - have).mean() for want in expected] for have in got])
    between = [np.abs(a - b).mean() for n, a in enumerate(expected) for b in expected[:n]]
    limit = min(between, default=np.abs(expected[0]).mean()) / 3
    return [int(row.argmin()) if row.min() < limit else None for row in distances]


def _each(run, data):
    rows = [run([array[row : row + 1] for array in data]) for row in range(len(data[0]))]
    return [np.concatenate(arrays) for arrays in zip(*rows, strict=True)]


def _scale(detail):
    found = detail["quantization_parameters"]
    pairs = [*zip(found["scales"], found["zero_points"], strict=True), (0.0, 0)]
    return float(pairs[0][0]), int(pairs[0][1])


def _stored(array, detail):
    (scale, zero), kind = _scale(detail), np.dtype(detail["dtype"])
    if not scale:
        return array.astype(kind)
    limits = np.iinfo(kind)
    return np.clip(np.round(array / scale) + zero, limits.min, limits.max).astype(kind)


def _real(array, detail):
    scale, zero = _scale(detail)
    return (array.astype("float64") - zero) * scale if scale else np.array(array)


def _name(random):
    """Of 6 to 9 letters, so that no two are the same."""
    return "n" + "".join(random.choice(list(_LETTERS), random.integers(5, 9)))


def _nested(random, names, tensors):
    pairs = list(zip(names, tensors, strict=True))
    kinds = (list(tensors), tuple(tensors), dict(pairs), OrderedDict(pairs))
    return kinds[random.integers(len(kinds))]
