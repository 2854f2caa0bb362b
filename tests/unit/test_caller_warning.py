# SPDX-License-Identifier: Apache-2.0
"""Warnings point at the line of the program that led to them, not at one of a package."""

import ast
import importlib
import inspect
import warnings
from pathlib import Path

import numpy as np
import pytest

import tfprune

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("package", ["keras", "tf_keras"])
def test_warnings_point_at_the_line_of_the_caller(package):
    keras = importlib.import_module(package)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    x, y = np.ones((8, 4), "f4"), np.zeros(8, "i4")
    late = tfprune.Polynomial(0.8, begin=5, end=9)
    pruning = tfprune.PruningCallback("magnitude", schedule=late)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        here = inspect.currentframe().f_lineno
        model.fit(x, y, verbose=0, callbacks=[pruning])
        tfprune.sparsify(model, "snip", 0.5, data=tfprune.CalibrationData((x, y), loss=loss))
    found = {
        one.lineno - here
        for one in caught
        if one.category is UserWarning and one.filename == __file__
    }
    assert found == {1, 2}, [str(one) for one in caught]


def test_nobody_guesses_how_far_away_the_caller_is():
    for package in ("tfprune", "tflite_export"):
        for path in (ROOT / package).rglob("*.py"):
            names = {
                node.attr
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "warnings"
            }
            assert "warn" not in names, path
