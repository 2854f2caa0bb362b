# SPDX-License-Identifier: Apache-2.0
"""What both adapters say in the same words: the attributes of a layer, and its calls in a graph."""

from __future__ import annotations

from typing import Any, Callable

from tfprune.layers.graph import leaves

OWN_LOOP = (
    "around a training loop of your own call its start(model) before, settle() after every "
    "optimizer step, and finish() at the end"
)
"""What to do without `fit`, for messages that have just named `PruningCallback()`."""


def attribute(layer: Any, name: str, *, is_variable: Callable[[Any], bool]) -> Any:
    """The variable that a layer holds under this name (or, where a property hides it, `_name`)."""
    for candidate in (f"_{name}", name):
        value = getattr(layer, candidate, None)
        if value is not None and is_variable(value):
            return value
    return None


def attribute_of(layer: Any, variable: Any) -> str:
    """The name under which a layer holds a variable; the variable's own name failing that."""
    for name, value in vars(layer).items():
        if value is variable:
            return name.lstrip("_")
    return variable.name.split("/")[-1].split(":")[0]


def wrapper_kind(layer: Any) -> str | None:
    """ "pruned" or "quantized", which a wrapper's class says of itself; None: no wrapper."""
    return getattr(type(layer), "wrapper_kind", None)


def is_quantized(layer: Any) -> bool:
    """Whether it is wrapped for quantization-aware fine-tuning."""
    return wrapper_kind(layer) == "quantized"


def has_prunable_weights(layer: Any) -> bool:
    """Whether the layer's author says what to prune (a method of the class, not one put on it)."""
    return hasattr(type(layer), "get_prunable_weights")


def output_names(model: Any, structure: Any) -> list[str] | None:
    """The names of a model's outputs: the keys of a dictionary, else those of its layers.

    Args:
        model: a Keras model.
        structure: of its outputs; None: not known, as of subclassed models.
    """
    if structure is None:
        return None
    return sorted(structure) if isinstance(structure, dict) else list(model.output_names)


def innermost_optimizer(model: Any) -> Any:
    """The optimizer that updates variables, below one that scales the loss; None: not compiled."""
    optimizer = getattr(model, "optimizer", None)
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer


def put(owner: Any, name: str, function: Callable) -> None:
    """Let a function stand in for a method of one object until `release`."""
    function.tfprune_own = vars(owner).get(name)
    object.__setattr__(owner, name, function)


def release(owner: Any, *names: str) -> None:
    """Give an object its methods back; also after a run that an exception ended."""
    for name in names:
        standing_in = vars(owner).get(name)
        if not hasattr(standing_in, "tfprune_own"):
            continue
        if standing_in.tfprune_own is None:
            object.__delattr__(owner, name)
        else:
            object.__setattr__(owner, name, standing_in.tfprune_own)


_NO_SLOTS = ("_trainable_variables", "_variables")
_NO_MOMENTA = ("accumulated_gradients", "model_variables_moving_average")


def slots(optimizer: Any, index: int, count: int) -> dict[str, Any]:
    """All that an optimizer keeps for its variable number `index` of `count`, by name.

    Both Kerases keep slots in lists, one per kind, in the order of the variables.
    """
    lists = {
        name: value
        for name, value in vars(optimizer).items()
        if isinstance(value, list) and name not in _NO_SLOTS and len(value) == count
    }
    return {
        name.lstrip("_"): each[index]
        for name, each in lists.items()
        if hasattr(each[index], "assign")
    }


def counters(optimizer: Any) -> dict[str, Any]:
    """The single numbers that an optimizer keeps, and the one inside of it, by name."""
    found = {
        name: value
        for name, value in vars(optimizer).items()
        if hasattr(value, "assign") and hasattr(value, "shape") and len(value.shape) == 0
    }
    inner = getattr(optimizer, "inner_optimizer", None)
    inside = {} if inner is None else counters(inner)
    return {**found, **{f"inner {name}": value for name, value in inside.items()}}


def momenta(optimizer: Any, index: int, count: int, shape: Any) -> list[Any]:
    """What an optimizer keeps for each entry of its variable number `index` of `count`."""
    found = [one for name, one in slots(optimizer, index, count).items() if name not in _NO_MOMENTA]
    return list({id(one): one for one in found if one.shape == shape}.values())


def spare_decay(optimizer: Any, variables: list[Any]) -> None:
    """Except variables from an optimizer's decoupled weight decay; it may be built already."""
    if not hasattr(optimizer, "_use_weight_decay"):
        return  # tf_keras' legacy optimizers have no weight decay
    keys = [optimizer._var_key(one) for one in variables]
    spared = set(getattr(optimizer, "_exclude_from_weight_decay", None) or ())
    optimizer._exclude_from_weight_decay = list(spared.union(keys))
    cache = getattr(optimizer, "_exclude_from_weight_decay_cache", {})
    for key in keys:
        cache.pop(key, None)


def own_objects(held: dict[str, Any]) -> dict[str, Any]:
    """The functions and classes among what a layer or the settings of `compile` hold, by the names
    under which a configuration calls them."""
    found: dict[str, Any] = {}
    for value in leaves(list(held.values())):
        for one in (value, type(value)):
            if callable(one) and hasattr(one, "__name__"):
                found[one.__name__] = one
    return found


def same_function(layer: Any, config: dict[str, Any]) -> Any:
    """A new Lambda layer of the same function, which no file could hold."""
    known = {name: config[name] for name in ("name", "trainable", "dtype") if name in config}
    return type(layer)(
        layer.function,
        output_shape=layer._output_shape,
        mask=layer.mask,
        arguments=layer.arguments,
        **known,
    )
