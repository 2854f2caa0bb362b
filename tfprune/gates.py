"""How a mask acts on a weight during training.

The kernel is sparse at rest: between two training steps it holds W*M. What a gate wants to keep
of the pruned weights it keeps in a second variable, `hidden = W*(1-M)`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tfprune.configs import register


@register
@dataclass(frozen=True)
class Fixed:
    """A mask that multiplies the weight: y = f(x; W*M).

    Attributes:
        straight_through: False: a pruned weight is lost (set to zero) when it is pruned, as in
            TF-MOT. True: its value is kept beside the kernel, receives the gradient taken at W*M
            in full, and returns when the mask lets it. An optimizer's decoupled weight decay acts
            on the kernel only, not on the kept values.

    Paper of the straight-through form: T. Lin, S. U. Stich, L. Barba, D. Dmitriev, M. Jaggi,
    "Dynamic Model Pruning with Feedback", 2020, arXiv 2006.07253.

    Example:
        >>> Fixed().hides
        False
    """

    straight_through: bool = False

    @property
    def hides(self) -> bool:
        """Whether the gate needs the variable `hidden`."""
        return self.straight_through

    def dense(self, kernel, hidden):
        """W, the weight that scores are computed from: the kernel with what the mask hides."""
        return kernel if hidden is None else kernel + hidden
