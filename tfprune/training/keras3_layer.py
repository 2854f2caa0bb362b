# SPDX-License-Identifier: Apache-2.0
"""The Keras 3 wrapper: a layer that carries its pruning settings, masks and step."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import Any

import keras

from tfprune.backend.keras3 import BACKEND as adapter
from tfprune.backend.model_view import ModelView
from tfprune.backend.registration import register_real
from tfprune.methods.base import Method
from tfprune.training.model_hooks import ModelHooks, hooks_of
from tfprune.training.wrapped import OWN_LOOP
from tfprune.training.wrapper_memory import remembered, with_memory

NOT_DRIVEN = (
    "The layer {name!r} is wrapped for pruning, but nothing prunes it: add PruningCallback() to "
    f"the callbacks of model.fit; {OWN_LOOP}. If that is done, the layer was wrapped after its "
    "model had been built and is no part of it: wrap it in the model's __init__, or leave it "
    "unwrapped and use PruningCallback('magnitude', 0.8). A model out of tfprune.strip_pruning "
    "trains unpruned."
)


@dataclass
class _Held:
    """Variables kept out of Keras' attribute tracking, which would count the kernels twice."""

    pruning_vars: tuple = ()
    hidden: tuple = ()
    state: tuple = ()
    driven: bool = False


@functools.partial(register_real, "keras")
class PrunedLayer(keras.layers.Wrapper):
    """A layer whose kernels are pruned during training by `tfprune.PruningCallback`.

    The wrapped kernel itself is sparse between training steps, so the forward pass is the wrapped
    layer's own. The wrapper holds the settings and, as weights, one mask and threshold per kernel
    and the step, so that a saved model resumes where it stopped.

    Args:
        layer: the layer to prune, built or not.
        method: what to prune, how much and when.
        memory: whether to hold what the method remembers of its measurements; files that were
            written by an earlier version hold none.

    Attributes:
        pruning_vars: one (weight, mask, threshold) for each pruned kernel.
        pruning_step: finished training steps; -1 before the first training.
    """

    wrapper_kind = "pruned"

    def __new__(cls, layer, *args, **kwargs):
        self = super().__new__(cls, layer, *args, **kwargs)
        # Keras reads these signatures to know which arguments and which shapes to pass.
        self.build.__signature__ = inspect.signature(layer.build)
        self.call = _with_signature(functools.partial(_call, self), layer.call)
        self.compute_output_shape = _with_signature(
            functools.partial(_compute_output_shape, self), layer.compute_output_shape
        )
        return self

    def __init__(
        self, layer, method: Method, *, name: str | None = None, memory: bool = True, **kwargs: Any
    ):
        if not isinstance(method, Method):
            raise TypeError(f"Expected a tfprune Method, got {type(method).__name__}: {method!r}.")
        kwargs.setdefault("dtype", layer.dtype_policy)
        kwargs.setdefault("autocast", layer.autocast)
        kwargs.setdefault("trainable", layer.trainable)
        super().__init__(layer, name=name or f"prune_{method.name}_{layer.name}", **kwargs)
        self.method = method
        self.memory = memory
        self._held = _Held()
        self.supports_masking = layer.supports_masking
        self._convert_input_args = layer._convert_input_args
        self._allow_non_tensor_positional_args = layer._allow_non_tensor_positional_args

    @property
    def pruning_vars(self) -> tuple:
        return self._held.pruning_vars

    @property
    def hidden_vars(self) -> tuple:
        """What the gate keeps of the pruned weights, one per kernel; empty if it keeps nothing."""
        return self._held.hidden

    @property
    def state_vars(self) -> tuple:
        """What the method keeps beside the weights, one dictionary of variables per kernel."""
        return self._held.state

    @property
    def hooks(self) -> ModelHooks:
        """What is done with the whole model for its gate."""
        return hooks_of(self.method.gate)

    def drive(self, driven: bool) -> None:
        """Told by the callback that it prunes this layer from now on, or no longer."""
        self._held.driven = driven

    def build(self, *args, **kwargs):
        if not self.layer.built:
            _build(self.layer, *args, **kwargs)
        sites = ModelView(self.layer, adapter).sites
        kernels = [found.variable for found in sites]
        by_value = {id(adapter.raw(weight)): weight for weight in self.layer.weights}
        weights = [by_value[id(kernel)] for kernel in kernels]
        suffixes = [f"_{index}" if index else "" for index in range(len(weights))]
        self._held.pruning_vars = tuple(
            (
                weight,
                self._add("mask" + suffix, weight.shape, weight.dtype, "ones"),
                self._add("threshold" + suffix, (), weight.dtype, "zeros"),
            )
            for weight, suffix in zip(weights, suffixes, strict=True)
        )
        if self.method.gate.hides:
            self._held.hidden = tuple(
                self._add("hidden" + suffix, weight.shape, weight.dtype, "zeros")
                for weight, suffix in zip(weights, suffixes, strict=True)
            )
        self._held.state = tuple(
            self._keep(self.method.state(found.site, memory=False), suffix)
            for found, suffix in zip(sites, suffixes, strict=True)
        )
        self.pruning_step = self._add("pruning_step", (), "int64", keras.initializers.Constant(-1))
        if self.memory:
            for found, state, suffix in zip(sites, self._held.state, suffixes, strict=True):
                state.update(self._keep(self.method.memory(found.site), suffix))

    def forward(self, in_training, /, *args, **kwargs):
        """The layer's own call."""
        return self.layer(*args, **kwargs)

    def load_own_variables(self, store):
        own = self._trainable_variables + self._non_trainable_variables
        super().load_own_variables(with_memory(store, own, self.remembered()))

    def remembered(self) -> dict[int, Any]:
        """What an earlier version did not save: {id of a variable: its first value}."""
        return remembered(self.state_vars)

    def _keep(self, values, suffix):
        return {
            name: self._add(
                name + suffix, value.shape, value.dtype.name, keras.initializers.Constant(value)
            )
            for name, value in values.items()
        }

    def _add(self, name, shape, dtype, initializer):
        return add_weight(
            self,
            name,
            shape=shape,
            dtype=dtype,
            initializer=initializer,
            trainable=False,
            autocast=False,
        )

    def get_build_config(self):
        return self.layer.get_build_config()

    def compute_output_spec(self, *args, **kwargs):
        return self.layer.compute_output_spec(*args, **kwargs)

    def compute_mask(self, inputs, previous_mask):
        return self.layer.compute_mask(inputs, previous_mask)

    def get_config(self):
        return {**super().get_config(), "method": self.method.get_config(), "memory": self.memory}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = {"memory": False, **config}
        layer = keras.saving.deserialize_keras_object(
            config.pop("layer"), custom_objects=custom_objects
        )
        dtype = config.pop("dtype", None)
        if dtype is not None:
            config["dtype"] = keras.dtype_policies.get(dtype)
        return cls(layer, Method.from_config(config.pop("method")), **config)


def add_weight(wrapper: Any, name: str, **settings: Any) -> Any:
    """A variable of a wrapper, of a name that no other of its variables has, as `.h5` asks; held
    as an attribute, as `tf.train.Checkpoint` asks, which sees nothing else."""
    variable = wrapper.add_weight(name=name, **settings)
    setattr(wrapper, f"wrapper_{name}", variable)
    return variable


def _with_signature(function, target):
    function.__signature__ = inspect.signature(target)
    function.__name__ = target.__name__
    if getattr(target, "_is_default", False):
        function._is_default = True
    return function


def _call(self, *args, **kwargs):
    training = kwargs.get("training", self._get_call_context().get_value("training"))
    if training and not self._held.driven and not adapter.is_tracing_symbolically():
        raise RuntimeError(NOT_DRIVEN.format(name=self.layer.name))
    return self.forward(training, *args, **kwargs)


def _compute_output_shape(self, *args, **kwargs):
    return self.layer.compute_output_shape(*args, **kwargs)


def _build(layer, *args, **kwargs):
    if not getattr(layer.build, "_is_default", False):
        layer.build(*args, **kwargs)
        return
    # A composite layer without a build method is built by its first call.
    shapes = [*args, *kwargs.values()]
    layer(*[keras.KerasTensor(shape, dtype=layer.compute_dtype) for shape in shapes])
