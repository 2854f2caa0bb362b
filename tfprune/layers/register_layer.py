# SPDX-License-Identifier: Apache-2.0
"""The public way to say what a layer of one's own does."""

from __future__ import annotations

from typing import Any

from tfprune.layers.base import UNKNOWN, LayerKind, kind_of_class, register_class
from tfprune.layers.elementwise import same


def register_layer(
    layer: type,
    *,
    elementwise: bool = False,
    like: type | None = None,
    kind: LayerKind | None = None,
) -> type:
    """Say what layers of a class of your own do, for all models of this process.

    Most layers need no word: what they do in their `call` is looked into. Say it of layers with
    kernels that they use themselves, and of those whose `call` does not run on symbolic tensors.

    Args:
        layer: the class, a layer of Keras 3 or tf_keras. Classes below it are the same, unless
            they change a method.
        elementwise: each value that comes out depends on the one at its place alone.
        like: a class of Keras, or one that is registered, whose variables and settings it has
            under the same names: what can be pruned in it, and how it is made smaller.
        kind: all that is known of it.

    Returns:
        The class, so that it can be used as a decorator with `functools.partial`.

    Raises:
        TypeError: `layer` or `like` is no class of layers, `kind` is no LayerKind.
        ValueError: not exactly one of the three is given; nothing is known of `like`.

    Example:
        >>> import keras, tfprune
        >>> class MyDense(keras.layers.Layer):
        ...     def __init__(self, units, **settings):
        ...         super().__init__(**settings)
        ...         self.units, self.activation = units, keras.activations.linear
        ...     def build(self, shape):
        ...         self.kernel = self.add_weight(shape=(shape[-1], self.units))
        ...     def call(self, inputs):
        ...         return keras.ops.matmul(inputs, self.kernel)
        ...     def get_config(self):
        ...         return {**super().get_config(), "units": self.units}
        >>> MyDense = tfprune.register_layer(MyDense, like=keras.layers.Dense)
        >>> model = keras.Sequential([keras.Input((4,)), MyDense(8, name="own"),
        ...                           keras.layers.Dense(2, name="last")])
        >>> [str(group) for group in tfprune.channel_groups(model) if group.prunable]
        ['own: 8 channels, own out -> last in']
    """
    for name, value in (("layer", layer), ("like", like)):
        if value is not None and not _is_layer(value):
            raise TypeError(
                f"{name}={value!r}: expected a class of layers, such as keras.layers.Dense; of a "
                "layer pass type(layer)."
            )
    if kind is not None and not isinstance(kind, LayerKind):
        raise TypeError(f"kind={kind!r}: expected a tfprune.LayerKind.")
    given = [elementwise, like is not None, kind is not None]
    if sum(map(bool, given)) != 1:
        raise ValueError(
            f"What does {layer.__name__} do? Pass one of elementwise=True, like=a class of layers "
            "that is known, or kind=LayerKind(...)."
        )
    if elementwise:
        kind = LayerKind(propagate=same)
    elif like is not None:
        kind = kind_of_class(like)
        if kind is UNKNOWN:
            raise ValueError(
                f"like={like.__name__}: nothing is known of it. Pass a class of Keras, such as "
                "keras.layers.Conv2D, or kind=LayerKind(...)."
            )
    register_class(layer, kind or UNKNOWN)
    return layer


def _is_layer(value: Any) -> bool:
    packages = ("keras", "tf_keras")
    return isinstance(value, type) and any(
        cls.__name__ == "Layer" and cls.__module__.split(".")[0] in packages
        for cls in value.__mro__
    )
