# SPDX-License-Identifier: Apache-2.0
"""Loads saved models; of tf_keras, with layers that TF-MOT wrapped among them: no `prune_scope`."""

from __future__ import annotations

from typing import Any

from tfprune.backend import KERAS3, get
from tfprune.output.caller_warning import warn
from tfprune.training.tfmot_words import saved_schedule, tfmot_wrapper

_ZEROS_IN_ROWS = 999.0  # what TF-MOT notes as threshold where it makes m zeros in n


def load(path: str, package: str, **kwargs: Any) -> Any:
    """A saved model. What TF-MOT wrapped comes back in TF-MOT's wrappers, ready to go on.

    Args:
        package: `"keras"` or `"tf_keras"`, which saved it.
    """
    keras = get(package).keras
    if package == KERAS3:
        return keras.models.load_model(path, **kwargs)
    loaded: list[Any] = []

    class Saved:
        """Stands for TF-MOT's wrapper, whose own `from_config` fails on `.keras` files and on
        schedules of the user's."""

        @classmethod
        def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
            loaded.append(_wrapper(keras, dict(config), custom_objects))
            return loaded[-1]

    with keras.saving.custom_object_scope({"PruneLowMagnitude": Saved}):
        model = keras.models.load_model(path, **kwargs)
    lost = dict.fromkeys(one.layer.name for one in loaded if _noted_rows(one))
    if lost:
        warn(
            f"TF-MOT does not save sparsity_m_by_n, so pruning would go on weight by weight in "
            f"{', '.join(lost)}. Wrap the model again: tfprune.prune_low_magnitude("
            "tfprune.strip_pruning(model), schedule, sparsity_m_by_n=(m, n))."
        )
    return model


def _wrapper(keras: Any, config: dict[str, Any], custom_objects: Any) -> Any:
    layer = keras.layers.deserialize(config.pop("layer"), custom_objects=custom_objects)
    schedule = saved_schedule(config.pop("pruning_schedule"), custom_objects)
    config["block_size"] = tuple(config["block_size"])
    return tfmot_wrapper()(layer, schedule, **config)


def _noted_rows(wrapper: Any) -> bool:
    return any(float(threshold) == _ZEROS_IN_ROWS for _, _, threshold in wrapper.pruning_vars)
