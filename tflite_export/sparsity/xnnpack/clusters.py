# SPDX-License-Identifier: Apache-2.0
"""XNNPACK's search for clusters of operators that it can run by sparse inference.

It joins neighbors, drops a cluster that reads or is read from outside, and weighs its 1x1
convolutions. Nobody looks at what reads the last values of a cluster.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from tflite_export.sparsity.xnnpack.roles import CLOSES, KEEPS, OPENS, Role
from tflite_export.sparsity.xnnpack.subgraph import Subgraph

__all__ = ["Clusters", "find"]


@dataclass
class Clusters:
    """The clusters found, operators by their position in `view.operators`.

    `closed` = something closes a cluster, without which nothing happens; `active` = operators
    that run by sparse inference; `sparse` = tensors that are kept channel by channel; `causes` =
    why clusters were dropped, the first first, as (operator, sentence).
    """

    closed: bool = False
    active: set[int] = field(default_factory=set)
    sparse: set[int] = field(default_factory=set)
    causes: list[tuple[int, str]] = field(default_factory=list)


def find(view: Subgraph, roles: list[Role], *, pruned: bool = False) -> Clusters:
    """Find the clusters of a subgraph.

    Args:
        view: the subgraph.
        roles: of `view.operators`; flags are taken as certain.
        pruned: take the 1x1 convolutions as if they had zeros enough.
    """
    search = _Search(view, [role.flags for role in roles])
    found = Clusters(closed=search.seed())
    if found.closed:
        search.join()
        search.drop_read_from_outside()
        search.activate(found, pruned)
    found.causes = search.causes
    return found


class _Search:
    def __init__(self, view: Subgraph, flags: list[int]):
        self.view, self.flags = view, flags
        self.leader = list(range(len(flags)))
        self.broken = [False] * len(flags)
        self.causes: list[tuple[int, str]] = []
        self.reads = [
            [t for t in view.inputs(o) if view.constant(t) is None] for o in view.operators
        ]
        # A merged zero padding is no operator any more: its reader reads what it read.
        for position, operator in enumerate(view.operators):
            pad = view.padding_before(operator)
            if pad is not None:
                self.reads[position][0] = int(pad.inputs[0])
        self.producer = {
            int(t): n for n, operator in enumerate(view.operators) for t in operator.outputs
        }
        self.readers = Counter(t for reads in self.reads for t in reads)
        self.readers.update(view.outputs)

    def seed(self) -> bool:
        """Join every closing operator with what it reads; whether there was anything to join."""
        return any([self._join(n) for n in range(len(self.flags)) if self.flags[n] & CLOSES])

    def join(self) -> None:
        """Join neighbors until nothing changes."""
        inside = [n for n, flags in enumerate(self.flags) if flags & (KEEPS | CLOSES)]
        while any([self._join(n) for n in inside if not self.broken[n]]):
            pass
        broken = [n for n in range(len(self.flags)) if self.broken[n]]
        for n in broken:
            self.broken[self.leader[n]] = True

    def _join(self, n: int) -> bool:
        changed, outside = False, []
        for tensor in self.reads[n]:
            source = self.producer.get(tensor)
            if source is None or tensor in self.view.outputs:
                self.broken[n] = True
                if tensor in self.view.outputs:
                    self._blame(n, "reads an output of the model")
            elif self.flags[source] & (OPENS | KEEPS) and not self.broken[source]:
                # What is read by another operator inside does not close the cluster.
                self.flags[source] &= ~CLOSES
                if self.leader[source] != self.leader[n]:
                    joined = max(self.leader[source], self.leader[n])
                    self.leader[source] = self.leader[n] = joined
                    changed = True
            else:
                self.broken[n] = True
                outside.append(source)
        if outside and len(outside) < len(self.reads[n]):
            label = self.view.label(self.view.operators[outside[0]])
            self._blame(n, f"also reads {label}, which is outside")
        return changed

    def drop_read_from_outside(self) -> None:
        """Drop clusters with a value that is read inside and outside."""
        counted = Counter(t for n in self._alive() for t in self.reads[n])
        for n in self._alive():
            for tensor in self.reads[n]:
                if counted[tensor] != self.readers[tensor]:
                    self._blame(n, "reads a value that is also read outside or is an output")
                    self.broken[self.leader[n]] = True

    def activate(self, found: Clusters, pruned: bool) -> None:
        """Weigh the 1x1 convolutions of every cluster that is left."""
        weights: dict[int, tuple[int, int]] = {}
        for n, operator in enumerate(self.view.operators):
            kernel = self._pointwise(n, operator)
            if kernel is not None:
                zeros, size = weights.get(self.leader[n], (0, 0))
                weights[self.leader[n]] = (zeros + int(np.sum(kernel == 0)), size + kernel.size)
        for n in self._alive():
            zeros, size = weights.get(self.leader[n], (0, 0))
            if zeros * 3 > size * 2 or (pruned and size):
                found.active.add(n)
                found.sparse.update(self.reads[n])
            elif size:
                self._blame(
                    n,
                    f"{zeros / size:.1%} of the weights of its 1x1 convolutions are "
                    "zero, more than two thirds have to be",
                )

    def _pointwise(self, n: int, operator) -> np.ndarray | None:
        if self.broken[self.leader[n]] or self.view.kind(operator) != "CONV_2D":
            return None
        kernel = self.view.constant(operator.inputs[1])
        return kernel if kernel is not None and kernel.shape[1:3] == (1, 1) else None

    def _alive(self) -> list[int]:
        return [
            n
            for n, flags in enumerate(self.flags)
            if flags & (KEEPS | CLOSES) and not self.broken[self.leader[n]]
        ]

    def _blame(self, n: int, text: str) -> None:
        if (n, text) not in self.causes:
            self.causes.append((n, text))
