# SPDX-License-Identifier: Apache-2.0
"""`advise`: what to change in a Keras model, and what to prune, so that XNNPACK skips its zeros."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import tfprune
from tflite_export.convert.converter import convert
from tflite_export.convert.representative_data import examples, random_examples
from tflite_export.convert.signature import family, layers_of, signature
from tflite_export.convert.tracing import in_float32
from tflite_export.devices.sparse_inference import SPARSE_F32
from tflite_export.flatbuffer.graph import Graph
from tflite_export.flatbuffer.layer_origins import Origins
from tflite_export.sparsity import zero_check
from tflite_export.sparsity.xnnpack.faults import Fault, faults
from tflite_export.sparsity.xnnpack.verdict import Verdict, verdict
from tfprune.output import Table, as_dict, markdown, plain_text, rich_parts

__all__ = ["Advice", "Change", "advise"]

_STEM = (
    "Begin with ZeroPadding2D(1) and Conv2D(filters, 3, strides=2, padding='valid') on 3 channels; "
    "weights trained with another padding see the image a pixel further and have to be trained on"
)
_HEAD = "End with GlobalAveragePooling2D() and Dense in its place"
_STRIDED = (
    "Put ZeroPadding2D(1) (2 for 5x5) before a DepthwiseConv2D with padding='valid', and train on"
)
_INSIDE = {
    "CONV_2D": "Make it a DepthwiseConv2D and a 1x1 Conv2D of stride 1, not grouped",
    "MAX_POOL_2D": "Take the stride into a depthwise convolution before or after it",
    "AVERAGE_POOL_2D": "Take the stride into a depthwise convolution before or after it",
    "CONCATENATION": "Add() the branches in its place",
    "PRELU": "Use ReLU, LeakyReLU or hard_swish",
    "RESIZE_NEAREST_NEIGHBOR": "Use UpSampling2D(interpolation='bilinear')",
    "ADD": "Add values of the graph only; a constant belongs into the bias of a convolution",
    "MUL": (
        "Multiply values of the graph only; a constant belongs into a convolution, as that of a "
        "BatchNormalization right behind one does"
    ),
    "SUB": "Use Add() or Multiply()",
    "MAXIMUM": "Use Add() or Multiply()",
    "TRANSPOSE_CONV": "Use UpSampling2D(interpolation='bilinear') and a depthwise convolution",
    "FULLY_CONNECTED": "Use a 1x1 Conv2D here, or Dense behind GlobalAveragePooling2D()",
}
_ACTIVATION = "Use relu, relu6, leaky_relu, elu, sigmoid or hard_swish"
_ACTIVATIONS = ("COS", "EXP", "GELU", "LOG", "RELU_0_TO_1", "RSQRT", "SIN", "SQRT", "TANH")
_OTHER = "Take it out, or put it behind GlobalAveragePooling2D()"
_END = (
    "Let GlobalAveragePooling2D() or depth_to_space be the only way out, and make no value before "
    "it an output of the model"
)


def _advice_text(fault: Fault | None) -> str:
    """The change in Keras that mends a fault; None = one whose operator is not known.

    Example:
        >>> _advice_text(Fault("PRELU", ("p_re_lu",), None, "", "inside"))
        'Use ReLU, LeakyReLU or hard_swish'
    """
    if fault is None:
        return _END
    if fault.place == "stem":
        return _STEM
    if fault.place == "end":
        return _HEAD
    if "up_sampling2d" in fault.names[0]:
        return _INSIDE["RESIZE_NEAREST_NEIGHBOR"]
    if fault.kind == "DEPTHWISE_CONV_2D":
        if "padding" in fault.why:
            return _STRIDED
        return "Use kernels of 3x3 or 5x5, depth_multiplier=1, dilation_rate=1, strides of 1 or 2"
    return _ACTIVATION if fault.kind in _ACTIVATIONS else _INSIDE.get(fault.kind, _OTHER)


@dataclass(frozen=True)
class Change:
    """One layer that has to be another: its name, why, and what to do."""

    layer: str
    why: str
    do: str


@dataclass(frozen=True)
class Advice:
    """The result of `advise`.

    Fields: `changes` to make, in the order of the graph; `engages` = sparse inference would run
    as the model is, once it is pruned; `prune` = weights whose zeros XNNPACK skips, to be pruned
    together to more than two thirds; `dense` = the other weights as {name: 0.0}, whose zeros only
    make the file smaller; `block` = (rows, columns) of weights to prune together; `notes` = what
    else is to be known.

    Example:
        >>> print(Advice((), True, ("conv2d/kernel",), {"dense/kernel": 0.0}))
        XNNPACK's sparse inference would run once more than two thirds of these
          weights are zero:
        - conv2d/kernel
        Prune blocks of 2 output channels: Block(2, 1).
    """

    changes: tuple[Change, ...]
    engages: bool
    prune: tuple[str, ...]
    dense: dict[str, float]
    block: tuple[int, int] = (2, 1)
    notes: tuple[str, ...] = ()

    def parts(self) -> Iterable[str | tuple[str, ...] | Table]:
        """The printed parts: the changes, and what to prune."""
        if not self.engages:
            yield "XNNPACK's sparse inference would not run, or return wrong values:"
        yield tuple(f"{c.layer}: {c.why}. {c.do}." for c in self.changes)
        if not self.prune:
            yield "There is no 1x1 convolution, and XNNPACK skips the zeros of no others."
            return
        start = "It would run" if self.changes else "XNNPACK's sparse inference would run"
        after = " after these changes," if self.changes else ""
        yield f"{start}{after} once more than two thirds of these weights are zero:"
        yield self.prune
        yield (
            f"Prune blocks of {self.block[0]} output channels: Block({self.block[0]}, "
            f"{self.block[1]})."
        )
        yield self.notes

    __str__, __rich_console__ = plain_text, rich_parts
    to_dict, to_markdown = as_dict, markdown


def advise(model, data=None) -> Advice:
    """Say what a model needs for XNNPACK's sparse inference, the only one that saves time.

    The model is converted and every operator compared with XNNPACK's rules, as if the 1x1
    convolutions were pruned already, so it may be asked before training.

    Args:
        model: a built Keras 3 or tf_keras model for images, wrapped for pruning or plain.
        data: examples, needed only if the model does not know its inputs.
    Returns:
        `Advice`. Its parts go to tfprune: `structure=tfprune.Block(*advice.block)`,
        `allocation=tfprune.PerSite(advice.dense)`. Blocks of 4 output channels are as good as 2.
    Raises:
        TypeError: not a Keras model.
        ValueError: an unbuilt model, or inputs that are not known.
        RuntimeError: the converter refused the model.

    Example:
        >>> import keras
        >>> model = keras.Sequential([
        ...     keras.Input((8, 8, 3)), keras.layers.Conv2D(8, 3, strides=2, padding="same"),
        ...     keras.layers.Conv2D(8, 1), keras.layers.GlobalAveragePooling2D()])
        >>> [change.layer for change in advise(model).changes] == [model.layers[0].name]
        True
    """
    family(model)
    plain = tfprune.strip_pruning(model)
    known = signature(plain, data)
    inputs = random_examples(plain, known, 1) if data is None else examples(data, known, 1)
    with in_float32(plain):
        made = convert(plain, known, target=SPARSE_F32, quantize="none", inputs=inputs)
    graph = Graph(made.content)
    names, _ = zero_check.check(plain, made.content)
    judged = verdict(graph, pruned=True)
    found: dict[str, Change] = {}
    for fault in faults(graph):
        layer = _layer(made.origins, fault, names)
        found.setdefault(layer, Change(layer, fault.why, _advice_text(fault)))
    changes = tuple(found.values())
    sites = tfprune.report(plain).sites
    deep = {layer.name for layer in layers_of(plain) if "DepthwiseConv" in type(layer).__name__}
    prune = tuple(
        site.name
        for site in sites
        if len(site.shape) == 4
        and tuple(site.shape[:2]) == (1, 1)
        and site.name.rpartition("/")[0].rpartition("/")[2] not in deep
    )
    if judged.state != "engages" and not changes and prune:
        place = _named(judged, made.origins) or plain.name
        changes = (Change(place, judged.reason, _advice_text(None)),)
    return Advice(
        changes,
        judged.state == "engages",
        prune,
        {site.name: 0.0 for site in sites if site.name not in prune},
        notes=(judged.caution,) if judged.caution else (),
    )


def _named(judged: Verdict, known: Origins) -> str | None:
    kind, _, name = judged.operator.partition(" ")
    return name and _layer(known, Fault(kind, (name.strip("'"),), None, "", "end"), {})


def _layer(known: Origins, fault: Fault, names: dict[tuple[int, int], str]) -> str:
    """The Keras layer behind an operator: by its weight, else by the name of what it makes."""
    if fault.weight in names:
        return names[fault.weight].split("/")[-2:][0]
    found = filter(None, map(known.layer, reversed(fault.names)))
    return next(found, f"{fault.kind} {fault.names[0]!r}")
