# SPDX-License-Identifier: Apache-2.0
"""tf_keras: what differs from Keras 3."""

from __future__ import annotations

import contextlib
from typing import Any, Callable

import tensorflow as tf
import tf_keras
from tf_keras.src import backend as keras_backend
from tf_keras.src.engine import functional, keras_tensor

from tfprune.backend import registration
from tfprune.backend.base import Backend
from tfprune.backend.substitute import replaced
from tfprune.layers.graph import Ref, mapped

registration.register("tf_keras")
_PLACES = {
    "key": ("slice_spec", 1),
    "shape": ("shape", 1),
    "num_or_size_splits": ("num_or_size_splits", 1),
}


class TfKeras(Backend):
    """tf_keras, whose models create their variables, values included, while a step is traced."""

    NAME = "tf_keras"
    keras = tf_keras
    VARIABLES = (tf.Variable,)
    OPERATIONS = tf

    def has_graph(self, model):
        return isinstance(model, tf_keras.Sequential) or bool(model._is_graph_network)

    def operations(self, model):
        # Operations of a graph are layers here, too.
        layers = model._flatten_layers(include_self=False)
        return list({id(layer): layer for layer in layers}.values())

    def unwrap(self, wrapper):
        """The wrapped layer; the first of a Sequential model keeps the shape that builds it."""
        layer = wrapper.layer
        if hasattr(wrapper, "_batch_input_shape") and not hasattr(layer, "_batch_input_shape"):
            layer._batch_input_shape = wrapper._batch_input_shape
        return layer

    def clone(self, model, exchange):
        graph = self.is_sequence(model) and self._is_functional(model)
        if not graph or self.lost(model) is not None:
            return super().clone(model, exchange)
        inputs = [type(one).from_config(one.get_config()) for one in self.input_layers(model)]
        return _sequence(tf_keras.Sequential, [*inputs, *map(exchange, model.layers)], model.name)

    def sequence(self, model, layers):
        usual = type(model).__init__ is tf_keras.Sequential.__init__
        return _sequence(type(model) if usual else tf_keras.Sequential, layers, model.name)

    def replace_attribute(self, owner, name, value):
        delattr(owner, name)
        setattr(owner, name, value)

    def put_layers(self, owner, layers):
        for name, layer in layers.items():
            self.replace_attribute(owner, name, layer)

    def _float32(self):
        policy = tf_keras.mixed_precision.Policy("float32")
        return {"_dtype_policy": policy, "_compute_dtype_object": tf.float32}

    def raw(self, variable):
        # Without the wrapper that casts it under mixed precision.
        is_cast = hasattr(variable, "true_dtype")
        return getattr(variable, "_variable", variable) if is_cast else variable

    def value(self, variable):
        return tf.convert_to_tensor(self.raw(variable))

    def dtype(self, variable):
        return self.raw(variable).dtype.name

    def own_trainable(self, layer):
        return list(layer._trainable_weights)

    def rename(self, layer, name):
        layer._name = name

    def own_variables(self, layer):
        return [*layer._trainable_weights, *layer._non_trainable_weights]

    def variables(self, layer):
        return list(layer.weights)

    def _is_variable(self, value):
        return tf.is_tensor(value)

    @contextlib.contextmanager
    def seeds_of_python(self):
        holder = keras_backend._SEED_GENERATOR
        own = getattr(holder, "generator", None)
        try:
            if own is not None:
                del holder.generator
            yield
        finally:
            if own is not None:
                holder.generator = own

    def calls(self, model):
        shapes: dict[int, list] = {}
        for nodes in (getattr(model, "_nodes_by_depth", None) or {}).values():
            for node in nodes:
                if not node.is_input:  # whose first argument may be a text, as of tf.einsum
                    first = node.keras_inputs[0], tf.nest.flatten(node.outputs)[0]
                    shapes.setdefault(id(node.layer), []).append(
                        tuple(self._ref(one).shape for one in first)
                    )
        return shapes

    def _is_functional(self, inside):
        return getattr(inside, "_is_graph_network", False)

    def _ref(self, tensor):
        shape = () if tensor.shape.rank is None else tuple(tensor.shape)
        return Ref(id(tensor), shape, tensor.dtype.name)

    def _call(self, node):
        given = (node.call_args, node.call_kwargs)
        return node.layer, *mapped(given, keras_tensor.KerasTensor, self._ref)

    def operation_name(self, operation):
        if type(operation).__name__ not in ("TFOpLambda", "SlicingOpLambda"):
            return None
        return (operation.symbol or "").split(".")[-1].lower()

    def new_input(self, layer, shape):
        config = layer.get_config()
        config["batch_input_shape"] = tuple(shape)
        return tf_keras.layers.InputLayer.from_config(config).output

    def assembled(self, model, inputs, outputs):
        inputs = tf.nest.pack_sequence_as(model._nested_inputs, inputs)
        outputs = tf.nest.pack_sequence_as(model._nested_outputs, outputs)
        usual = functional.has_functional_like_constructor(type(model))
        return (type(model) if usual else tf_keras.Model)(inputs, outputs, name=model.name)

    def set_sizes(self, config, args, kwargs, sizes):
        # In the call.
        for size, (name, place) in _PLACES.items():
            if size not in sizes:
                continue
            given, new = kwargs.get(name, args[place] if place < len(args) else None), sizes[size]
            if size == "shape":  # entries that are tensors stay those of the call
                new = [
                    entry if isinstance(entry, int) else old
                    for old, entry in zip(given, new, strict=True)
                ]
            if name in kwargs:
                kwargs[name] = new
            else:
                args[place] = new

    def loses_mask(self, tensor):
        return getattr(tensor, "_keras_mask", None) is not None

    def lost(self, model):
        beside = min(getattr(model, "_nodes_by_depth", None) or {0: ()}) < 0
        return "losses and metrics of add_loss and add_metric" if beside else None

    def input_specs(self, model):
        inputs = getattr(model, "_nested_inputs", None)
        if inputs is not None:
            return tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), inputs)
        return model._saved_model_inputs_spec

    def _outputs(self, inside):
        return getattr(inside, "_nested_outputs", None)

    def is_compiled(self, model):
        return bool(getattr(model, "_is_compiled", False))

    def loss_weights(self, model):
        return getattr(getattr(model, "compiled_loss", None), "_user_loss_weights", None)

    def without_labels(self, model):
        check = (model, "_validate_target_and_loss", lambda y, loss: None)
        return [*super().without_labels(model), check]

    @contextlib.contextmanager
    def mixed_loss(self, model, share, soft):
        own, heard = model.compiled_loss, []

        def compiled_loss(y_true, y_pred, sample_weight=None, regularization_losses=None):
            heard.append(y_pred)
            alone = y_true is None or not own._user_losses
            added = [*(regularization_losses or ()), soft if alone else share * soft]
            if not own.built:
                own.build(y_pred)
            weights = [(1 - share) * (1 if one is None else one) for one in own._loss_weights]
            with replaced([(own, "_loss_weights", weights)]):
                return own(y_true, y_pred, sample_weight, regularization_losses=added)

        with replaced([(model, "compiled_loss", compiled_loss)]):
            yield heard

    def build_step(self, model):
        optimizer = self.innermost_optimizer(model)
        if tf.distribute.has_strategy() or not hasattr(optimizer, "build") or not model.built:
            return
        optimizer.build(model.trainable_variables)
        step = model.train_function

        def train_function(iterator):
            model.train_function = step
            _build_metrics(model, iterator)
            return step(iterator)

        model.train_function = train_function

    def build_slots(self, optimizer, variables):
        optimizer.build(variables)

    def _place(self, optimizer, variable):
        return optimizer._index_dict[optimizer._var_key(variable)], len(optimizer._index_dict)

    def counters(self, optimizer):
        scale = vars(optimizer).get("_loss_scale")
        found = super().counters(optimizer)
        return found if scale is None else {**found, **super().counters(scale)}

    def around_updates(self, optimizer: Any, function: Callable) -> None:
        """As in Keras 3.

        Raises:
            TypeError: a legacy optimizer, which updates no single variable.
        """
        if not hasattr(optimizer, "update_step"):
            name = type(optimizer).__name__
            raise TypeError(
                f"{name} is a legacy optimizer, on whose updates a method cannot act: use "
                f"tf_keras.optimizers.{name}."
            )
        self.release_updates(optimizer)
        own = optimizer.update_step

        def update_step(gradient, variable):
            return function(lambda changed: own(changed, variable), gradient, variable)

        def traced(gradient, variable, key):
            # The compiled form may have been traced before, without what stands around it.
            return optimizer._update_step(gradient, variable)

        self._put(optimizer, "update_step", update_step)
        self._put(optimizer, "_update_step_xla", traced)


def _build_metrics(model, iterator):
    """As far as that needs no outputs but those of the graph."""
    output = getattr(model, "_nested_outputs", None)
    _, labels, _ = tf_keras.utils.unpack_x_y_sample_weight(iterator.element_spec)
    if isinstance(labels, tf.TensorSpec) and hasattr(output, "shape"):
        if model.compiled_loss is not None and not model.compiled_loss.built:
            model.compiled_loss.build(output)
        if model.compiled_metrics is not None and not model.compiled_metrics.built:
            model.compiled_metrics.build(output, labels)


def _sequence(cls, layers, name):
    """A Sequential model of an input and layers, whose graph is laid out once: left alone, it is
    laid out anew with each layer."""
    model = cls(layers[:1], name=name)
    vars(model)["_init_graph_network"] = lambda inputs, outputs: None
    for layer in layers[1:]:
        model.add(layer)
    del vars(model)["_init_graph_network"]
    model._init_graph_network(model.inputs, model.outputs)
    return model


BACKEND = TfKeras()
