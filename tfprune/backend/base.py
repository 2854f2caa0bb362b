# SPDX-License-Identifier: Apache-2.0
"""One Keras: all that the rest of the library asks of a layer, a model or an optimizer of it, and
what both Kerases answer in the same words."""

from __future__ import annotations

import abc
import contextlib
from types import ModuleType
from typing import Any, Callable, ClassVar

import tensorflow as tf

from tfprune.backend.optimizers import OptimizerAccess
from tfprune.backend.substitute import Change
from tfprune.layers.graph import Call, Graph, Ref, calls_its_graph, leaves


class Backend(OptimizerAccess):
    """One Keras, private calls included.

    Attributes:
        keras: the package.
        NAME: of the package.
        VARIABLES: the classes of variables.
        OPERATIONS: element-wise functions of symbolic tensors, under names that are the same in
            both Kerases.
    """

    NAME: ClassVar[str]
    keras: ClassVar[ModuleType]
    VARIABLES: ClassVar[tuple[type, ...]]
    OPERATIONS: ClassVar[Any]

    # Layers.

    @property
    def Layer(self) -> type[Any]:
        """The class of all layers."""
        return self.keras.layers.Layer

    def is_model(self, value: Any) -> bool:
        return isinstance(value, self.keras.Model)

    def is_sequence(self, model: Any) -> bool:
        return isinstance(model, self.keras.Sequential)

    def is_input(self, layer: Any) -> bool:
        return isinstance(layer, self.keras.layers.InputLayer)

    def is_built(self, model: Any) -> bool:
        return bool(model.built) and bool(model.weights)

    def is_wrapper(self, layer: Any) -> bool:
        """Whether it is wrapped for pruning, by this library or by TF-MOT."""
        return wrapper_kind(layer) == "pruned" or any(
            cls.__name__ == "PruneLowMagnitude"
            and cls.__module__.startswith("tensorflow_model_optimization.")
            for cls in type(layer).__mro__
        )

    def is_quantized(self, layer: Any) -> bool:
        """Whether it is wrapped for quantization-aware fine-tuning."""
        return wrapper_kind(layer) == "quantized"

    def is_wrapped(self, layer: Any) -> bool:
        """Whether it is a wrapper, for pruning or for fine-tuning on integer grids."""
        return self.is_wrapper(layer) or self.is_quantized(layer)

    def has_prunable_weights(self, layer: Any) -> bool:
        """Whether the layer's author says what to prune (a method of the class, not one put on
        it)."""
        return hasattr(type(layer), "get_prunable_weights")

    @abc.abstractmethod
    def has_graph(self, model: Any) -> bool:
        """Whether layers can be exchanged: functional and Sequential models."""

    def sublayers(self, layer: Any) -> list[Any]:
        return list(layer._flatten_layers(include_self=False, recursive=False))

    @abc.abstractmethod
    def operations(self, model: Any) -> list[Any]:
        """Every layer under a model, and the operations of its graphs that are no layers."""

    def strategy(self, model: Any) -> Any:
        is_model = self.is_model(model)
        return model.distribute_strategy if is_model else tf.distribute.get_strategy()

    def unwrap(self, wrapper: Any) -> Any:
        """The wrapped layer."""
        return wrapper.layer

    def clone(self, model: Any, exchange: Callable[[Any], Any]) -> Any:
        """The same graph with `exchange(layer)` in place of each layer; weights are shared."""
        return self.keras.models.clone_model(model, clone_function=exchange)

    @abc.abstractmethod
    def replace_attribute(self, owner: Any, name: str, value: Any) -> None:
        """Exchange a layer of a subclassed model, built or not."""

    @abc.abstractmethod
    def put_layers(self, owner: Any, layers: dict[str, Any]) -> None:
        """Exchange the layers that a layer holds as attributes, or in lists of them, by name."""

    def build(self, model: Any, data: Any) -> None:
        """Build an unbuilt model for `data`, outside of the step that is being traced: where
        variables that are created in it have no values before the trace has ended."""

    def single_precision(self, model: Any) -> list[tuple[Any, str, Any]]:
        """The changes of attributes that make a model compute in float32 instead of half
        precision."""
        return [
            (layer, name, value)
            for layer in model._flatten_layers()
            if layer.compute_dtype in ("float16", "bfloat16")
            for name, value in self._float32().items()
        ]

    @abc.abstractmethod
    def _float32(self) -> dict[str, Any]:
        """The attributes of a layer that computes in float32."""

    # Variables.

    @abc.abstractmethod
    def raw(self, variable: Any) -> Any:
        """The tf.Variable behind a variable, in its own dtype whatever the autocast scope."""

    @abc.abstractmethod
    def value(self, variable: Any) -> tf.Tensor:
        """What a variable holds, in its own dtype whatever the autocast scope."""

    @abc.abstractmethod
    def dtype(self, variable: Any) -> str:
        """The variable's own, whatever the autocast scope."""

    def is_float(self, variable: Any) -> bool:
        return tf.as_dtype(self.dtype(variable)).is_floating

    @abc.abstractmethod
    def own_trainable(self, layer: Any) -> list[Any]:
        """The trainable variables that the layer holds itself."""

    @abc.abstractmethod
    def rename(self, layer: Any, name: str) -> None:
        """Give a layer another name; its variables keep theirs."""

    @abc.abstractmethod
    def own_variables(self, layer: Any) -> list[Any]:
        """The variables that the layer holds itself, without those of layers inside of it."""

    @abc.abstractmethod
    def variables(self, layer: Any) -> list[Any]:
        """All variables of a layer."""

    def attribute(self, layer: Any, name: str) -> Any:
        """The variable that a layer holds under this name (or, where a property hides it,
        `_name`)."""
        for candidate in (f"_{name}", name):
            value = getattr(layer, candidate, None)
            if value is not None and self._is_variable(value):
                return value
        return None

    @abc.abstractmethod
    def _is_variable(self, value: Any) -> bool:
        """Whether a layer's attribute is a variable, or stands for one."""

    def attribute_of(self, layer: Any, variable: Any) -> str:
        """The name under which a layer holds a variable; the variable's own name failing that."""
        for name, value in vars(layer).items():
            if value is variable:
                return name.lstrip("_")
        return variable.name.split("/")[-1].split(":")[0]

    @contextlib.contextmanager
    def seeds_of_python(self):
        """Initializers without a seed draw one from Python's generator, whatever seed was set."""
        yield

    # The graph.

    @abc.abstractmethod
    def calls(self, model: Any) -> dict[int, list]:
        """Input and output shapes of every call of every layer in a model's graph."""

    def functional(self, model: Any) -> Any:
        """What holds a model's graph: the model itself, or a functional one inside of it."""
        return model

    def knows_graph(self, value: Any) -> bool:
        """Whether `graph` has one: of functional and built Sequential models."""
        return (
            self.is_model(value)
            and self._is_functional(self.functional(value))
            and calls_its_graph(value)
        )

    def graph(self, model: Any) -> Graph | None:
        """The graph of a functional or built Sequential model; None for anything else."""
        if not self.knows_graph(model):
            return None
        inside = self.functional(model)
        calls, names = [], {}
        for depth in sorted(inside._nodes_by_depth, reverse=True):
            for node in inside._nodes_by_depth[depth]:
                outputs = tuple(self._ref(one) for one in leaves(node.outputs))
                operation, args, kwargs = self._call(node)
                if node.is_input:
                    names[outputs[0].key] = operation.name
                else:
                    calls.append(Call(operation, args, kwargs, outputs))
        inputs = tuple(map(self._ref, inside.inputs))
        return Graph(
            inputs,
            tuple(map(self._ref, inside.outputs)),
            tuple(calls),
            tuple(names.get(one.key, "input") for one in inputs),
        )

    @abc.abstractmethod
    def _is_functional(self, inside: Any) -> bool:
        """Whether it holds a graph."""

    @abc.abstractmethod
    def _ref(self, tensor: Any) -> Ref:
        """A symbolic tensor as a plain key."""

    @abc.abstractmethod
    def _call(self, node: Any) -> tuple[Any, tuple, dict[str, Any]]:
        """(operation, args, kwargs) of a node, `Ref`s in place of tensors."""

    @abc.abstractmethod
    def operation_name(self, operation: Any) -> str | None:
        """The name of a raw operation in lower case ("add"); None for a layer."""

    def input_layers(self, model: Any) -> list[Any]:
        """The input layers of a model with a graph, in the order of the graph's inputs."""
        return [one._keras_history[0] for one in self.functional(model).inputs]

    @abc.abstractmethod
    def new_input(self, layer: Any, shape: tuple[int | None, ...]) -> Any:
        """The symbolic tensor of an input layer like this one, with another shape."""

    @abc.abstractmethod
    def assembled(self, model: Any, inputs: list[Any], outputs: list[Any]) -> Any:
        """A model of the same class, as far as its constructor allows, around new tensors."""

    def sequence(self, model: Any, layers: list[Any]) -> Any:
        """A Sequential model like this one, of an input tensor and layers."""
        usual = type(model).__init__ is self.keras.Sequential.__init__
        return (type(model) if usual else self.keras.Sequential)(layers, name=model.name)

    def from_config(self, operation: Any, config: dict[str, Any]) -> Any:
        """A new layer or operation of the same class."""
        config.pop("batch_input_shape", None)
        if isinstance(operation, self.keras.layers.Lambda):
            return _same_function(operation, config)
        with self.keras.saving.custom_object_scope(_own_objects(vars(operation))):
            return type(operation).from_config(config)

    @abc.abstractmethod
    def set_sizes(
        self, config: dict[str, Any], args: list, kwargs: dict[str, Any], sizes: dict[str, Any]
    ) -> None:
        """Put new sizes where a raw operation has them: in its settings, or in its call."""

    def loses_mask(self, tensor: Any) -> bool:
        """Whether a Keras mask belongs to a symbolic tensor that `OPERATIONS` would not hand
        on."""
        return False

    def lost(self, model: Any) -> str | None:
        """What a model has beside its graph, which its copy has not."""
        return None

    # What a model is given and returns.

    @abc.abstractmethod
    def input_specs(self, model: Any) -> Any:
        """What a model is called with: `tf.TensorSpec`s in the structure of its inputs; None:
        unknown. Sizes that the model leaves open are None."""

    def output_names(self, model: Any) -> list[str] | None:
        """The names of a model's outputs, under which losses are given, in `tf.nest.flatten`
        order; None: not known, as of subclassed models."""
        inside = self.functional(model)
        structure = self._outputs(inside)
        if structure is None:
            return None
        return sorted(structure) if isinstance(structure, dict) else list(inside.output_names)

    @abc.abstractmethod
    def _outputs(self, inside: Any) -> Any:
        """The structure of the outputs; None: not known."""

    # Compiled models.

    @abc.abstractmethod
    def is_compiled(self, model: Any) -> bool: ...

    def compiled_loss(self, model: Any) -> Any:
        """The loss given to `compile`; None if there is none."""
        return (getattr(model, "loss", None) or None) if self.is_compiled(model) else None

    @abc.abstractmethod
    def loss_weights(self, model: Any) -> Any:
        """The loss weights given to `compile`, in a list or under names; None if there are
        none."""

    def loss_function(self, loss: Any) -> Any:
        """A Keras loss, its name or a function, as a Loss object or a function."""
        return self.keras.losses.get(loss)

    @abc.abstractmethod
    def mixed_loss(
        self, model: Any, share: Any, soft: tf.Tensor
    ) -> contextlib.AbstractContextManager[list[Any]]:
        """While it lasts, the compiled loss is mixed with another one, what is added to it (weight
        decay) aside; where there is none, or no labels, the other one stands alone.

        Args:
            share: of the other one, in [0, 1].
            soft: the other one: a scalar, the mean over this replica's batch.

        Yields:
            A list, empty until the model computes its compiled loss.
        """

    def without_labels(self, model: Any) -> list[Change]:
        """The changes of attributes that let a model train without labels, though it is compiled
        with a loss or metrics, which stand still then."""
        own = model.compute_metrics

        @tf.autograph.experimental.do_not_convert
        def compute_metrics(x, y, y_pred, *args, **kwargs):
            if y is None:
                return model.get_metrics_result()
            return own(x, y, y_pred, *args, **kwargs)

        return [(model, "compute_metrics", compute_metrics)]

    def known_logits(self, output: tf.Tensor) -> tf.Tensor | None:
        """The logits of an output of a softmax or sigmoid; None where Keras does not keep them."""
        return getattr(output, "_keras_logits", None)

    def known_mask(self, output: tf.Tensor) -> tf.Tensor | None:
        """Which of a sequence's steps count, bool; None: all."""
        return getattr(output, "_keras_mask", None)

    def recompiled(self, model: Any, like: Any) -> bool:
        """Compile a model as another is; whether that went well."""
        if not self.is_compiled(like):
            return True
        config = like.get_compile_config()
        if config is None:
            return False
        with self.keras.saving.custom_object_scope(_own_objects(like._compile_config.config)):
            model.compile_from_config(config)
        return self.is_compiled(model)


def wrapper_kind(layer: Any) -> str | None:
    """ "pruned" or "quantized", which a wrapper's class says of itself; None: no wrapper."""
    return getattr(type(layer), "wrapper_kind", None)


def _own_objects(held: dict[str, Any]) -> dict[str, Any]:
    """The functions and classes among what a layer or the settings of `compile` hold, by the names
    under which a configuration calls them."""
    found: dict[str, Any] = {}
    for value in leaves(list(held.values())):
        for one in (value, type(value)):
            if callable(one) and hasattr(one, "__name__"):
                found[one.__name__] = one
    return found


def _same_function(layer: Any, config: dict[str, Any]) -> Any:
    """A new Lambda layer of the same function, which no file could hold."""
    known = {name: config[name] for name in ("name", "trainable", "dtype") if name in config}
    return type(layer)(
        layer.function,
        output_shape=layer._output_shape,
        mask=layer.mask,
        arguments=layer.arguments,
        **known,
    )
