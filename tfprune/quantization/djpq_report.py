# SPDX-License-Identifier: Apache-2.0
"""Report lines of a model under joint pruning and quantization."""

from __future__ import annotations

from typing import Any, Iterator

import numpy as np

from tfprune.backend.model_view import ModelView
from tfprune.quantization.bop_loss import Price, whole_bits
from tfprune.quantization.djpq_placement import Work
from tfprune.quantization.djpq_training import price_of

_EXPONENT = 0.995  # a power nearer to 1 than this is 1, up to rounding


def report_lines(view: ModelView) -> dict[str, tuple[str, ...]]:
    """Texts by the name of the site; under "" what is said of the whole model."""
    price = price_of(view)
    held = {work.site.name: tuple(_of_layer(work, price)) for work in price.places.works}
    whole = [
        f"{100 * price.relative(whole=True):.3f} % of the bit operations in float32 without "
        "pruning, with bits rounded up; layers that are not quantized are not counted"
    ]
    if price.gate.activations:
        whole.append(
            "strip_pruning(model) has quantized weights and float activations; the "
            "wrapped model and strip_pruning(model, keep_activation_quantizers=True) compute with "
            "the bits and ranges of the inputs given above"
        )
    whole += [f"{skip.name}: {skip.reason}" for skip in price.places.skipped]
    return {**held, "": tuple(whole)}


def _of_layer(work: Work, price: Price) -> Iterator[str]:
    core = price.wrapped[id(work.layer)]
    weights, inputs = price.widths(work)
    step, top, power, _ = (float(one) for one in core.weights.settings())
    scale = float(np.max(core.scale.numpy()))
    yield (
        f"weights {_bits(weights)}, largest {_range(scale * top)}, step "
        f"{_range(scale * step)}{_power(power)}"
    )
    if core.inputs is not None:
        step, top, power, _ = (float(one) for one in core.inputs.settings())
        reach = float(core.range.numpy())
        low = "" if not core.inputs.signed else "-"
        yield (
            f"inputs {_bits(inputs)}, from {low + _range(reach * top) if low else 0} to "
            f"{_range(reach * top)}{_power(power)}"
        )
    powers = [float(one.settings()[2]) for one in (core.weights, core.inputs) if one is not None]
    yield _runtime(whole_bits(weights), whole_bits(inputs), any(map(_power, powers)))


def _bits(width: Any) -> str:
    exact = float(width)
    whole = whole_bits(exact)
    return f"{whole} bits" if abs(whole - exact) < 1e-2 else f"{whole} bits ({exact:.2f})"


def _range(value: float) -> str:
    return f"{value:.4g}"


def _power(power: float) -> str:
    """In words, unless it is 1."""
    return "" if abs(power - 1) < 1 - _EXPONENT else f", power {power:.3f}"


def _runtime(weights: int, inputs: int, power: bool) -> str:
    """Where a runtime has this type."""
    if power:
        return "no runtime has this type: values were raised to a power, an affine type has t = 1"
    if weights > 8 or inputs > 16:
        return "no integer kernel of TFLite has this type: it stays float"
    if inputs > 8:
        return "fits 16x8 (int16 activations, int8 weights)"
    if weights > 4:
        return "fits int8"
    return (
        "fits int8, and in half the bytes int4, which TFLite's convolutions and fully "
        "connected layers read; fewer bits than 4 no runtime stores"
    )
