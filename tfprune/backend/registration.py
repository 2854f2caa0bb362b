# SPDX-License-Identifier: Apache-2.0
"""Makes saved models loadable without custom_objects, without importing any Keras.

Each Keras that is already loaded gets stand-in classes whose `from_config` imports the real ones;
a real class takes its place as soon as it is imported.
"""

from __future__ import annotations

import functools
import importlib
import sys

# The module of each wrapper class, with the prefix of the Keras in its place.
_MODULES = {
    "PrunedLayer": "tfprune.training.{}_layer",
    "JointLayer": "tfprune.quantization.{}_layers",
    "QuantizedLayer": "tfprune.quantization.{}_layers",
    "ShrunkLayer": "tfprune.surgery.shrunk_layer",
}
_PREFIXES = {"keras": "keras3", "tf_keras": "tf_keras"}


@functools.cache
def wrapper_class(package: str, kind: str) -> type:
    """A wrapper class of one Keras, such as `("keras", "PrunedLayer")`, imported now."""
    return getattr(importlib.import_module(_MODULES[kind].format(_PREFIXES[package])), kind)


def register_loaded() -> None:
    """Register the stand-ins in each Keras that this process has loaded."""
    for package in _PREFIXES:
        module = sys.modules.get(package)
        if module is not None and hasattr(module, "saving"):
            register(package)


def register(package: str) -> None:
    """Register the stand-ins in one Keras, unless the real classes are there already."""
    for kind in _MODULES:
        stand_in = _stand_in(package, kind)
        for name in _names(package, kind):
            _objects(package).setdefault(name, stand_in)


def register_real(package: str, cls: type) -> type:
    """Register a real wrapper class in place of its stand-in."""
    first, *_ = names = _names(package, cls.__name__)
    for name in names:
        _objects(package)[name] = cls
    _objects(package).pop(first)
    return sys.modules[package].saving.register_keras_serializable(package="tfprune")(cls)


def register_again(package: str, cls: type, kind: str) -> None:
    """Let another class be written under the name of a stand-in, which goes on reading it."""
    kept = {name: _objects(package).pop(name, None) for name in _names(package, kind)}
    saving = sys.modules[package].saving
    saving.register_keras_serializable(package="tfprune", name=kind)(cls)
    _objects(package).update((name, one) for name, one in kept.items() if one is not None)


def _names(package: str, kind: str) -> tuple[str, ...]:
    # A model in a model is written to h5 by tf_keras with the class name only.
    return (f"tfprune>{kind}", kind) if package == "tf_keras" else (f"tfprune>{kind}",)


def _objects(package: str) -> dict:
    return sys.modules[package].saving.get_custom_objects()


def _stand_in(package: str, kind: str) -> type:
    class StandIn:
        """Stands for a wrapper layer of tfprune until it is needed."""

        @classmethod
        def from_config(cls, config, custom_objects=None):
            return wrapper_class(package, kind).from_config(config, custom_objects)

    StandIn.__name__ = StandIn.__qualname__ = kind
    return StandIn
