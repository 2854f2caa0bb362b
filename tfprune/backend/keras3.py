# SPDX-License-Identifier: Apache-2.0
"""Keras 3 (TensorFlow backend): everything that differs from tf_keras, private calls included."""

from __future__ import annotations

import contextlib
from typing import Any, Callable

import keras
import tensorflow as tf
from keras.src.backend.common.symbolic_scope import in_symbolic_scope
from keras.src.backend.common.variables import AutocastScope

from tfprune.backend import common, registration
from tfprune.backend.common import (  # noqa: F401
    attribute_of,
    has_prunable_weights,
    innermost_optimizer,
    is_quantized,
)

if keras.backend.backend() != "tensorflow":
    raise RuntimeError(
        f"Keras runs on the {keras.backend.backend()} backend, but tfprune needs the "
        "TensorFlow backend: set KERAS_BACKEND=tensorflow before importing keras."
    )
NAME = "keras"
registration.register(NAME)
Layer = keras.layers.Layer
Model = keras.Model


def is_model(value: Any) -> bool:
    return isinstance(value, keras.Model)


def is_built(model: Any) -> bool:
    return bool(model.built) and bool(model.weights)


def strategy(model: Any) -> Any:
    return model.distribute_strategy if is_model(model) else tf.distribute.get_strategy()


def is_wrapper(layer: Any) -> bool:
    return common.wrapper_kind(layer) == "pruned"


def has_graph(model: Any) -> bool:
    """Whether layers can be exchanged: functional and Sequential models."""
    return isinstance(model, (keras.Sequential, keras.src.models.functional.Functional))


def is_input(layer: Any) -> bool:
    return isinstance(layer, keras.layers.InputLayer)


def sublayers(layer: Any) -> list[Any]:
    return list(layer._flatten_layers(include_self=False, recursive=False))


def own_trainable(layer: Any) -> list[Any]:
    return list(layer._trainable_variables)


def raw(variable: Any) -> tf.Variable:
    """The tf.Variable behind a Keras variable, in its own dtype whatever the autocast scope.

    While a subclassed model is built symbolically there is none yet: then the Keras variable.
    """
    held = variable._value if isinstance(variable, keras.Variable) else variable
    return variable if held is None else held


def value(variable: Any) -> tf.Tensor:
    """What a variable holds, in its own dtype whatever the autocast scope; where Keras computes
    with values from outside (`stateless_call`), that value."""
    with AutocastScope(None):
        return tf.convert_to_tensor(variable.value)


def attribute(layer: Any, name: str) -> Any:
    return common.attribute(layer, name, is_variable=lambda v: isinstance(v, keras.Variable))


def dtype(variable: Any) -> str:
    # Not its property `dtype`, which is the autocast scope's.
    return variable._dtype if isinstance(variable, keras.Variable) else variable.dtype.name


def is_float(variable: Any) -> bool:
    return keras.backend.is_float_dtype(dtype(variable))


def functional(model: Any) -> Any:
    """What holds a model's graph: the model itself, or the functional one inside a Sequential."""
    return getattr(model, "_functional", None) or model


def calls(model: Any) -> dict[int, list]:
    """Input and output shapes of every call of every layer in a model's graph."""
    graph = functional(model)
    shapes: dict[int, list] = {}
    for nodes in getattr(graph, "_nodes_by_depth", {}).values():
        for node in nodes:
            if node.input_tensors and node.output_tensors:
                shapes.setdefault(id(node.operation), []).append(
                    (tuple(node.input_tensors[0].shape), tuple(node.output_tensors[0].shape))
                )
    return shapes


def build(model: Any, data: Any) -> None:
    """Build an unbuilt model for `data`, outside of the step that is being traced.

    Variables that a step creates while it is traced may have no values before the trace has
    ended. A model that cannot be built from shapes alone is left to its first call.
    """
    if not is_built(model):
        with tf.init_scope(), contextlib.suppress(RuntimeError, ValueError):
            model._symbolic_build(data_batch=data)
            build_optimizer(model)


def build_optimizer(model: Any) -> None:
    """Create the optimizer's variables now: a compiled step may not create any."""
    optimizer = model.optimizer
    if optimizer is not None and not optimizer.built and model.built:
        optimizer.build(model.trainable_variables)


def around_updates(optimizer: Any, function: Callable) -> None:
    """Send each variable's update through `function(update, gradient, variable)`, until released.

    `update(gradient)` is the optimizer's own.
    """
    release_updates(optimizer)
    own = optimizer.update_step

    def update_step(gradient, variable, learning_rate):
        return function(lambda changed: own(changed, variable, learning_rate), gradient, variable)

    common.put(optimizer, "update_step", update_step)


def release_updates(optimizer: Any) -> None:
    common.release(optimizer, "update_step")


def _place(optimizer: Any, variable: Any) -> tuple[int, int]:
    return optimizer._get_variable_index(variable), len(optimizer._trainable_variables)


def momenta(optimizer: Any, variable: Any) -> list[tf.Variable]:
    """What the optimizer keeps for each entry of a variable."""
    index, count = _place(optimizer, variable)
    return [raw(one) for one in common.momenta(optimizer, index, count, variable.shape)]


def slots(optimizer: Any, variable: Any) -> dict[str, tf.Variable]:
    """All that the optimizer keeps for a variable, by name."""
    index, count = _place(optimizer, variable)
    return {name: raw(one) for name, one in common.slots(optimizer, index, count).items()}


def counters(optimizer: Any) -> dict[str, tf.Variable]:
    """The single numbers that an optimizer keeps, by name."""
    return {name: raw(one) for name, one in common.counters(optimizer).items()}


def build_slots(optimizer: Any, variables: Any) -> None:
    """Create what an optimizer keeps for variables."""
    if not optimizer.built:
        optimizer.build(variables)


def is_tracing_symbolically() -> bool:
    return in_symbolic_scope()


def clone(model: Any, exchange: Callable[[Any], Any]) -> Any:
    """The same graph with `exchange(layer)` in place of each layer; weights are shared."""
    return keras.models.clone_model(model, clone_function=exchange)


def unwrap(wrapper: Any) -> Any:
    return wrapper.layer


def replace_attribute(owner: Any, name: str, value: Any) -> None:
    """Exchange a layer of a subclassed model, built or not."""
    owner._tracker.unlock()
    delattr(owner, name)
    setattr(owner, name, value)
    if owner.built:
        owner._tracker.lock()


def operations(model: Any) -> list[Any]:
    """Every layer under a model, and the operations of its graphs that are no layers."""
    found = {}
    for layer in model._flatten_layers(include_self=False, recursive=True):
        found[id(layer)] = layer
    for owner in [model, *found.values()]:
        graph = functional(owner)
        for operation in getattr(graph, "_operations", ()):
            found.setdefault(id(operation), operation)
    return list(found.values())


def single_precision(model: Any) -> list[tuple[Any, str, Any]]:
    """The changes of attributes that make a model compute in float32 instead of half precision."""
    policy = keras.DTypePolicy("float32")
    layers = model._flatten_layers(include_self=True, recursive=True)
    return [
        (layer, "_dtype_policy", policy)
        for layer in layers
        if layer.compute_dtype in ("float16", "bfloat16")
    ]


def input_specs(model: Any) -> Any:
    """What a model is called with: `tf.TensorSpec`s in the structure of its inputs; None: unknown.

    Sizes that the model leaves open are None.
    """
    graph = functional(model)
    inputs = getattr(graph, "_inputs_struct", None)
    if inputs is not None:
        return tf.nest.map_structure(
            lambda t: tf.TensorSpec(t.shape, keras.backend.standardize_dtype(t.dtype)), inputs
        )
    shapes = getattr(model, "_build_shapes_dict", None) or {}
    if len(shapes) != 1:
        return None
    return _specs_of_shapes(*shapes.values())


def _specs_of_shapes(shapes: Any) -> Any:
    if isinstance(shapes, dict):
        return {key: _specs_of_shapes(value) for key, value in shapes.items()}
    if all(size is None or isinstance(size, int) for size in shapes):
        return tf.TensorSpec(shapes, tf.float32)
    return [_specs_of_shapes(value) for value in shapes]


def compiled_loss(model: Any) -> Any:
    """The loss given to `compile`; None if there is none."""
    return model.loss if model.compiled else None


def loss_weights(model: Any) -> Any:
    """The loss weights given to `compile`, in a list or under names; None if there are none."""
    return getattr(getattr(model, "_compile_loss", None), "_user_loss_weights", None)


def output_names(model: Any) -> list[str] | None:
    """The names of a model's outputs, under which losses are given, in `tf.nest.flatten` order;
    None: not known."""
    graph = functional(model)
    return common.output_names(graph, getattr(graph, "_outputs_struct", None))


def loss_function(loss: Any) -> Any:
    """A Keras loss, its name or a function, as a Loss object or a function."""
    return keras.losses.get(loss)
