# SPDX-License-Identifier: Apache-2.0
"""tf_keras with TF-MOT: everything that differs from Keras 3, private calls included."""

from __future__ import annotations

from typing import Any, Callable

import tensorflow as tf
import tf_keras

from tfprune.backend import common, import_tfmot
from tfprune.backend.common import attribute_of, has_prunable_weights, innermost_optimizer  # noqa: F401

NAME = "tf_keras"
Layer = tf_keras.layers.Layer
Model = tf_keras.Model


def tfmot_wrapper() -> type:
    """TF-MOT's class."""
    import_tfmot()
    from tensorflow_model_optimization.python.core.sparsity.keras import pruning_wrapper

    return pruning_wrapper.PruneLowMagnitude


def is_model(value: Any) -> bool:
    return isinstance(value, tf_keras.Model)


def is_built(model: Any) -> bool:
    return bool(model.built) and bool(model.weights)


def is_wrapper(layer: Any) -> bool:
    """Whether TF-MOT or this library wrapped it."""
    return isinstance(layer, tfmot_wrapper())


def is_own_wrapper(layer: Any) -> bool:
    from tfprune.training.tf_keras_layer import PrunedLayer

    return isinstance(layer, PrunedLayer)


def is_quantized(layer: Any) -> bool:
    """Whether it is wrapped for quantization-aware fine-tuning."""
    from tfprune.quantization.tf_keras_layer import QuantizedLayer

    return isinstance(layer, QuantizedLayer)


def quantize(layer: Any, settings: Any) -> Any:
    from tfprune.quantization.tf_keras_layer import QuantizedLayer

    return QuantizedLayer(layer, settings)


def has_graph(model: Any) -> bool:
    """Whether layers can be exchanged: functional and Sequential models."""
    return isinstance(model, tf_keras.Sequential) or bool(model._is_graph_network)


def is_input(layer: Any) -> bool:
    return isinstance(layer, tf_keras.layers.InputLayer)


def sublayers(layer: Any) -> list[Any]:
    return list(layer._flatten_layers(include_self=False, recursive=False))


def own_trainable(layer: Any) -> list[Any]:
    return list(layer._trainable_weights)


def raw(variable: Any) -> Any:
    """The variable in its own dtype, without the wrapper that casts it under mixed precision."""
    return getattr(variable, "_variable", variable) if hasattr(variable, "true_dtype") else variable


def value(variable: Any) -> tf.Tensor:
    """What a variable holds, in its own dtype whatever the autocast scope."""
    return tf.convert_to_tensor(raw(variable))


def attribute(layer: Any, name: str) -> Any:
    return common.attribute(layer, name, is_variable=tf.is_tensor)


def dtype(variable: Any) -> str:
    return raw(variable).dtype.name


def is_float(variable: Any) -> bool:
    return raw(variable).dtype.is_floating


def strategy(model: Any) -> Any:
    return model.distribute_strategy if is_model(model) else tf.distribute.get_strategy()


def calls(model: Any) -> dict[int, list]:
    """Input and output shapes of every call of every layer in a model's graph."""
    shapes: dict[int, list] = {}
    for nodes in (getattr(model, "_nodes_by_depth", None) or {}).values():
        for node in nodes:
            if not node.is_input:
                shapes.setdefault(id(node.layer), []).append(
                    (_first(node.input_shapes), _first(node.output_shapes))
                )
    return shapes


def _first(shapes: Any) -> tuple:
    """The first shape of a structure of shapes; () for a scalar, whose shape nodes leave out."""
    while isinstance(shapes, (list, tuple, dict)) and len(shapes):
        one = next(iter(shapes.values())) if isinstance(shapes, dict) else shapes[0]
        if not isinstance(one, (list, tuple, dict)):
            break
        shapes = one
    return tuple(shapes) if hasattr(shapes, "__iter__") else ()


def build(model: Any, data: Any) -> None:
    """tf_keras' models create their variables, values included, while a step is traced."""


def build_optimizer(model: Any) -> None:
    """tf_keras' optimizers create their variables at any time."""


def wrap(layer: Any, method: Any, name: str | None = None) -> Any:
    from tfprune.training.tf_keras_layer import PrunedLayer

    return PrunedLayer(layer, method=method, **({"name": name} if name else {}))


def clone(model: Any, exchange: Callable[[Any], Any]) -> Any:
    """The same graph with `exchange(layer)` in place of each layer; weights are shared."""
    return tf_keras.models.clone_model(model, clone_function=exchange)


def unwrap(wrapper: Any) -> Any:
    """The wrapped layer; the first of a Sequential model keeps the shape that builds it."""
    if hasattr(wrapper, "_batch_input_shape") and not hasattr(wrapper.layer, "_batch_input_shape"):
        wrapper.layer._batch_input_shape = wrapper._batch_input_shape
    return wrapper.layer


def replace_attribute(owner: Any, name: str, value: Any) -> None:
    """Exchange a layer of a subclassed model."""
    delattr(owner, name)
    setattr(owner, name, value)


def prune_low_magnitude(to_prune: Any, policy: Any, options: dict, kwargs: dict) -> Any:
    """TF-MOT's function, with this library's wrapper."""
    from tfprune.training.tf_keras_layer import PrunedLayer
    from tfprune.training.tfmot import refusal

    def wrap(layer: Any) -> Any:
        return layer if is_wrapper(layer) else PrunedLayer(layer, **options)

    def exchange(layer: Any) -> Any:
        if is_model(layer):
            if not has_graph(layer):
                raise ValueError(f"{layer.name!r} is a subclassed model in a model. {_SUBCLASSED}")
            return clone(layer, exchange)
        if policy is not None and not policy.allow_pruning(layer):
            return layer
        return wrap(layer)

    if isinstance(to_prune, list):
        return [
            type(one).from_config(one.get_config()) if is_input(one) else wrap(one)
            for one in to_prune
        ]
    if isinstance(to_prune, tuple) or (is_model(to_prune) and not has_graph(to_prune)):
        raise refusal(to_prune, _SUBCLASSED if is_model(to_prune) else "Pass a list.")
    if is_model(to_prune):
        if policy is not None:
            policy.ensure_model_supports_pruning(to_prune)
        return exchange(to_prune)
    kwargs.pop("name", None)  # the name is TF-MOT's: prune_low_magnitude_<layer>
    return PrunedLayer(to_prune, **{**options, **kwargs})


_SUBCLASSED = (
    "Wrap the layers of a subclassed model in its __init__, or prune it without wrapping: "
    "model.fit(..., callbacks=[tfprune.PruningCallback('magnitude', 0.8)])."
)


def drive(wrapper: Any, driven: bool) -> None:
    """Turn the clock in the wrapper's own forward pass off and on again."""
    if is_own_wrapper(wrapper):
        wrapper.drive(driven)
    elif wrapper.pruning_obj is None:
        return  # TF-MOT's, not built
    elif driven:
        wrapper.pruning_obj.conditional_mask_update = tf.no_op
    else:
        vars(wrapper.pruning_obj).pop("conditional_mask_update", None)


def method_of(wrapper: Any) -> Any:
    """The method that a wrapper's settings describe, TF-MOT's own wrappers included."""
    from tfprune.layers.prunable_weights import matrix_layout
    from tfprune.training.tfmot import method_of_tfmot

    own = getattr(wrapper, "method", None)
    if own is not None:
        return own
    return method_of_tfmot(
        wrapper.pruning_schedule,
        wrapper.block_size,
        wrapper.block_pooling_type,
        wrapper.sparsity_m_by_n,
        layout=matrix_layout(wrapper.layer),
    )


def targets(wrapper: Any) -> list[Any]:
    """The settle targets of one wrapper."""
    import sys

    from tfprune.backend.find_sites import find

    return [target(item) for item in find(wrapper, sys.modules[__name__])[0]]


def target(item: Any) -> Any:
    """The settle target of a wrapped site."""
    from tfprune.training.mask_updater import Target
    from tfprune.training.tfmot import site_of_tfmot

    wrapper = item.wrapper
    for index, (weight, mask, threshold) in enumerate(wrapper.pruning_vars):
        if raw(weight) is item.variable:
            hidden = getattr(wrapper, "hidden_vars", ())
            hidden = raw(hidden[index]) if hidden else None
            own = getattr(wrapper, "method", None) is not None
            site = item.site if own else site_of_tfmot(item.site, wrapper)
            kept = getattr(wrapper, "state_vars", ())
            state = {name: raw(one) for name, one in kept[index].items()} if kept else {}
            return Target(site, raw(weight), raw(mask), hidden, raw(threshold), state)
    raise LookupError(f"{wrapper.name} does not prune {item.site.name}.")


def around_updates(optimizer: Any, function: Callable) -> None:
    """Send each variable's update through `function(update, gradient, variable)`, until released.

    `update(gradient)` is the optimizer's own.

    Raises:
        TypeError: a legacy optimizer, which updates no single variable.
    """
    if not hasattr(optimizer, "update_step"):
        raise TypeError(
            f"{type(optimizer).__name__} is a legacy optimizer, on whose updates a method cannot "
            f"act: use tf_keras.optimizers.{type(optimizer).__name__}."
        )
    release_updates(optimizer)
    own = optimizer.update_step

    def update_step(gradient, variable):
        return function(lambda changed: own(changed, variable), gradient, variable)

    def traced(gradient, variable, key):
        # The compiled form may have been traced before, without what stands around it.
        return optimizer._update_step(gradient, variable)

    common.put(optimizer, "update_step", update_step)
    common.put(optimizer, "_update_step_xla", traced)


def release_updates(optimizer: Any) -> None:
    common.release(optimizer, "update_step", "_update_step_xla")


def momenta(optimizer: Any, variable: Any) -> list[tf.Variable]:
    """What the optimizer keeps for each entry of a variable."""
    return common.momenta(optimizer, *_place(optimizer, variable), variable.shape)


def slots(optimizer: Any, variable: Any) -> dict[str, tf.Variable]:
    """All that the optimizer keeps for a variable, by name."""
    return common.slots(optimizer, *_place(optimizer, variable))


def counters(optimizer: Any) -> dict[str, tf.Variable]:
    """The single numbers that an optimizer keeps, by name."""
    scale = vars(optimizer).get("_loss_scale")
    found = common.counters(optimizer)
    return found if scale is None else {**found, **common.counters(scale)}


def _place(optimizer: Any, variable: Any) -> tuple[int, int]:
    return optimizer._index_dict[optimizer._var_key(variable)], len(optimizer._index_dict)


def build_slots(optimizer: Any, variables: Any) -> None:
    """Create what an optimizer keeps for variables."""
    optimizer.build(variables)


def load_model(path: str, **kwargs: Any) -> Any:
    """A saved model, of TF-MOT's, too: see `tfprune.training.tfmot_saved`."""
    from tfprune.training.tfmot_saved import load

    return load(path, **kwargs)


def operations(model: Any) -> list[Any]:
    """Every layer under a model; operations of a graph are layers here, too."""
    return list({id(layer): layer for layer in model._flatten_layers(include_self=False)}.values())


def single_precision(model: Any) -> list[tuple[Any, str, Any]]:
    """The changes of attributes that make a model compute in float32 instead of half precision."""
    policy = tf_keras.mixed_precision.Policy("float32")
    changes = []
    for layer in model._flatten_layers():
        if layer.compute_dtype in ("float16", "bfloat16"):
            changes += [
                (layer, "_dtype_policy", policy),
                (layer, "_compute_dtype_object", tf.float32),
            ]
    return changes


def input_specs(model: Any) -> Any:
    """What a model is called with: `tf.TensorSpec`s in the structure of its inputs; None: unknown.

    Sizes that the model leaves open are None.
    """
    inputs = getattr(model, "_nested_inputs", None)
    if inputs is not None:
        return tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), inputs)
    return model._saved_model_inputs_spec


def compiled_loss(model: Any) -> Any:
    """The loss given to `compile`; None if there is none."""
    return getattr(model, "loss", None) or None


def loss_weights(model: Any) -> Any:
    """The loss weights given to `compile`, in a list or under names; None if there are none."""
    return getattr(getattr(model, "compiled_loss", None), "_user_loss_weights", None)


def output_names(model: Any) -> list[str] | None:
    """The names of a model's outputs, under which losses are given, in `tf.nest.flatten` order;
    None: not known."""
    return common.output_names(model, getattr(model, "_nested_outputs", None))


def loss_function(loss: Any) -> Any:
    """A Keras loss, its name or a function, as a Loss object or a function."""
    return tf_keras.losses.get(loss)
