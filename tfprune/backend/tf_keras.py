# SPDX-License-Identifier: Apache-2.0
"""tf_keras: everything that differs from Keras 3, private calls included."""

from __future__ import annotations

from typing import Any, Callable

import tensorflow as tf
import tf_keras

from tfprune.backend import common, registration
from tfprune.backend.common import (  # noqa: F401
    attribute_of,
    has_prunable_weights,
    innermost_optimizer,
    is_quantized,
)

keras = tf_keras
NAME = "tf_keras"
registration.register(NAME)
Layer = tf_keras.layers.Layer
Model = tf_keras.Model


def is_model(value: Any) -> bool:
    return isinstance(value, tf_keras.Model)


def is_built(model: Any) -> bool:
    return bool(model.built) and bool(model.weights)


def is_wrapper(layer: Any) -> bool:
    """Whether TF-MOT or this library wrapped it."""
    return common.wrapper_kind(layer) == "pruned" or any(
        cls.__name__ == "PruneLowMagnitude"
        and cls.__module__.startswith("tensorflow_model_optimization.")
        for cls in type(layer).__mro__
    )


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
