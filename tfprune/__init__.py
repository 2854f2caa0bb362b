# SPDX-License-Identifier: Apache-2.0
"""Pruning for Keras: choose what to cut, train it, strip it.

Importing this package imports neither Keras nor TensorFlow nor TF-MOT: each name is loaded when it
is first used, and which Keras is meant is decided from the objects passed in.
"""

from __future__ import annotations

import importlib

from tfprune import registration

__version__ = "0.1.0"

_HOMES = {
    "tfprune.admm": ("ADMM", "Penalty", "Synthetic"),
    "tfprune.allocations": ("ERK", "Global", "LAMP", "PFP", "PerSite", "Priced", "Uniform"),
    "tfprune.api": ("load_model", "prune", "prune_low_magnitude", "report", "sparsify",
                    "strip_pruning"),
    "tfprune.batches": ("Data",),
    "tfprune.callbacks": ("PruningCallback",),
    "tfprune.evaluation.backselect": ("informative_features",),
    "tfprune.evaluation.corruptions": ("corrupt",),
    "tfprune.evaluation.curve": ("Curve", "curve"),
    "tfprune.evaluation.compare": ("compare",),
    "tfprune.evaluation.comparison": ("Comparison",),
    "tfprune.evaluation.potential": ("potential",),
    "tfprune.evaluation.potential_report": ("PotentialReport",),
    "tfprune.evaluation.settings": ("Evaluation",),
    "tfprune.gates": ("Course", "Decaying", "Drawn", "Fixed", "Gate", "Growing", "Moving",
                      "Sampled", "Soft"),
    "tfprune.joint.settings": ("Joint",),
    "tfprune.methods": ("Chances", "Draw", "Logits", "Method", "Rank", "Regrowth", "Score",
                        "Threshold", "get"),
    "tfprune.quantized.settings": ("FakeQuantization",),
    "tfprune.quantized.wrapping": ("quantize_aware",),
    "tfprune.reports": ("Report",),
    "tfprune.rewinding": ("lottery",),
    "tfprune.schedules": ("Constant", "Epochs", "Exponential", "Held", "OneShot", "Polynomial",
                          "Removal"),
    "tfprune.sparsity_log": ("SparsityLog",),
    "tfprune.structures": (
        "Block", "Channel", "Column", "Element", "Filter", "Kernel", "NofM", "Pattern",
        "Rows",
    ),
    "tfprune.surgery.budget": ("Budget",),
    "tfprune.surgery.family": ("family",),
    "tfprune.surgery.groups": ("ChannelGroup", "channel_groups"),
    "tfprune.surgery.record": ("Record",),
    "tfprune.surgery.shrinking": ("reinitialize", "shrink"),
    "tfprune.surgery.shrinking_to": ("shrink_to",),
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


registration.register_loaded()
