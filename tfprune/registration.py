"""Makes saved models loadable without custom_objects, without importing any Keras.

Each Keras that is already loaded gets a stand-in class whose `from_config` imports the real one;
the real class takes its place as soon as it is imported.
"""

from __future__ import annotations

import sys

NAME = "tfprune>PrunedLayer"
_WRAPPERS = {"keras": "keras3_wrapper", "tf_keras": "tf_keras_wrapper"}
# A model in a model is written to h5 by tf_keras with the class name only.
_NAMES = {"keras": (NAME,), "tf_keras": (NAME, "PrunedLayer")}


def register_loaded() -> None:
    """Register the stand-in in each Keras that this process has loaded."""
    for package in _WRAPPERS:
        module = sys.modules.get(package)
        if module is not None and hasattr(module, "saving"):
            register(package)


def register(package: str) -> None:
    """Register the stand-in in one Keras, unless the real class is there already."""
    stand_in = _stand_in(package)
    for name in _NAMES[package]:
        _objects(package).setdefault(name, stand_in)


def register_real(package: str, cls: type) -> type:
    """Register the real wrapper class in place of the stand-in."""
    for name in _NAMES[package]:
        _objects(package)[name] = cls
    _objects(package).pop(NAME)
    return sys.modules[package].saving.register_keras_serializable(package="tfprune")(cls)


def _objects(package: str) -> dict:
    return sys.modules[package].saving.get_custom_objects()


def _stand_in(package: str) -> type:
    class PrunedLayer:
        """Stands for tfprune's wrapper layer until it is needed."""

        @classmethod
        def from_config(cls, config, custom_objects=None):
            import importlib

            from tfprune.adapters import adapter

            adapter(package)
            home = importlib.import_module(f"tfprune.adapters.{_WRAPPERS[package]}")
            return home.PrunedLayer.from_config(config, custom_objects)

    return PrunedLayer
