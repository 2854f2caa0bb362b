# SPDX-License-Identifier: Apache-2.0
"""ADMM pruning without data: each layer is fitted to the dense one on synthetic inputs."""

from dataclasses import dataclass

from tfprune.masks.array_namespace import namespace
from tfprune.masks.schedules import OneShot
from tfprune.masks.serialization import register
from tfprune.methods.base import Method, Score, TopKRule
from tfprune.reconstruction.settings import ADMM
from tfprune.reconstruction.solver import solve


def _square(statistics):
    weight = statistics["weight"]
    xp = namespace(weight)
    wide = weight if weight.dtype.name == "float64" else xp.astype(weight, "float32")
    return xp.square(wide)


def _root(values):
    return namespace(values).sqrt(values)


@register
@dataclass(frozen=True)
class Solve(TopKRule):
    """Looks for weights on the structure whose layers do what the dense layers do.

    Attributes:
        solver: how the search is run.
        score, structure, allocation, seed: as of `TopKRule`; the seed is that of the inputs.

    Raises:
        ValueError: several rounds, or a running average: the search has its own iterations.

    Example:
        >>> import tfprune
        >>> tfprune.get_method("admm", solver=tfprune.ADMM(iterations=5)).rule.solver.iterations
        5
    """

    without_scores = "looks for new weights"

    solver: ADMM = ADMM()

    def __post_init__(self):
        super().__post_init__()
        if self.rounds != 1 or self.momentum:
            raise ValueError(
                f"rounds={self.rounds}, momentum={self.momentum}: ADMM has iterations of its own, "
                "get_method('admm', solver=ADMM(iterations=20)); leave both out."
            )

    def update(self, now):
        if not float(now.sparsity) and self.structure.fixed is None:
            return super().update(now)
        return solve(self, self.solver, now)


admm = Method(
    name="admm",
    rule=Solve(Score("admm", needs=("weight",), formula=_square, finish=_root)),
    default_schedule=OneShot(0.0),
    paper="Z. Zhan, Y. Gong, Z. Li, P. Zhao, X. Ma, W. Niu, X. Xu, B. Ren, Y. Wang, X. Lin, "
    "'A Privacy-Preserving DNN Pruning and Mobile Acceleration Framework', 2020, arXiv 2003.06513",
)
"""score = norm of a group, ||W||_2, of the weights that the search has found.

Takes no data: inputs are random, or what `solver=ADMM(inputs=...)` says. Changes the kept
weights and biases, too. To train on with exactly the zeros that there are: `schedule=FixedMask()`.
"""
