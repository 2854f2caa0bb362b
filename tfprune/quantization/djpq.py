# SPDX-License-Identifier: Apache-2.0
"""DJPQ: channels and bit widths are learned together, under one price for bit operations."""

from __future__ import annotations

from typing import Any, cast

from tfprune.backend.base import Backend
from tfprune.backend.model_view import ModelView
from tfprune.backend.registration import wrapper_class
from tfprune.masks.schedules import OneShot
from tfprune.masks.structures import Filter
from tfprune.methods.base import Method
from tfprune.methods.magnitude import magnitude
from tfprune.methods.rules.learned_mask import Told
from tfprune.quantization import djpq_export, djpq_report, djpq_training
from tfprune.quantization.djpq_placement import places
from tfprune.quantization.settings import DJPQConfig
from tfprune.training.model_hooks import ModelHooks
from tfprune.training.wrap import exchanged, refuse_lost_training, refuse_wrapped


def insert(to_prune: Any, backend: Backend, method: Method) -> Any:
    """The wrapped model; before it is trained it computes what the plain one does.

    Raises:
        ValueError: a layer or a list of layers; a subclassed or unbuilt model; a model that is
            wrapped already; nothing to quantize; a train_step that would be lost.
    """
    if not backend.is_model(to_prune):
        raise ValueError(
            f"{method.name!r} prices the bit operations of a whole model and needs to know "
            "what reads what, so it cannot wrap layers one by one: pass the functional or "
            "Sequential model that holds them."
        )
    view = ModelView(to_prune, backend)
    refuse_wrapped(view)
    parts = places(view, cast(DJPQConfig, method.gate).activations).parts
    kind = wrapper_class(backend.NAME, "JointLayer")

    def make(layer: Any) -> Any:
        part = parts.get(id(layer))
        return layer if part is None else kind(layer, method=method, part=part)

    wrapped = exchanged(to_prune, backend, make)
    refuse_lost_training(to_prune, wrapped)
    return wrapped


def _untraced(view: ModelView) -> str:
    return "gates stand between the layers of the wrapped model: ask after strip_pruning"


HOOKS = ModelHooks(
    insert=insert,
    begin=djpq_training.begin,
    finish=djpq_training.finish,
    strip=djpq_training.before_strip,
    keep_rounding=djpq_export.rounding,
    report_lines=djpq_report.report_lines,
    traced=_untraced,
)

djpq = Method(
    name="djpq",
    rule=Told(magnitude.rule.score, Filter()),
    gate=DJPQConfig(),
    schedule=OneShot(0.0),
    paper="Y. Wang, Y. Lu, T. Blankevoort, 'Differentiable Joint Pruning and Quantization for "
    "Hardware Efficiency', 2020, arXiv 2007.10463",
)
"""Wrap the whole model, `prune(model, "djpq")`, and train it with `PruningCallback()`.

How much goes is not asked for as a sparsity, but by the strengths of the gate:
`get_method("djpq", gate=DJPQConfig(bops=2.0))`. A price raised from zero over `ramp` steps; dense
weights until the end of `fit`, where gates are folded, dropped channels masked and weights
quantized.
"""
