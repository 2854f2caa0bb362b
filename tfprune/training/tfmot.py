# SPDX-License-Identifier: Apache-2.0
"""TF-MOT's `prune_low_magnitude` for both Kerases, and models that it saved: no `prune_scope`."""

from __future__ import annotations

from typing import Any

from tfprune.backend import KERAS3, adapter_of, adapter_of_model, get
from tfprune.backend.base import Backend
from tfprune.backend.model_view import ModelView
from tfprune.backend.registration import wrapper_class
from tfprune.layers.base import matrix_layout
from tfprune.masks.schedules import Constant, accepts
from tfprune.output.caller_warning import warn
from tfprune.training.model_hooks import refuse_pruning
from tfprune.training.tfmot_latency_policy import policy_for
from tfprune.training.tfmot_words import method_of_tfmot, saved_schedule, tfmot_wrapper
from tfprune.training.wrap import exchange_layers


def prune_like_tfmot(
    to_prune: Any, policy: Any, options: dict[str, Any], kwargs: dict[str, Any]
) -> Any:
    """What `tfprune.prune_low_magnitude` does, for either Keras."""
    if isinstance(to_prune, list) and not to_prune:
        return []
    try:
        backend = adapter_of(to_prune)
        if not isinstance(to_prune, list):
            adapter_of_model(to_prune, layers=True)
    except (TypeError, ValueError):
        raise refusal(to_prune, "Pass a tf_keras or a keras model, a layer or layers.") from None
    for one in to_prune if isinstance(to_prune, (list, tuple)) else [to_prune]:
        if isinstance(one, backend.Layer):
            refuse_pruning(ModelView(one, backend))
    if backend.NAME != KERAS3:
        return _prune_tf_keras(to_prune, policy, backend=backend, options=options, kwargs=kwargs)
    return _prune_keras3(to_prune, backend, policy, options)


def refusal(to_prune: Any, note: str) -> ValueError:
    """The error for an object of a type that TF-MOT refuses, in TF-MOT's words, which programs may
    compare; what to do instead is in its notes."""
    error = ValueError(
        "`prune_low_magnitude` can only prune an object of the following types: "
        "keras.models.Sequential, keras functional model, keras.layers.Layer, list of "
        f"keras.layers.Layer. You passed an object of type: {type(to_prune).__name__}."
    )
    error.add_note(note)
    return error


def _prune_keras3(to_prune: Any, backend: Backend, policy: Any, options: dict[str, Any]) -> Any:
    schedule = options.pop("pruning_schedule")
    schedule = Constant(0.5, begin=0, frequency=100) if schedule is None else schedule
    if not accepts(schedule):
        raise ValueError(f"pruning_schedule={schedule!r} is not a pruning schedule.")

    allowed, given = [], policy
    wrapper = wrapper_class(backend.NAME, "PrunedLayer")
    if policy is not None:
        policy = policy_for(policy, backend)
        if backend.is_model(to_prune) and backend.has_graph(to_prune):
            policy.ensure_model_supports_pruning(to_prune)

    def wrap(layer: Any) -> Any:
        if policy is not None:
            if not policy.allow_pruning(layer):
                return layer
            allowed.append(layer.name)
        method = method_of_tfmot(schedule, *options.values(), layout=matrix_layout(layer))
        return wrapper(layer, method=method, name=f"prune_low_magnitude_{layer.name}")

    if (
        not isinstance(to_prune, (list, tuple))
        and not ModelView(to_prune, backend).may_hold_kernels
    ):
        return wrap(to_prune)
    wrapped = exchange_layers(to_prune, backend, wrap)
    if policy is not None and not allowed:
        hint = (
            ""
            if policy is not given
            else (
                " Its allow_pruning(layer) is asked about keras layers: a test for tf_keras' "
                "classes finds none."
            )
        )
        raise ValueError(
            f"The pruning policy {type(given).__name__} allows no layer of what is "
            f"passed, so nothing would be pruned.{hint}"
        )
    return wrapped


def _prune_tf_keras(
    to_prune: Any, policy: Any, *, backend: Backend, options: dict[str, Any], kwargs: dict[str, Any]
) -> Any:
    wrapper = wrapper_class(backend.NAME, "PrunedLayer")

    def wrap(layer: Any) -> Any:
        return layer if backend.is_wrapper(layer) else wrapper(layer, **options)

    def exchange(layer: Any) -> Any:
        if backend.is_model(layer):
            if not backend.has_graph(layer):
                raise ValueError(f"{layer.name!r} is a subclassed model in a model. {_SUBCLASSED}")
            return backend.clone(layer, exchange)
        if policy is not None and not policy.allow_pruning(layer):
            return layer
        return wrap(layer)

    if isinstance(to_prune, list):
        return [
            type(one).from_config(one.get_config()) if backend.is_input(one) else wrap(one)
            for one in to_prune
        ]
    if isinstance(to_prune, tuple) or (
        backend.is_model(to_prune) and not backend.has_graph(to_prune)
    ):
        raise refusal(to_prune, _SUBCLASSED if backend.is_model(to_prune) else "Pass a list.")
    if backend.is_model(to_prune):
        if policy is not None:
            policy.ensure_model_supports_pruning(to_prune)
        return exchange(to_prune)
    kwargs.pop("name", None)  # the name is TF-MOT's: prune_low_magnitude_<layer>
    return wrapper(to_prune, **{**options, **kwargs})


_SUBCLASSED = (
    "Wrap the layers of a subclassed model in its __init__, or prune it without wrapping: "
    "model.fit(..., callbacks=[tfprune.PruningCallback('magnitude', 0.8)])."
)


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
