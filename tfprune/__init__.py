# SPDX-License-Identifier: Apache-2.0
"""Pruning for Keras: choose what to cut, train it, strip it.

Importing this package imports neither Keras nor TensorFlow nor TF-MOT: each name is loaded when it
is first used, and which Keras is meant is decided from the objects passed in.
"""

from __future__ import annotations

import importlib

from tfprune.backend import registration
from tfprune.masks import serialization
from tfprune.output.caller_warning import warn_renamed
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
    "tfprune.channels.groups": ("ChannelGroup", "channel_groups"),
    "tfprune.evaluation.backselect": ("informative_features",),
    "tfprune.evaluation.compare": ("compare",),
    "tfprune.evaluation.comparison": ("Comparison",),
    "tfprune.evaluation.corruptions": ("corrupt",),
    "tfprune.evaluation.curve": ("Curve", "curve"),
    "tfprune.evaluation.potential": ("potential",),
    "tfprune.evaluation.potential_report": ("PotentialReport",),
    "tfprune.evaluation.settings": ("Evaluation",),
    "tfprune.layers.base": ("KernelSpec", "LayerKind"),
    "tfprune.layers.register_layer": ("register_layer",),
    "tfprune.masks.allocations": (
        "ERK",
        "Global",
        "LAMP",
        "PFP",
        "PerSite",
        "CostAware",
        "Uniform",
    ),
    "tfprune.masks.resolved_schedule": ("Epochs",),
    "tfprune.masks.schedules": (
        "Constant",
        "Exponential",
        "FixedMask",
        "OneShot",
        "Polynomial",
        "StepwiseRemoval",
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
    "tfprune.methods": ("get_method", "list_methods"),
    "tfprune.methods.base": ("Method", "TopKRule"),
    "tfprune.methods.gates": (
        "Annealed",
        "WeightDecayGate",
        "GumbelTopKGate",
        "MaskGate",
        "Gate",
        "RegrowthGate",
        "MovementGate",
        "StochasticGate",
        "SoftThresholdGate",
    ),
    "tfprune.methods.rules.drop_probability": ("DropProbabilityRule",),
    "tfprune.methods.rules.importance_sampling": ("ImportanceSamplingRule",),
    "tfprune.methods.rules.regrow": ("RegrowRule",),
    "tfprune.methods.rules.threshold": ("ThresholdRule",),
    "tfprune.methods.rules.topk_logits": ("TopKLogitsRule",),
    "tfprune.methods.score": ("Score",),
    "tfprune.quantization.quantize_aware": ("quantize_aware",),
    "tfprune.quantization.settings": ("QuantizationConfig", "DJPQConfig"),
    "tfprune.reconstruction": ("ADMM", "ADMMPenalty", "SyntheticInputs"),
    "tfprune.statistics.calibration_data": ("CalibrationData",),
    "tfprune.surgery.budget": ("Budget",),
    "tfprune.surgery.history": ("PruningRecord",),
    "tfprune.surgery.scaled_models": ("scaled_models",),
    "tfprune.surgery.shrink": ("reinitialize", "shrink"),
    "tfprune.surgery.shrink_to": ("shrink_to",),
    "tfprune.training.callback": ("PruningCallback",),
    "tfprune.training.lottery_ticket": ("find_lottery_ticket",),
    "tfprune.training.report": ("Report",),
    "tfprune.training.sparsity_log": ("SparsityLog",),
}
_RENAMED = {
    "Chances": "DropProbabilityRule",
    "Course": "Annealed",
    "Data": "CalibrationData",
    "Decaying": "WeightDecayGate",
    "Draw": "ImportanceSamplingRule",
    "Drawn": "GumbelTopKGate",
    "FakeQuantization": "QuantizationConfig",
    "Fixed": "MaskGate",
    "Growing": "RegrowthGate",
    "Held": "FixedMask",
    "Joint": "DJPQConfig",
    "Logits": "TopKLogitsRule",
    "Moving": "MovementGate",
    "Penalty": "ADMMPenalty",
    "Priced": "CostAware",
    "Rank": "TopKRule",
    "Record": "PruningRecord",
    "Regrowth": "RegrowRule",
    "Removal": "StepwiseRemoval",
    "Sampled": "StochasticGate",
    "Soft": "SoftThresholdGate",
    "Synthetic": "SyntheticInputs",
    "Threshold": "ThresholdRule",
    "family": "scaled_models",
    "get": "get_method",
    "lottery": "find_lottery_ticket",
}
"""Names of earlier versions, which warn."""

_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name == "methods":  # a package that can be called
        return importlib.import_module("tfprune.methods")
    if name in _RENAMED:
        warn_renamed(f"tfprune.{name}", f"tfprune.{_RENAMED[name]}")
        return getattr(importlib.import_module(__name__), _RENAMED[name])
    if name not in _HOME:
        raise AttributeError(f"module 'tfprune' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_HOME})


def _tfmot_schedule(name: str) -> type:
    from tfprune.training.tfmot_words import schedule_class

    return schedule_class(name)


def _load_setting(name: str) -> None:
    """Loads the file that registers a public setting; for a part of a method all methods."""
    public = _RENAMED.get(name, name)
    if public in _HOME:
        importlib.import_module(_HOME[public])
    else:
        tuple(importlib.import_module("tfprune.methods").REGISTRY.values())


registration.register_loaded()
serialization.add_fallback(_tfmot_schedule)
serialization.add_fallback(_load_setting)
