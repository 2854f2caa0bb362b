# SPDX-License-Identifier: Apache-2.0
"""NumPy's numbers as Python's, whose arithmetic does not overflow and which files can hold."""

from numbers import Integral, Real

import numpy as np


def plain(value):
    """A number of NumPy, or an array that is one, as Python's; anything else as it is.

    >>> import numpy as np
    >>> plain(np.uint8(3)), plain(np.array(0.5)), plain("0.5")
    (3, 0.5, '0.5')
    """
    is_scalar = isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0
    return value.item() if is_scalar else value


def is_integer(value):
    """Whether it is an integer; a truth value is none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_real(value):
    """Whether it is a real number; a truth value is none."""
    return isinstance(value, Real) and not isinstance(value, (bool, np.bool_))
