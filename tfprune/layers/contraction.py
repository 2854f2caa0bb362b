# SPDX-License-Identifier: Apache-2.0
"""Rules of raw operations that multiply tensors with each other and sum over axes."""

from __future__ import annotations

from typing import Any, Sequence

from tfprune.layers.call import LayerCall
from tfprune.layers.symbolic_tensor import SymbolicTensor, Unsupported, meet

Labels = list[str]


def matmul(step: LayerCall) -> SymbolicTensor:
    """[..., i, k] times [..., k, j]."""
    operands = [step.setting(*one) for one in (("a", 0), ("b", 1))]
    ranks = [len(getattr(one, "shape", ())) for one in operands]
    if min(ranks) < 2:
        raise Unsupported(f"{step.name} multiplies with a vector")
    ends = [["i", "k"], ["k", "j"]]
    for place, name in enumerate("ab"):
        flags = (f"transpose_{name}", 2 + place), (f"adjoint_{name}", 4 + place)
        if any(step.setting(*flag, False) for flag in flags):
            ends[place].reverse()
    labels = [[*_batch(rank - 2), *end] for rank, end in zip(ranks, ends, strict=True)]
    return _contracted(step, operands, labels, [*_batch(max(ranks) - 2), "i", "j"])


def einsum(step: LayerCall) -> SymbolicTensor:
    """A sum of products over the labels that the result does not have."""
    texts = [one for one in step.args if isinstance(one, str)]
    equation = texts[0] if texts else step.setting("subscripts", 99, "")
    given, _, result = str(equation).replace(" ", "").partition("->")
    operands = [one for one in step.args if hasattr(one, "shape")]
    parts = given.split(",")
    if not result or len(parts) != len(operands):
        raise Unsupported(f"{step.name} computes {equation!r}")
    hidden = [
        len(one.shape) - len(part.replace("...", ""))
        for one, part in zip(operands, parts, strict=True)
    ]
    labels = [_spread(part, count) for part, count in zip(parts, hidden, strict=True)]
    return _contracted(step, operands, labels, _spread(result, max(hidden)))


def _batch(count: int) -> Labels:
    """Labels of the leading axes, the same from the right."""
    return [f"batch {number}" for number in range(count, 0, -1)]


def _spread(text: str, hidden: int) -> Labels:
    front, dots, back = text.partition("...")
    return [*front, *(_batch(hidden) if dots else ()), *back]


def _contracted(
    step: LayerCall, operands: Sequence[Any], labels: Sequence[Labels], made: Labels
) -> SymbolicTensor:
    """A product of tensors, axes by their labels: channels that meet are one from now on.

    Args:
        operands: tensors; constants among them have no channels.
        made: the labels of the result; over all others is summed.
    """
    axes: dict[str, Any] = {}
    for label in dict.fromkeys(one for each in labels for one in each):
        held = [
            (one.axes[place] if isinstance(one, SymbolicTensor) else None, one.shape[place])
            for one, each in zip(operands, labels, strict=True)
            for place, name in enumerate(each)
            if name == label
        ]
        full = [one for one in held if one[1] != 1] or held
        if len(full) < len(held):
            for ids, size in held:
                if size == 1:
                    step.book.pin(ids, f"{step.name} repeats it along an axis")
        axes[label] = meet(step.book, [ids for ids, _ in full], step.name)
        if axes[label] is not None:
            step.book.passes(step.name, axes[label])
            if label not in made and len(held) == 1:
                step.book.pin(axes[label], f"{step.name} sums over it")
    return SymbolicTensor(tuple(step.shapes[0]), tuple(axes[label] for label in made))
