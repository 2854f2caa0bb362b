# SPDX-License-Identifier: Apache-2.0
"""TF-MOT, imported when it is needed, without its side effects."""

from __future__ import annotations

import functools
import os
import sys
from types import ModuleType


@functools.cache
def import_tfmot() -> ModuleType:
    """Import TF-MOT without its side effects on the user's own `tf.keras`.

    TF-MOT sets TF_USE_LEGACY_KERAS, which would turn an untouched `tf.keras` into tf_keras for
    the rest of the process. `tf.keras` is therefore resolved first, under the user's own setting.
    """
    if "tensorflow_model_optimization" in sys.modules:
        import tensorflow_model_optimization

        return tensorflow_model_optimization
    import tensorflow as tf

    getattr(tf.keras, "version", None)
    variable = "TF_USE_LEGACY_KERAS"
    before = os.environ.get(variable)
    try:
        import tensorflow_model_optimization
    finally:
        if before is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = before
    return tensorflow_model_optimization


def tfmot_wrapper() -> type:
    """TF-MOT's class."""
    import_tfmot()
    from tensorflow_model_optimization.python.core.sparsity.keras import pruning_wrapper

    return pruning_wrapper.PruneLowMagnitude
