# SPDX-License-Identifier: Apache-2.0
"""Single weights, and rows of consecutive ones."""

import math
from dataclasses import dataclass

from tfprune.masks.array_namespace import namespace
from tfprune.masks.kernel_layout import View
from tfprune.masks.serialization import register
from tfprune.masks.structures.base import Structure, check_length

PADDED = 16  # what hardware pads a row to that a layer has too few input channels for


@register
@dataclass(frozen=True)
class Element(Structure):
    """Every weight on its own: groups = entries, in the kernel's own order.

    >>> import numpy as np
    >>> from tfprune.masks.kernel_layout import DENSE
    >>> Element().reduce(np.array([[3.0, 1.0], [2.0, 4.0]]), DENSE)
    array([3., 1., 2., 4.])
    """

    def _view(self, shape, layout):
        return View.along((), shape, layout)


@register
@dataclass(frozen=True)
class NofM(Structure):
    """Keeps n of every m consecutive weights along the input channels.

    The rows of m lie within one output channel and one spatial position, as the hardware for 2:4
    wants them. A last row that is shorter keeps min(n, its length); where it is the only one, m may
    be up to 16, to which hardware pads, and a layer that has less for a longer row stays dense,
    named in the report. TF-MOT's `sparsity_m_by_n=(m,
    n)` counts m *zeros* among n: (1, 4) there is NofM(3, 4).

    Paper: Zhou et al., Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch,
    arXiv 2102.04010.

    Args:
        n: Weights kept in each row.
        m: Length of a row.

    Raises:
        ValueError: If not 0 < n < m.

    >>> import numpy as np
    >>> from tfprune.masks.kernel_layout import DENSE
    >>> NofM(2, 4).reduce(np.arange(6.0).reshape(6, 1), DENSE)
    array([[  0.,   1.,   2.,   3.],
           [  4.,   5., -inf, -inf]])
    """

    n: int
    m: int

    def __post_init__(self):
        check_length("NofM(m=...)", self.m, 2)
        check_length("NofM(n=...)", self.n, 1)
        if self.n >= self.m:
            raise ValueError(
                f"NofM({self.n}, {self.m}) keeps all: expected 0 < n < m. n counts "
                "the weights that stay (TF-MOT's first number counts the zeros)."
            )

    @property
    def fixed(self) -> int:
        """The number kept in each row."""
        return self.n

    @property
    def within(self) -> int:
        """The same: the candidates are the weights of the row."""
        return self.n

    @property
    def sparsity(self) -> float:
        """The fraction removed, 1 - n/m, where no row is shorter."""
        return 1 - self.n / self.m

    def reduce(self, scores, layout):
        xp = namespace(scores)
        scores = xp.asarray(scores)
        view = self._view(tuple(scores.shape), layout)
        if view.missing[1]:  # NaN ranks below -inf: it must not lose its place to the padding
            lowest = xp.asarray(-math.inf, scores.dtype)
            scores = xp.where(xp.isnan(scores), lowest, scores)
        return xp.reshape(view.split(scores, -math.inf), (-1, self.m))

    def _lacks(self, layout):
        if set(layout.inputs) <= set(layout.outputs):
            return "no input channels are summed in it, so there are no rows of m weights"
        return None

    def supports(self, shape, layout):
        return super().supports(shape, layout) or self._too_long(_inputs(shape, layout))

    def _too_long(self, channels):
        if self.m <= max(channels, PADDED):
            return None
        return f"rows of m={self.m} weights are longer than its {channels} input channels"

    def _view(self, shape, layout):
        layout.matrix_shape(shape)
        channels = _inputs(shape, layout)
        if self._too_long(channels):  # padding could take any amount of memory
            raise ValueError(f"{self}: {self._too_long(channels)}.")
        return View(layout.matrix_axes, (math.prod(shape) // channels, channels), (1, self.m))


def _inputs(shape, layout):
    return math.prod(shape[axis] for axis in layout.inputs if axis not in layout.outputs)
