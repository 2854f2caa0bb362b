# SPDX-License-Identifier: Apache-2.0
"""`quantize_aware`: a model whose layers compute on the grids of integer inference."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfprune.backend import adapter_of
from tfprune.backend.model_view import ModelView
from tfprune.backend.registration import wrapper_class
from tfprune.layers.base import has
from tfprune.quantization.settings import QuantizationConfig
from tfprune.quantization.supported_layers import kernels, left_out, refusal
from tfprune.training.model_hooks import ModelHooks
from tfprune.training.strip import strip
from tfprune.training.wrap import exchanged, refuse_lost_training


def quantize_aware(model: Any, settings: QuantizationConfig | None = None) -> Any:
    """Make a model feel int8 while it is fine-tuned, with its zeros kept at zero.

    A kernel W with mask M = (W != 0), taken now, and a tensor x that a layer reads are seen as

        W_q = s round(W M / s),  s = max|W M| / 127 for each output channel
        x_q = t (clip(round(x / t) + z, 0, 255) - z),  t = (b - a) / 255,  z = round(-a / t)

    at 8 bits; [a, b] is a running mean of the lowest and highest value of a batch, with zero in
    it. Rounding is straight through, so gradients of removed weights are exactly zero, and the
    weights stay exactly zero with any optimizer that starts afresh, weight decay or regularizer.
    These are the grids of `tflite_export.export(..., quantize="int8")`, and with
    `QuantizationConfig(weights=4)` those of "int4", but for what such a file keeps in 8 bits
    (depthwise kernels). The range of activations is there that of the data.

    Compile the result and train it as any model, in `fit` or a loop of your own, without a
    callback. `tfprune.strip_pruning` gives the plain model; `tflite_export.export` and
    `tfprune.report`, which names what stays in float and why, take either.

    Quantized are the kernels of Dense, Conv1D to 3D, depthwise, separable and transposed layers,
    what they read, and what Add, Subtract, Multiply, Average, Maximum, Minimum, Concatenate and
    average poolings read. Activations are in float until the first training step; evaluation
    takes the ranges as they are. A layer that is called more than once has one range for all its
    calls; under a `tf.distribute` strategy ranges are means over the replicas. In float here, but
    not in the file: what a separable layer hands from its first kernel to its second, the inputs
    of normalizations and activations that are not fused with a kernel, and the outputs. The other
    way round TFLite keeps Conv3D and its transpose in float.

    Args:
        model: functional or Sequential, built, of keras or tf_keras, dense or pruned; nested
            models, too. Its layers are shared with the result, not copied. Pruning wrappers are
            taken off.
        settings: bits and momentum; 8 bits by default.

    Returns:
        A model of the same kind, not compiled.

    Raises:
        ValueError: a layer, or a subclassed or unbuilt model; one that is quantization-aware
            already; one without anything to quantize; one whose own train_step would be lost.
        TypeError: not a Keras model; other settings.

    Paper: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", CVPR 2018, arXiv 1712.05877.

    Example:
        >>> import keras, numpy as np, tfprune
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="d")])
        >>> tfprune.sparsify(model, "magnitude", 0.5).kept
        4
        >>> aware = quantize_aware(model)
        >>> aware.compile("adam", "mse")
        >>> _ = aware.fit(np.ones((8, 4)), np.ones((8, 2)), epochs=2, verbose=0)
        >>> int(np.count_nonzero(tfprune.strip_pruning(aware).get_layer("d").kernel))
        4
    """
    settings = _checked(settings)
    backend = adapter_of(model)
    view = ModelView(model, backend)
    _refuse(view)
    plain = strip(view)
    wrapper = wrapper_class(backend.NAME, "QuantizedLayer")

    def wrap(layer: Any) -> Any:
        left = not has(layer, "quantizable") or refusal(layer, backend) is not None
        return layer if left else wrapper(layer, settings)

    with backend.strategy(plain).scope():
        aware = exchanged(plain, backend, wrap)
    if not any(kernels(one.layer, backend) for one in wrappers(view.at(aware))):
        reasons = "; ".join(f"{skip.name} ({skip.reason})" for skip in left_out(view.at(plain)))
        raise ValueError(
            f"The model {model.name!r} has no kernel to quantize: "
            f"{reasons or 'none of its layers has one'}."
        )
    wrap_first = "tfprune.quantize_aware(keras.Model(inputs, outputs))"
    refuse_lost_training(model, aware, wrap=wrap_first, else_do="")
    return aware


def _checked(settings: Any) -> QuantizationConfig:
    if settings is None:
        return QuantizationConfig()
    if not isinstance(settings, QuantizationConfig):
        raise TypeError(
            f"settings={settings!r}: expected a tfprune.QuantizationConfig, for example "
            "tfprune.QuantizationConfig(weights=8, activations=8)."
        )
    return settings


def _refuse(view: ModelView) -> None:
    model = view.model
    if not view.is_model:
        name = type(model).__name__
        raise ValueError(
            f"quantize_aware got a {name}, expected a model: pass the functional or "
            "Sequential model that holds the layer."
        )
    if not view.has_graph:
        raise ValueError(
            f"{type(model).__name__} is a subclassed model, whose layers cannot be exchanged: "
            "build a functional model of the same layers, x = keras.Input(...) and "
            "keras.Model(x, model.call(x)), and pass that."
        )
    if not view.is_built:
        raise ValueError(
            f"The model {model.name!r} has no weights, so there is nothing to "
            "quantize. If it is not built yet, call it on a batch first."
        )
    if wrappers(view):
        raise ValueError(
            f"The model {model.name!r} is quantization-aware already: train it on as "
            "it is, or tfprune.strip_pruning(model) first to choose other settings."
        )


def wrappers(view: ModelView) -> list[Any]:
    """The wrappers of quantization-aware fine-tuning below a layer or a model, each once."""
    found = (one for one in view.all_wrappers if view.backend.is_quantized(one))
    return list(dict.fromkeys(found))


def _refuse_pruning(wrapper: Any) -> None:
    raise ValueError(
        f"The layer {wrapper.layer.name!r} is wrapped by tfprune.quantize_aware, which keeps the "
        "zeros that it found: prune first, and make the pruned model quantization-aware then; or "
        "tfprune.strip_pruning(model) first."
    )


def _apply_masks(view: ModelView) -> None:
    for wrapper in wrappers(view):
        wrapper.core.apply_masks()


def _report_lines(view: ModelView) -> dict[str, tuple[str, ...]]:
    found = wrappers(view)
    settings = found[0].core.settings
    count = sum(len(kernels(one.layer, view.backend)) for one in found)
    text = f"quantization-aware: {count} kernels see {settings.weights} bits per output channel"
    if settings.activations:
        known = [
            row[1] > row[0]
            for one in found
            for row in np.asarray(view.backend.value(one.core.ranges))
        ]
        text += (
            f", {len(known)} activations see "
            f"{settings.activations} bits ({sum(known)} ranges are known)"
        )
    floats = (f"in float: {skip.name} ({skip.reason})" for skip in left_out(view))
    return {"": (text, *floats)}


HOOKS = ModelHooks(
    refuse_pruning=_refuse_pruning,
    strip=_apply_masks,
    report_lines=_report_lines,
    traced=strip,  # a probe of the paths is out of the range of activations
)
