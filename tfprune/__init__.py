# SPDX-License-Identifier: Apache-2.0
"""Pruning for Keras: choose what to cut, train it, strip it.

Importing this package imports neither Keras nor TensorFlow nor TF-MOT: each name is loaded when it
is first used, and which Keras is meant is decided from the objects passed in.
"""

from __future__ import annotations

import importlib
import sys

from tfprune.backend import registration
from tfprune.masks import serialization
from tfprune.output.caller_warning import warn_renamed
from tfprune.output.moved_modules import MovedModules
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
    "tfprune.evaluation.sensitivity": ("sensitivity",),
    "tfprune.evaluation.sensitivity_report": ("SensitivityReport",),
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
    "tfprune.reconstruction.recalibrate": ("recalibrate",),
    "tfprune.reconstruction.recalibration_report": ("RecalibrationReport",),
    "tfprune.reconstruction.reconstruct": ("reconstruct",),
    "tfprune.reconstruction.refit_report": ("RefitReport",),
    "tfprune.statistics.calibration_data": ("CalibrationData",),
    "tfprune.surgery.budget": ("Budget",),
    "tfprune.surgery.history": ("PruningRecord",),
    "tfprune.surgery.scaled_models": ("scaled_models",),
    "tfprune.surgery.shrink": ("reinitialize", "shrink"),
    "tfprune.surgery.shrink_to": ("shrink_to",),
    "tfprune.training.callback": ("PruningCallback",),
    "tfprune.training.distillation": ("Distillation",),
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

_MOVED = {
    "admm": "",
    "admm.settings": "",
    "allocations": "masks.allocations",
    "allocations.base": "masks.allocations.base",
    "allocations.erdos_renyi": "",
    "allocations.per_site": "",
    "allocations.priced": "",
    "allocations.provable": "",
    "allocations.rankings": "",
    "batches": "",
    "callbacks": "",
    "gates": "methods.gates",
    "gates.base": "methods.gates.base",
    "gates.course": "",
    "gates.decaying": "",
    "gates.drawn": "",
    "gates.fixed": "",
    "gates.growing": "",
    "gates.moving": "",
    "gates.sampled": "",
    "gates.soft": "",
    "joint": "",
    "joint.settings": "",
    "methods.admm": "reconstruction.admm",
    "methods.chances": "",
    "methods.draws": "",
    "methods.logits": "",
    "methods.regrowth": "",
    "methods.thresholds": "",
    "methods.told": "methods.rules.learned_mask",
    "patterns": "masks.pattern_library",
    "quantized": "",
    "quantized.settings": "",
    "quantized.wrapping": "",
    "reports": "training.report",
    "rewinding": "",
    "schedules": "masks.schedules",
    "sparsity_log": "",
    "structures": "masks.structures",
    "structures.base": "masks.structures.base",
    "structures.blocks": "",
    "structures.entries": "",
    "structures.pattern": "",
    "structures.rows": "",
    "structures.slices": "",
    "surgery.family": "",
    "surgery.groups": "channels.groups",
    "surgery.record": "",
    "surgery.shrinking": "",
    "surgery.shrinking_to": "",
}
"""Modules that public names had in earlier versions, which programs and pickles may name, each with
the one that has now what else was asked of it."""

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
sys.meta_path.append(
    MovedModules({f"{__name__}.{old}": new and f"{__name__}.{new}" for old, new in _MOVED.items()})
)
serialization.add_fallback(_tfmot_schedule)
serialization.add_fallback(_load_setting)
