# SPDX-License-Identifier: Apache-2.0
"""The files of tfprune that a call enters: those that a reader who follows it has to open.

python tests/integration/test_files_entered.py    # prints them, in the order of the first entry
"""

import importlib
import sys
from pathlib import Path

import pytest

import tfprune

PACKAGE = Path(tfprune.__file__).parent
# How many files each call enters today: these only go down, `prune` to 9, `shrink` to 16.
MOST = {
    ("prune", "keras"): 22,
    ("prune", "tf_keras"): 25,
    ("shrink", "keras"): 33,
    ("shrink", "tf_keras"): 33,
}


def entered(call, *args):
    """Names of the files whose functions run within a call, from the first entry to the last.

    What is imported when it is first used is no part of it: the call is made before, too.
    """
    call(*args)
    files = {}

    def note(frame, event, arg):
        if event == "call":
            path = Path(frame.f_code.co_filename)
            if PACKAGE in path.parents:
                files.setdefault(str(path.relative_to(PACKAGE)))

    sys.setprofile(note)
    try:
        call(*args)
    finally:
        sys.setprofile(None)
    return list(files)


def _network(keras):
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Conv2D(4, 3),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )


def _prune(keras):
    return lambda: tfprune.prune(_network(keras), "magnitude", 0.8)


def _shrink(keras):
    model = _network(keras)
    tfprune.sparsify(model, "magnitude", 0.5, structure=tfprune.Filter())
    return lambda: tfprune.shrink(model)


CALLS = {"prune": _prune, "shrink": _shrink}


def _files(name, package):
    files = entered(CALLS[name](importlib.import_module(package)))
    print(f"\n{name} ({package}) enters {len(files)} files:", *files, sep="\n    ")
    return files


@pytest.mark.parametrize("name, package", MOST)
def test_a_call_enters_few_files(name, package):
    files = _files(name, package)
    assert len(files) <= MOST[name, package]
    if name == "prune":
        assert not [one for one in files if one.startswith("quantization/")]


if __name__ == "__main__":
    for both in MOST:
        _files(*both)
