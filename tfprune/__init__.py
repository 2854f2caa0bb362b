# SPDX-License-Identifier: Apache-2.0
"""Pruning for Keras: choose what to cut, train it, strip it.

Importing this package imports neither Keras nor TensorFlow nor TF-MOT: each name is loaded when it
is first used, and which Keras is meant is decided from the objects passed in.
"""

from __future__ import annotations

import importlib

from tfprune.backend import registration
from tfprune.masks import serialization
from tfprune.output.version import VERSION as __version__

_HOMES = {
    "tfprune.api": (
        "load_model",
        "mine_patterns",
        "prune",
        "prune_low_magnitude",
        "report",
        "sparsify",
        "strip_pruning",
    ),
    "tfprune.channels.grouping": ("channel_groups",),
    "tfprune.channels.groups": ("ChannelGroup",),
    "tfprune.evaluation.backselect": ("informative_features",),
    "tfprune.evaluation.compare": ("compare",),
    "tfprune.evaluation.comparison": ("Comparison",),
    "tfprune.evaluation.corruptions": ("corrupt",),
    "tfprune.evaluation.curve": ("Curve", "curve"),
    "tfprune.evaluation.potential": ("potential",),
    "tfprune.evaluation.potential_report": ("PotentialReport",),
    "tfprune.evaluation.settings": ("Evaluation",),
    "tfprune.masks.allocations": ("ERK", "Global", "LAMP", "PFP", "PerSite", "Priced", "Uniform"),
    "tfprune.masks.schedule_times": ("Epochs",),
    "tfprune.masks.schedules": (
        "Constant",
        "Exponential",
        "Held",
        "OneShot",
        "Polynomial",
        "Removal",
    ),
    "tfprune.masks.structures": (
        "Block",
        "Channel",
        "Column",
        "Element",
        "Filter",
        "Kernel",
        "NofM",
        "Pattern",
        "Rows",
    ),
    "tfprune.methods": (
        "Chances",
        "Draw",
        "Logits",
        "Method",
        "Rank",
        "Regrowth",
        "Score",
        "Threshold",
        "get",
    ),
    "tfprune.methods.gates": (
        "Course",
        "Decaying",
        "Drawn",
        "Fixed",
        "Gate",
        "Growing",
        "Moving",
        "Sampled",
        "Soft",
    ),
    "tfprune.quantization.quantize_aware": ("quantize_aware",),
    "tfprune.quantization.settings": ("FakeQuantization", "Joint"),
    "tfprune.reconstruction": ("ADMM", "Penalty", "Synthetic"),
    "tfprune.statistics.calibration_data": ("Data",),
    "tfprune.surgery.budget": ("Budget",),
    "tfprune.surgery.history": ("Record",),
    "tfprune.surgery.scaled_models": ("family",),
    "tfprune.surgery.shrink": ("reinitialize", "shrink"),
    "tfprune.surgery.shrink_to": ("shrink_to",),
    "tfprune.training.callback": ("PruningCallback",),
    "tfprune.training.lottery_ticket": ("lottery",),
    "tfprune.training.report": ("Report",),
    "tfprune.training.sparsity_log": ("SparsityLog",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME, "methods"])


def __getattr__(name: str):
    if name == "methods":  # a package that can be called
        return importlib.import_module("tfprune.methods")
    if name not in _HOME:
        raise AttributeError(f"module 'tfprune' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_HOME})


def _tfmot_schedule(name: str) -> type:
    from tfprune.training.tfmot_schedules import schedule_class

    return schedule_class(name)


registration.register_loaded()
serialization.set_fallback(_tfmot_schedule)
