# SPDX-License-Identifier: Apache-2.0
"""The graph of a tf_keras model, and the names of TensorFlow functions in it."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator

import tensorflow as tf
import tf_keras
from tf_keras.src import backend
from tf_keras.src.engine import functional, keras_tensor

from tfprune.backend import common
from tfprune.backend.tf_keras import replace_attribute
from tfprune.layers.graph import Call, Graph, Ref, calls_its_graph, leaves, mapped

VARIABLES = (tf.Variable,)
OPERATIONS = tf
"""Element-wise functions of symbolic tensors, under names that are the same in both Kerases."""


def _ref(tensor: Any) -> Ref:
    shape = () if tensor.shape.rank is None else tuple(tensor.shape)
    return Ref(id(tensor), shape, tensor.dtype.name)


def graph(model: Any) -> Graph | None:
    """The graph of a functional or built Sequential model; None for any other."""
    if not getattr(model, "_is_graph_network", False) or not calls_its_graph(model):
        return None
    calls, names = [], {}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            outputs = tuple(_ref(one) for one in leaves(node.outputs))
            if node.is_input:
                names[outputs[0].key] = node.layer.name
                continue
            args, kwargs = (
                mapped(one, keras_tensor.KerasTensor, _ref)
                for one in (node.call_args, node.call_kwargs)
            )
            calls.append(Call(node.layer, args, kwargs, outputs))
    inputs = tuple(map(_ref, model.inputs))
    return Graph(
        inputs,
        tuple(map(_ref, model.outputs)),
        tuple(calls),
        tuple(names.get(one.key, "input") for one in inputs),
    )


def operation_name(operation: Any) -> str | None:
    """The name of a TensorFlow function in lower case ("add"); None for a layer."""
    if type(operation).__name__ not in ("TFOpLambda", "SlicingOpLambda"):
        return None
    return (operation.symbol or "").split(".")[-1].lower()


def input_layers(model: Any) -> list[Any]:
    """The input layers of a model with a graph, in the order of the graph's inputs."""
    return [one._keras_history.layer for one in model.inputs]


def new_input(layer: Any, shape: tuple[int | None, ...]) -> Any:
    """The symbolic tensor of an input layer like this one, with another shape."""
    config = layer.get_config()
    config["batch_input_shape"] = tuple(shape)
    return tf_keras.layers.InputLayer.from_config(config).output


def assembled(model: Any, inputs: list[Any], outputs: list[Any]) -> Any:
    """A model of the same class, as far as its constructor allows, around new tensors."""
    inputs = tf.nest.pack_sequence_as(model._nested_inputs, inputs)
    outputs = tf.nest.pack_sequence_as(model._nested_outputs, outputs)
    usual = functional.has_functional_like_constructor(type(model))
    return (type(model) if usual else tf_keras.Model)(inputs, outputs, name=model.name)


def loses_mask(tensor: Any) -> bool:
    """Whether a Keras mask belongs to a symbolic tensor that `OPERATIONS` would not hand on."""
    return getattr(tensor, "_keras_mask", None) is not None


def is_sequence(model: Any) -> bool:
    return isinstance(model, tf_keras.Sequential)


def sequence(model: Any, layers: list[Any]) -> Any:
    """A Sequential model like this one, of an input tensor and layers."""
    usual = type(model).__init__ is tf_keras.Sequential.__init__
    return (type(model) if usual else tf_keras.Sequential)(layers, name=model.name)


def from_config(operation: Any, config: dict[str, Any]) -> Any:
    """A new layer or operation of the same class."""
    config.pop("batch_input_shape", None)
    if isinstance(operation, tf_keras.layers.Lambda):
        return common.same_function(operation, config)
    with tf_keras.utils.custom_object_scope(common.own_objects(vars(operation))):
        return type(operation).from_config(config)


def put_layers(owner: Any, layers: dict[str, Any]) -> None:
    """Exchange the layers that a layer holds as attributes, by their names."""
    for name, layer in layers.items():
        replace_attribute(owner, name, layer)


_PLACES = {
    "key": ("slice_spec", 1),
    "shape": ("shape", 1),
    "num_or_size_splits": ("num_or_size_splits", 1),
}


def set_sizes(
    config: dict[str, Any], args: list, kwargs: dict[str, Any], sizes: dict[str, Any]
) -> None:
    """Put new sizes where a function has them: in its call."""
    for size, (name, place) in _PLACES.items():
        if size not in sizes:
            continue
        given, new = kwargs.get(name, args[place] if place < len(args) else None), sizes[size]
        if size == "shape":  # entries that are tensors stay those of the call
            new = [entry if isinstance(entry, int) else old for old, entry in zip(given, new)]
        if name in kwargs:
            kwargs[name] = new
        else:
            args[place] = new


def variables(layer: Any) -> list[Any]:
    """All variables of a layer."""
    return list(layer.weights)


def recompiled(model: Any, like: Any) -> bool:
    """Compile a model as another is; whether that went well."""
    if not getattr(like, "_is_compiled", False):
        return True
    config = like.get_compile_config()
    if config is None:
        return False
    with tf_keras.utils.custom_object_scope(common.own_objects(like._compile_config.config)):
        model.compile_from_config(config)
    return bool(model._is_compiled)


@contextlib.contextmanager
def seeds_of_python() -> Iterator[None]:
    """Initializers without a seed draw one from Python's generator, whatever seed was set."""
    holder = backend._SEED_GENERATOR
    own = getattr(holder, "generator", None)
    try:
        if own is not None:
            del holder.generator
        yield
    finally:
        if own is not None:
            holder.generator = own


def lost(model: Any) -> str | None:
    """What a model has beside its graph, which its copy has not."""
    beside = min(getattr(model, "_nodes_by_depth", None) or {0: ()}) < 0
    return "losses and metrics of add_loss and add_metric" if beside else None
