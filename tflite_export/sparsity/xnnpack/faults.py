# SPDX-License-Identifier: Apache-2.0
"""All operators of a file that keep sparse inference from running, or make it wrong."""

from __future__ import annotations

from dataclasses import dataclass

from tflite_export.flatbuffer.graph import Graph
from tflite_export.sparsity.xnnpack.roles import CLOSES, OPENS, Role, role
from tflite_export.sparsity.xnnpack.subgraph import Subgraph

__all__ = ["Fault", "faults"]


@dataclass(frozen=True)
class Fault:
    """One operator: its `kind`, `names` of what it makes, position of its `weight` (or None),
    `why`, and the `place`: "stem", "inside" or "end"."""

    kind: str
    names: tuple[str, ...]
    weight: tuple[int, int] | None
    why: str
    place: str


def faults(graph: Graph) -> list[Fault]:
    """List what is in the way between the first convolution and the end, in order.

    Args:
        graph: the dense file of a model for images; its first subgraph is looked at.
    """
    view = Subgraph(graph)
    roles = [role(view, operator) for operator in view.operators]
    start = _first_convolution(view)
    if start is None:
        return []
    found = []
    if not roles[start].flags & OPENS:
        why = roles[start].why or "it is a 1x1 convolution"
        found.append(_fault(view, start, why, "stem"))
    inside, behind = _region(view, roles, start)
    ended = False
    for n in sorted(inside):
        if not roles[n].flags or not roles[n].right:
            goes_on = _goes_on(view, n)
            if goes_on or not ended:
                found.append(_fault(view, n, roles[n].why, "inside" if goes_on else "end"))
            ended = ended or not goes_on
        elif roles[n].doubt and not roles[n].since:
            found.append(_fault(view, n, "some releases of XNNPACK cannot have it", "inside"))
    # A value that has left sparse inference must not be read by what would be inside again.
    found += [
        _fault(
            view, n, "it reads the mean over height and width, which ends sparse inference", "end"
        )
        for n in sorted(behind)
        if roles[n].flags & ~CLOSES and len(_shape(view, n)) == 4
    ]
    return found


def _shape(view: Subgraph, n: int) -> tuple[int, ...]:
    """Shape of the first value that an operator reads."""
    read = view.inputs(view.operators[n])
    return view.shape(next((t for t in read if view.constant(t) is None), read[0]))


def _first_convolution(view: Subgraph) -> int | None:
    kinds = ("CONV_2D", "DEPTHWISE_CONV_2D")
    return next((n for n, o in enumerate(view.operators) if view.kind(o) in kinds), None)


def _region(view: Subgraph, roles: list[Role], start: int) -> tuple[set[int], set[int]]:
    """(what is to be inside, what stands behind the end), by positions of operators."""
    makers = {int(t): n for n, o in enumerate(view.operators) for t in o.outputs}
    sources = [{makers[t] for t in view.inputs(o) if t in makers} for o in view.operators]
    after = {start}
    for n, read in enumerate(sources):
        if read & after:
            after.add(n)
    # Behind the end is what only reads closing operators, unless it comes back (a gate does).
    behind: set[int] = set()
    for n in sorted(after - {start}):
        if all(roles[m].flags & CLOSES or m in behind for m in sources[n] & after):
            behind.add(n)
    coming_back = {m for n in after - behind for m in sources[n]} & behind
    while coming_back:
        behind -= coming_back
        coming_back = {m for n in after - behind for m in sources[n]} & behind
    flat = {n for n in after if len(_shape(view, n)) != 4 and not roles[n].flags}
    return after - behind - flat - {start}, behind


def _goes_on(view: Subgraph, n: int) -> bool:
    """Whether any operator behind this one still makes an image, so that it is not the end."""
    made = {int(t) for t in view.operators[n].outputs}
    for operator in view.operators[n + 1 :]:
        if made & set(view.inputs(operator)):
            if len(view.shape(int(operator.outputs[0]))) == 4:
                return True
            made.update(int(t) for t in operator.outputs)
    return False


def _fault(view: Subgraph, n: int, why: str, place: str) -> Fault:
    operator = view.operators[n]
    weight = None
    if len(operator.inputs) > 1 and view.constant(operator.inputs[1]) is not None:
        weight = (view.subgraph, view.stored(int(operator.inputs[1])))
    name = view.graph.name(view.subgraph, int(operator.outputs[0]))
    return Fault(view.kind(operator), tuple(name.split(";")), weight, why, place)
