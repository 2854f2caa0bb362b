# SPDX-License-Identifier: Apache-2.0
"""Keras 3 on the TensorFlow backend: what differs from tf_keras."""

from __future__ import annotations

import contextlib
from typing import Any, Callable

import keras
import tensorflow as tf
from keras.src.backend.common.symbolic_scope import in_symbolic_scope
from keras.src.backend.common.variables import AutocastScope
from keras.src.models import functional

from tfprune.backend import registration
from tfprune.backend.base import Backend
from tfprune.backend.substitute import replaced
from tfprune.layers.graph import Ref, leaves, mapped

if keras.backend.backend() != "tensorflow":
    raise RuntimeError(
        f"Keras runs on the {keras.backend.backend()} backend, but tfprune needs the "
        "TensorFlow backend: set KERAS_BACKEND=tensorflow before importing keras."
    )
registration.register("keras")


class Keras3(Backend):
    """Keras 3."""

    NAME = "keras"
    keras = keras
    VARIABLES = (keras.Variable, tf.Variable)
    OPERATIONS = keras.ops

    def has_graph(self, model):
        return isinstance(model, (keras.Sequential, functional.Functional))

    def operations(self, model):
        found = {}
        for layer in model._flatten_layers(include_self=False, recursive=True):
            found[id(layer)] = layer
        for owner in [model, *found.values()]:
            for operation in getattr(self.functional(owner), "_operations", ()):
                found.setdefault(id(operation), operation)
        return list(found.values())

    def replace_attribute(self, owner, name, value):
        owner._tracker.unlock()
        delattr(owner, name)
        setattr(owner, name, value)
        if owner.built:
            owner._tracker.lock()

    def put_layers(self, owner, layers):
        for name, layer in layers.items():
            for one in leaves(vars(owner)[name]):
                owner._tracker.untrack(one)  # to delete an attribute does not
            self.replace_attribute(owner, name, layer)

    def build(self, model, data):
        # A model that cannot be built from shapes alone is left to its first call.
        if not self.is_built(model):
            with tf.init_scope(), contextlib.suppress(RuntimeError, ValueError):
                model._symbolic_build(data_batch=data)
                self.build_step(model)

    def is_tracing_symbolically(self) -> bool:
        return in_symbolic_scope()

    def _float32(self):
        return {"_dtype_policy": keras.DTypePolicy("float32")}

    def raw(self, variable):
        # While a subclassed model is built symbolically there is none yet: the Keras variable.
        held = variable._value if isinstance(variable, keras.Variable) else variable
        return variable if held is None else held

    def value(self, variable):
        # Where Keras computes with values from outside (`stateless_call`), that value.
        with AutocastScope(None):
            return tf.convert_to_tensor(variable.value)

    def dtype(self, variable):
        # Not its property `dtype`, which is the autocast scope's.
        return variable._dtype if isinstance(variable, keras.Variable) else variable.dtype.name

    def own_trainable(self, layer):
        return list(layer._trainable_variables)

    def rename(self, layer, name):
        layer.name = name

    def own_variables(self, layer):
        return [*layer._trainable_variables, *layer._non_trainable_variables]

    def variables(self, layer):
        return list(layer.variables)  # the states of random generators included

    def _is_variable(self, value):
        return isinstance(value, keras.Variable)

    def calls(self, model):
        shapes: dict[int, list] = {}
        for nodes in getattr(self.functional(model), "_nodes_by_depth", {}).values():
            for node in nodes:
                if node.input_tensors and node.output_tensors:
                    shapes.setdefault(id(node.operation), []).append(
                        (tuple(node.input_tensors[0].shape), tuple(node.output_tensors[0].shape))
                    )
        return shapes

    def functional(self, model):
        return getattr(model, "_functional", None) or model

    def _is_functional(self, inside):
        return isinstance(inside, functional.Functional)

    def _ref(self, tensor):
        return Ref(id(tensor), tuple(tensor.shape), keras.backend.standardize_dtype(tensor.dtype))

    def _call(self, node):
        given = (node.arguments.args, node.arguments.kwargs)
        return node.operation, *mapped(given, keras.src.backend.KerasTensor, self._ref)

    def operation_name(self, operation):
        kind = type(operation)
        own = kind.__module__.startswith("keras.") and not isinstance(operation, self.Layer)
        return kind.__name__.lower() if own else None

    def new_input(self, layer, shape):
        config = layer.get_config()
        config.pop("shape", None)
        config["batch_shape"] = tuple(shape)
        return keras.layers.InputLayer.from_config(config).output

    def assembled(self, model, inputs, outputs):
        inside = self.functional(model)
        inputs = keras.tree.pack_sequence_as(inside._inputs_struct, inputs)
        outputs = keras.tree.pack_sequence_as(inside._outputs_struct, outputs)
        usual = functional.functional_like_constructor(type(model))
        return (type(model) if usual else keras.Model)(inputs, outputs, name=model.name)

    def set_sizes(self, config, args, kwargs, sizes):
        # Slices have them in the call, all others in themselves.
        if "key" in sizes:
            if "key" in kwargs:
                kwargs["key"] = sizes["key"]
            else:
                args[1] = sizes["key"]
        config.update({name: value for name, value in sizes.items() if name in config})

    def input_specs(self, model):
        inputs = getattr(self.functional(model), "_inputs_struct", None)
        if inputs is not None:
            return tf.nest.map_structure(
                lambda t: tf.TensorSpec(t.shape, keras.backend.standardize_dtype(t.dtype)), inputs
            )
        shapes = getattr(model, "_build_shapes_dict", None) or {}
        return _specs_of_shapes(*shapes.values()) if len(shapes) == 1 else None

    def _outputs(self, inside):
        return getattr(inside, "_outputs_struct", None)

    def is_compiled(self, model):
        return bool(model.compiled)

    def loss_weights(self, model):
        return getattr(getattr(model, "_compile_loss", None), "_user_loss_weights", None)

    @contextlib.contextmanager
    def mixed_loss(self, model, share, soft):
        own, heard = model._compile_loss, []
        soft = soft / tf.distribute.get_strategy().num_replicas_in_sync

        def compile_loss(y_true, y_pred, sample_weight=None):
            heard.append(y_pred)
            if own is None or y_true is None:
                return soft
            return (1 - share) * own(y_true, y_pred, sample_weight) + share * soft

        with replaced([(model, "_compile_loss", compile_loss)]):
            yield heard

    def build_step(self, model):
        optimizer = model.optimizer
        if optimizer is not None and not optimizer.built and model.built:
            optimizer.build(model.trainable_variables)

    def build_slots(self, optimizer, variables):
        if not optimizer.built:
            optimizer.build(variables)

    def _place(self, optimizer, variable):
        return optimizer._get_variable_index(variable), len(optimizer._trainable_variables)

    def around_updates(self, optimizer: Any, function: Callable) -> None:
        self.release_updates(optimizer)
        own = optimizer.update_step

        def update_step(gradient, variable, learning_rate):
            def update(changed):
                return own(changed, variable, learning_rate)

            return function(update, gradient, variable)

        self._put(optimizer, "update_step", update_step)


def _specs_of_shapes(shapes: Any) -> Any:
    if isinstance(shapes, dict):
        return {key: _specs_of_shapes(value) for key, value in shapes.items()}
    if all(size is None or isinstance(size, int) for size in shapes):
        return tf.TensorSpec(shapes, tf.float32)
    return [_specs_of_shapes(value) for value in shapes]


BACKEND = Keras3()
