# SPDX-License-Identifier: Apache-2.0
"""Layers of the user's own with smaller layers inside than their settings say, in saved files."""

from __future__ import annotations

import functools
from typing import Any

from tfprune.backend import get
from tfprune.backend.base import Backend
from tfprune.backend.registration import register_again
from tfprune.backend.substitute import replaced
from tfprune.layers.graph import mapped


class ShrunkLayer:
    """How such a layer is made from a file: as its class makes it, then with other parts."""

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> Any:
        """The layer, an instance of the user's class.

        Args:
            config: "package" of its Keras, "layer" as its class says it, "parts" by the names of
                attributes, and "sizes", other values of attributes.
        """
        backend = get(config["package"])
        make = functools.partial(
            backend.keras.saving.deserialize_keras_object, custom_objects=custom_objects
        )
        layer = make(config["layer"])
        backend.put_layers(layer, {name: make(one) for name, one in config["parts"].items()})
        before = {name: vars(layer)[name] for name in config["sizes"]}
        for name, value in config["sizes"].items():
            setattr(layer, name, value)
        return shrunk(layer, backend, tuple(config["parts"]), before)


def shrunk(layer: Any, backend: Backend, parts: tuple[str, ...], before: dict[str, Any]) -> Any:
    """The same layer, whose settings name its parts and sizes from now on.

    Args:
        layer: of a class of the user's.
        backend: of its Keras.
        parts: the names of attributes with layers.
        before: other attributes that were changed, as its class makes them.
    """
    own: Any = type(layer)
    own = own.__mro__[1] if issubclass(own, ShrunkLayer) else own
    object.__setattr__(layer, "_shrunk", (parts, tuple(before.items())))
    object.__setattr__(layer, "__class__", _class_of(own, backend.NAME))
    return layer


@functools.cache
def _class_of(own: type, package: str) -> type:
    """The user's class, with settings that name parts and sizes."""
    backend = get(package)
    serialize = backend.keras.saving.serialize_keras_object

    def get_config(self) -> dict[str, Any]:
        kind = type(self)
        parts, before = vars(self)["_shrunk"]
        sizes = {name: vars(self)[name] for name, _ in before}
        object.__setattr__(self, "__class__", own)
        try:
            with replaced((self, *one) for one in before):
                layer = serialize(self)
        finally:
            object.__setattr__(self, "__class__", kind)
        layer.pop("build_config", None)
        held = {name: mapped(vars(self)[name], backend.Layer, lambda one: one) for name in parts}
        return {
            "package": package,
            "layer": layer,
            "parts": {name: serialize(value) for name, value in held.items()},
            "sizes": sizes,
        }

    members = {
        "get_config": get_config,
        "from_config": ShrunkLayer.from_config,
        "__module__": own.__module__,
        "__qualname__": own.__qualname__,
        "__doc__": own.__doc__,
    }
    cls = type(own.__name__, (own, ShrunkLayer), members)
    register_again(package, cls, "ShrunkLayer")
    return cls
