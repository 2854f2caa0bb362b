# SPDX-License-Identifier: Apache-2.0
"""The rules by which XNNPACK runs a file by sparse inference on Arm, right or wrong."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from tflite_export.flatbuffer.graph import Graph
from tflite_export.sparsity.xnnpack.clusters import Clusters, find
from tflite_export.sparsity.xnnpack.roles import CLOSES, OPENS, Role, role
from tflite_export.sparsity.xnnpack.subgraph import Subgraph

__all__ = ["Verdict", "verdict"]

# So many kinds of operators on which releases differ are tried in every combination.
_MOST_DOUBTS = 4
# Of LiteRT, whose first ones and tflite-runtime are "": what was measured changed with these.
_RELEASES = ("", "1.4", "2.1")
_ORDER = ("unsafe", "off", "engages")
# Were seen to return wrong values when they read what sparse inference left channel by channel.
# Others may be executed outside XNNPACK, where what they read is put right first.
_SEEN_WRONG = frozenset(
    {
        "ADD",
        "AVERAGE_POOL_2D",
        "CONCATENATION",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "DIV",
        "FULLY_CONNECTED",
        "MAXIMUM",
        "MAX_POOL_2D",
        "MINIMUM",
        "MUL",
        "PRELU",
        "RESHAPE",
        "SOFTMAX",
        "SQUARED_DIFFERENCE",
        "SUB",
        "TRANSPOSE_CONV",
    }
)


@dataclass(frozen=True)
class Verdict:
    """`state`: "engages" = sparse inference runs, and correctly; "off" = it does not run, for the
    `reason`; "unsafe" = it would run and return wrong values, or crash, or, where `known` is
    False, it may. `operator` is the one at fault, kind and name. `since` = the release of LiteRT
    from which on the state is so, where it is not of all, and `earlier` the verdict before."""

    state: str
    reason: str = ""
    operator: str = ""
    known: bool = True
    since: str = ""
    earlier: Verdict | None = None

    def __str__(self) -> str:
        text = f"{self.operator}: {self.reason}" if self.operator else self.reason
        return text or self.caution

    @property
    def fault(self) -> str:
        """The fault of an "unsafe" file."""
        does = "would return wrong" if self.known else "is not known to return right"
        return f"XNNPACK's sparse inference {does} values on Arm ({self})"

    @property
    def caution(self) -> str:
        """A note on a file that is right in later releases only, or an empty text."""
        if self.earlier is None:
            return ""
        if self.earlier.state == "unsafe":
            does = "are not known to return right values"
        else:
            does = "do not run it sparsely"
        return (
            f"ship it with LiteRT {self.since} or later: earlier releases {does} ({self.earlier})"
        )

    @property
    def everywhere(self) -> Verdict:
        """The verdict for an app of any release."""
        if self.earlier is None or self.earlier.state != "unsafe":
            return self
        reason = f"{self.earlier.reason}; LiteRT {self.since} and later are right"
        return replace(self.earlier, reason=reason)


def verdict(graph: Graph, *, pruned: bool = False) -> Verdict:
    """Judge a file by the rules of XNNPACK's source, as if a weight were sparse-encoded in it.

    Sparse inference is switched on by a DENSIFY anywhere in a float graph, and is off on x86 with
    AVX, so running the file there cannot show whether it is right.

    Args:
        graph: the file, dense.
        pruned: judge it as if the 1x1 convolutions had zeros enough.
    Returns:
        The worst `Verdict` over its subgraphs and over the releases of XNNPACK; where later ones do
        better, the worst over those since the first that does.
    """
    parts = [part for n in range(len(graph.model.subgraphs)) for part in Subgraph.parts(graph, n)]
    found = [_worst(parts, pruned, release) for release in _RELEASES]
    ranks = [_ORDER.index(judged.state) for judged in found]
    first = ranks.index(max(ranks))
    if not first:
        return found[-1] if found[0].state == "unsafe" else found[0]
    earlier = found[ranks.index(min(ranks[:first]))]
    return replace(found[first], since=_RELEASES[first], earlier=earlier)


def _worst(parts: list[Subgraph], pruned: bool, release: str) -> Verdict:
    found = [_of_part(part, pruned, release) for part in parts]
    for state in ("unsafe", "engages"):
        worst = [result for result in found if result.state == state]
        if worst:
            return worst[0]
    return found[0]


def _of_part(view: Subgraph, pruned: bool, release: str) -> Verdict:
    roles = [role(view, operator) for operator in view.operators]
    roles = [replace(r, doubt="") if r.since and r.since <= release else r for r in roles]
    doubts = sorted({r.doubt for r in roles if r.doubt})
    if len(doubts) > _MOST_DOUBTS:
        first = next(n for n, r in enumerate(roles) if r.doubt)
        return Verdict(
            "unsafe",
            "releases of XNNPACK differ in too many of the operators",
            view.label(view.operators[first]),
            known=False,
        )
    found = []
    for outside in itertools.product((False, True), repeat=len(doubts)):
        gone = {kind for kind, is_outside in zip(doubts, outside, strict=True) if is_outside}
        taken = [
            replace(r, flags=0, why="some releases cannot have it inside") if r.doubt in gone else r
            for r in roles
        ]
        found.append(_judged(view, taken, find(view, taken, pruned=pruned)))
    worst = min(found, key=lambda result: _ORDER.index(result.state))
    agree = all(result.state == worst.state for result in found)
    return replace(worst, known=worst.known and agree)


def _judged(view: Subgraph, roles: list[Role], found: Clusters) -> Verdict:
    operators = view.operators
    if found.closed:
        for operator in operators:
            fault = _crash(view, operator)
            if fault:
                return Verdict("unsafe", fault, view.label(operator))
    for n in sorted(found.active):
        produced = {int(tensor) for tensor in operators[n].outputs}
        if not roles[n].right:
            return Verdict(
                "unsafe",
                f"is not known to compute correctly: {roles[n].why}",
                view.label(operators[n]),
                known=False,
            )
        if not produced & found.sparse and not roles[n].flags & CLOSES:
            return _leak(view, roles, n)
    if found.active:
        return Verdict("engages")
    return _off(view, roles, found)


def _crash(view: Subgraph, operator) -> str:
    """XNNPACK counts zeros of every 1x1 convolution and dense layer as if they were float."""
    kind = view.kind(operator)
    if kind not in ("CONV_2D", "FULLY_CONNECTED"):
        return ""
    index = int(operator.inputs[1])
    if kind == "CONV_2D" and view.shape(index)[1:3] != (1, 1):
        return ""
    if view.constant(index) is None:
        return "its weights are computed, and XNNPACK reads them before they are"
    return "" if view.is_float(index) else "its weights are integers, and XNNPACK reads floats"


def _leak(view: Subgraph, roles: list[Role], n: int) -> Verdict:
    """The value behind operator n is written channel by channel and read pixel by pixel."""
    behind = [
        m
        for m, operator in enumerate(view.operators)
        if set(map(int, view.operators[n].outputs)) & set(view.inputs(operator))
    ]
    label = view.label(view.operators[n])
    if not behind:
        return Verdict(
            "unsafe",
            "is the last operator of sparse inference, expected the mean over "
            "height and width or DEPTH_TO_SPACE",
            label,
        )
    why = roles[behind[0]].why or "it reads an output of the model, or something outside as well"
    return Verdict(
        "unsafe",
        f"reads {label} out of sparse inference, where only the mean over height and "
        f"width or DEPTH_TO_SPACE may end it ({why})",
        view.label(view.operators[behind[0]]),
        known=view.kind(view.operators[behind[0]]) in _SEEN_WRONG,
    )


def _off(view: Subgraph, roles: list[Role], found: Clusters) -> Verdict:
    operators = view.operators
    convolutions = [n for n, o in enumerate(operators) if view.kind(o) == "CONV_2D"]
    pointwise = [n for n in convolutions if view.shape(operators[n].inputs[1])[1:3] == (1, 1)]
    if not pointwise:
        return Verdict("off", "there is no 1x1 convolution")
    opens = [n for n in convolutions if roles[n].flags & OPENS]
    if not opens:
        first = convolutions[0]
        why = roles[first].why or "the first convolution is 1x1, expected 3x3 of stride 2"
        return Verdict("off", why, view.label(operators[first]))
    if found.causes:
        n, text = found.causes[0]
        return Verdict("off", text, view.label(operators[n]))
    if not found.closed:
        return Verdict(
            "off",
            "nothing closes sparse inference: expected the mean over height and "
            "width, or DEPTH_TO_SPACE, right behind a sparse operator",
        )
    return Verdict(
        "off",
        "the 1x1 convolutions are not joined with the first convolution by "
        "operators that can be inside",
    )
