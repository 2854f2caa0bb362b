# SPDX-License-Identifier: Apache-2.0
"""The graph of a Keras 3 model, and the names of raw operations in it."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator

import keras
import tensorflow as tf

from tfprune.backend import common
from tfprune.backend.keras3 import functional, replace_attribute
from tfprune.layers.graph import Call, Graph, Ref, calls_its_graph, mapped

KerasTensor = keras.src.backend.KerasTensor
VARIABLES = (keras.Variable, tf.Variable)
OPERATIONS = keras.ops
"""Element-wise functions of symbolic tensors, under names that are the same in both Kerases."""


def _ref(tensor: Any) -> Ref:
    return Ref(id(tensor), tuple(tensor.shape), keras.backend.standardize_dtype(tensor.dtype))


def graph(model: Any) -> Graph | None:
    """The graph of a functional or built Sequential model; None for any other."""
    inside = functional(model)
    if not isinstance(inside, keras.src.models.functional.Functional) or not calls_its_graph(model):
        return None
    calls, names = [], {}
    for depth in sorted(inside._nodes_by_depth, reverse=True):
        for node in inside._nodes_by_depth[depth]:
            if node.is_input:
                names[id(node.outputs[0])] = node.operation.name
                continue
            args, kwargs = (
                mapped(one, KerasTensor, _ref)
                for one in (node.arguments.args, node.arguments.kwargs)
            )
            calls.append(Call(node.operation, args, kwargs, tuple(map(_ref, node.outputs))))
    inputs = tuple(map(_ref, inside.inputs))
    return Graph(
        inputs,
        tuple(map(_ref, inside.outputs)),
        tuple(calls),
        tuple(names.get(one.key, "input") for one in inputs),
    )


def operation_name(operation: Any) -> str | None:
    """The name of one of Keras' own raw operations in lower case ("add"); None for a layer."""
    if isinstance(operation, keras.layers.Layer):
        return None
    kind = type(operation)
    return kind.__name__.lower() if kind.__module__.startswith("keras.") else None


def input_layers(model: Any) -> list[Any]:
    """The input layers of a model with a graph, in the order of the graph's inputs."""
    inside = functional(model)
    return [one._keras_history.operation for one in inside.inputs]


def new_input(layer: Any, shape: tuple[int | None, ...]) -> Any:
    """The symbolic tensor of an input layer like this one, with another shape."""
    config = layer.get_config()
    config.pop("shape", None)
    config["batch_shape"] = tuple(shape)
    return keras.layers.InputLayer.from_config(config).output


def assembled(model: Any, inputs: list[Any], outputs: list[Any]) -> Any:
    """A model of the same class, as far as its constructor allows, around new tensors."""
    inside = functional(model)
    inputs = keras.tree.pack_sequence_as(inside._inputs_struct, inputs)
    outputs = keras.tree.pack_sequence_as(inside._outputs_struct, outputs)
    usual = keras.src.models.functional.functional_like_constructor(type(model))
    return (type(model) if usual else keras.Model)(inputs, outputs, name=model.name)


def loses_mask(tensor: Any) -> bool:
    """Whether a Keras mask belongs to a symbolic tensor that `OPERATIONS` would not hand on: in a
    graph of Keras 3 masks are arguments of the calls that need them."""
    return False


def is_sequence(model: Any) -> bool:
    return isinstance(model, keras.Sequential)


def sequence(model: Any, layers: list[Any]) -> Any:
    """A Sequential model like this one, of an input tensor and layers."""
    usual = type(model).__init__ is keras.Sequential.__init__
    return (type(model) if usual else keras.Sequential)(layers, name=model.name)


def from_config(operation: Any, config: dict[str, Any]) -> Any:
    """A new layer or operation of the same class."""
    if isinstance(operation, keras.layers.Lambda):
        return common.same_function(operation, config)
    with keras.saving.custom_object_scope(common.own_objects(vars(operation))):
        return type(operation).from_config(config)


def put_layers(owner: Any, layers: dict[str, Any]) -> None:
    """Exchange the layers that a layer holds as attributes, by their names."""
    for name, layer in layers.items():
        owner._tracker.untrack(vars(owner)[name])  # to delete an attribute does not
        replace_attribute(owner, name, layer)


def set_sizes(
    config: dict[str, Any], args: list, kwargs: dict[str, Any], sizes: dict[str, Any]
) -> None:
    """Put new sizes where a raw operation has them: slices in the call, all others in itself."""
    if "key" in sizes:
        if "key" in kwargs:
            kwargs["key"] = sizes["key"]
        else:
            args[1] = sizes["key"]
    config.update({name: value for name, value in sizes.items() if name in config})


def variables(layer: Any) -> list[Any]:
    """All variables of a layer, the states of random generators included."""
    return list(layer.variables)


def recompiled(model: Any, like: Any) -> bool:
    """Compile a model as another is; whether that went well."""
    if not like.compiled:
        return True
    config = like.get_compile_config()
    if config is None:
        return False
    with keras.saving.custom_object_scope(common.own_objects(like._compile_config.config)):
        model.compile_from_config(config)
    return bool(model.compiled)


@contextlib.contextmanager
def seeds_of_python() -> Iterator[None]:
    """Initializers without a seed draw one from Python's generator: they always do."""
    yield


def lost(model: Any) -> str | None:
    """What a model has beside its graph, which its copy has not: nothing can be there."""
    return None
