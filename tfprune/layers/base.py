# SPDX-License-Identifier: Apache-2.0
"""Records of the kinds of layers of Keras, one per kind for both Kerases, and their registry.

A record is registered under the names of classes of Keras, in the file of its family. `kind_of`
finds that of a layer; classes of the user's inherit theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from math import prod
from typing import Any, Callable, Iterator, Sequence

from tfprune.layers.call import LayerCall
from tfprune.masks import kernel_layout
from tfprune.masks.kernel_layout import Layout

TRAITS = {
    "activation": "applies a function to every value, or to all along an axis",
    "batch_statistics": "a normalization that converters fold into the kernel before it",
    "idle": "does nothing at inference",
    "in_place": "converters fuse it into what is before it, or it works on its input's memory",
    "loop": "calls what is in it step by step",
    "neurons": "each of its filters reads all of its inputs",
    "normalization": "scales values by statistics of them",
    "one_product": "multiplies its input with one kernel",
    "positive": "its output is never below zero where its inputs are not, in training either",
    "projections": "its kernels are in layers of its own, which are made when it is built",
    "quantizable": "can be trained with quantized kernels and inputs",
    "raw": "passes the model's inputs on, scaled or in another shape",
}
"""What is true of some kinds of layers."""


class Uses(Enum):
    """How often each weight of a kernel is used for one example."""

    OUTPUT = "once per output position"
    INPUT = "once per input position"
    STEPS = "once per time step"
    LOOKUP = "never multiplied"


@dataclass(frozen=True)
class KernelSpec:
    """A prunable kernel of a layer.

    Attributes:
        attribute: of the layer. Of several with one name in each Keras a layer has one.
        layout: layer -> the axes of the kernel.
        uses: of its weights.

    Example:
        >>> from tfprune.masks import kernel_layout
        >>> KernelSpec.of("kernel", kernel_layout.DENSE).attribute
        'kernel'
    """

    attribute: str
    layout: Callable[[Any], Layout]
    uses: Uses = Uses.OUTPUT

    @classmethod
    def of(cls, attribute: str, layout: Layout, uses: Uses = Uses.OUTPUT) -> "KernelSpec":
        """A kernel with the same axes in all layers."""
        return cls(attribute, lambda layer: layout, uses)


@dataclass(frozen=True)
class LayerKind:
    """A kind of layer. What is None is not known: then the layer stays as it is.

    Attributes:
        kernels: what can be pruned. Layers inside the layer have kinds of their own.
        propagate: a call of the layer -> what comes out, with the channels along its axes. It
            names the variables that carry channels, joins channels that meet, and raises
            `Unsupported` where it cannot tell.
        resize: changes the settings of a smaller copy (a `Resizing`); layers without it take
            their shapes from what they are called with.
        factors: (layer, channels that are kept) -> what variables of the smaller copy are
            multiplied with, by their ids.
        reads: (reader, inputs, outputs of a call) -> the tensor that the kernel reads, with the
            kernel's reading axes last, and how many those are.
        constant: (reader, constants along those axes) -> what they add to the layer's output
            before its activation; or a text: why that is no constant.
        makes: reader -> the axes of the kernel that `constant` has.
        patches: (layer, layout of its kernel) -> how the layer reads its input as a matrix.
        linearize: the call of the layer in a model that is a sum over paths.
        function: layer -> the name of the activation function that it is.
        gates: of a cell of a recurrent layer, how many kernels are one beside the other.
        stays_dense: why its weights are not pruned.
        stays_float: why its kernels are not quantized.
        traits: some of `TRAITS`.
        name: of the class of Keras, set when it is registered.

    Example:
        >>> LayerKind(stays_dense="factors are not pruned").kernels
        ()
    """

    kernels: tuple[KernelSpec, ...] = ()
    propagate: Callable[[LayerCall], Any] | None = None
    resize: Callable[[Any], None] | None = None
    factors: Callable[[Any, Any], dict[int, float]] | None = None
    reads: Callable[[Any, Any, Any], tuple[Any, int]] | None = None
    constant: Callable[[Any, Any], Any] | None = None
    makes: Callable[[Any], list[int]] = lambda reader: [len(reader.kernel.shape) - 1]
    patches: Callable[[Any, Layout], Any] | None = None
    linearize: Callable[..., Any] | None = None
    function: Callable[[Any], str] | None = None
    gates: int = 0
    stays_dense: str | None = None
    stays_float: str | None = None
    traits: frozenset[str] = frozenset()
    name: str = ""

    def __post_init__(self) -> None:
        unknown = set(self.traits) - set(TRAITS)
        if unknown:
            raise ValueError(f"Unknown traits {sorted(unknown)}: expected some of {list(TRAITS)}.")


UNKNOWN = LayerKind()
_KINDS: dict[str | type, LayerKind] = {}


def register(names: str, kind: LayerKind) -> None:
    """Say what layers of Keras are.

    Args:
        names: of their classes, with spaces between them.
        kind: the record.
    """
    for name in names.split():
        if name in _KINDS:
            raise ValueError(f"{name} is registered already.")
        _KINDS[name] = replace(kind, name=name)


def registered() -> Iterator[LayerKind]:
    """All records of layers of Keras, in the order in which they were registered."""
    return (kind for name, kind in _KINDS.items() if isinstance(name, str))


def register_class(cls: type, kind: LayerKind) -> None:
    """Say what layers of a class are, in place of what is known of them."""
    _KINDS[cls] = kind


def kind_of_class(cls: type) -> LayerKind:
    """The record of a class of layers; `UNKNOWN` if there is none."""
    return _nearest(cls)[0]


def kind_of(layer: Any) -> LayerKind:
    """The record of a layer's class, or of the nearest class that it inherits from.

    `UNKNOWN` if none has one.
    """
    return _nearest(type(layer))[0]


def stock_kind_of(layer: Any) -> LayerKind:
    """The same, and `UNKNOWN` where a class below that of the record changes what is computed."""
    kind, cls = _nearest(type(layer))
    return kind if is_stock(layer, cls) else UNKNOWN


def has(layer: Any, trait: str) -> bool:
    """Whether a trait is true of a layer's kind."""
    return trait in kind_of(layer).traits


def _nearest(of: type) -> tuple[LayerKind, type]:
    for cls in of.__mro__:
        is_keras = cls.__module__.split(".")[0] in ("keras", "tf_keras")
        kind = _KINDS.get(cls) or (_KINDS.get(cls.__name__) if is_keras else None)
        if kind is not None:
            return kind, cls
    return UNKNOWN, object


def is_stock(operation: Any, row: type) -> bool:
    """Whether nothing below the class of the row changes what the layer computes."""
    harmless = {"get_config", "from_config", "get_prunable_weights"}
    for cls in type(operation).__mro__:
        if cls is row:
            return True
        changed = {
            name
            for name, value in vars(cls).items()
            if (callable(value) or isinstance(value, property))
            and (name == "__call__" or not name.startswith("__"))
        }
        if changed - harmless:
            return False
    return False


def raw(adapter: Any, layer: Any, name: str) -> Any:
    """The variable that a layer holds under a name; None if it has none."""
    variable = adapter.attribute(layer, name)
    return None if variable is None else adapter.raw(variable)


def matrix_layout(layer: Any) -> Layout:
    """The layout of a layer's kernels of rank 2: as Dense, but for an Embedding's table."""
    is_table = any(one.uses is Uses.LOOKUP for one in kind_of(layer).kernels)
    return kernel_layout.EMBEDDING if is_table else kernel_layout.DENSE


def reason_dense(layer: Any) -> str:
    """Why a layer that has weights, but no row, stays dense."""
    return kind_of(layer).stays_dense or (
        f"unknown layer {type(layer).__name__}: give it a method get_prunable_weights() that "
        "returns the variables to prune"
    )


def positions(
    uses: Uses,
    inputs: Sequence[int | None] | None,
    outputs: Sequence[int | None] | None,
    layout: Layout,
) -> int | None:
    """How often each weight is used for one example; None where shapes do not tell.

    Args:
        uses: of the kernel.
        inputs, outputs: shapes of the layer's input and output, batch axis first.
        layout: of the kernel; the spatial axes tell a convolution from a matrix.
    """
    if uses is Uses.LOOKUP:
        return 0
    if inputs is None or outputs is None:
        return None
    if uses is Uses.STEPS:
        # A recurrent convolution is used at every place of every time step.
        space = outputs[-1 - len(layout.spatial) : -1] if layout.spatial else ()
        places: Sequence[int | None] = (*inputs[1:2], *space)
    else:
        shape = outputs if uses is Uses.OUTPUT else inputs
        places = shape[1:-1]
    known = [size for size in places if size is not None]
    return prod(known) if len(known) == len(places) else None
