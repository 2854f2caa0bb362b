# SPDX-License-Identifier: Apache-2.0
"""Set-up of the whole suite: quiet TensorFlow, repeatable examples, the digits once.

Both Kerases are loaded in one process here, so tests import `keras` and `tf_keras` by name and
never touch `tf.keras`, which is one or the other depending on what was imported first.
"""

import gc
import os
import sys

# Before anything imports TensorFlow, and inherited by the tests that start a Python of their own.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import hypothesis  # noqa: E402
import pytest  # noqa: E402

hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """(images, labels, test images, test labels): float32 in [0, 1] and int32."""
    from tfprune import data

    folder = tmp_path_factory.mktemp("digits")
    images, labels = data.arrays(data_dir=folder)
    test_images, test_labels = data.arrays(split="test", data_dir=folder)
    return tuple(
        array.astype("float32") / 16 if array.ndim == 4 else array
        for array in (images, labels, test_images, test_labels)
    )


def pytest_collection_finish():
    gc.freeze()  # what is imported lives to the end


@pytest.fixture(scope="module", autouse=True)
def forgotten():
    """What a file's tests have traced is freed at its end, and what is left is not searched again
    for garbage: with hundreds of thousands of graph nodes that takes more time than many a test.

    TensorFlow keeps the gradient of every call of a `tf.custom_gradient` in a graph by name, and
    with it the whole graph: each compiled training step has one, for it sums gradients over
    replicas. Whatever is traced later pays for all functions that still exist.
    """
    gradients = sys.modules.get("tensorflow.python.framework.ops")
    known = set(gradients.gradient_registry.list()) if gradients else set()
    yield
    for name in ("keras", "tf_keras"):
        if name in sys.modules:
            sys.modules[name].backend.clear_session()
    gradients = sys.modules.get("tensorflow.python.framework.ops")
    for name in set(gradients.gradient_registry.list()) - known if gradients else ():
        if name.startswith("CustomGradient-"):
            del gradients.gradient_registry._registry[name]
    gc.collect()
    gc.freeze()
