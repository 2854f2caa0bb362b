# SPDX-License-Identifier: Apache-2.0
"""A call of a Python function at its place in a graph, which costs the graph one operation."""

from __future__ import annotations

import weakref
from typing import Any, Callable

import tensorflow as tf


class HostCalls:
    """Calls functions on variables, eagerly, when a graph comes to the place of the call.

    TensorFlow keeps what a graph calls for as long as the process runs, so the graph refers to
    what it calls weakly: this object keeps it, and calls must not outlive it.
    """

    def __init__(self) -> None:
        self._kept: list[_Call] = []

    def __call__(self, function: Callable, variables: Any, *numbers: Any) -> None:
        """`function(variables, *numbers)`, in eager code at once.

        What precedes it in the graph and touches one of the variables is done before it, what
        follows after it.

        Args:
            function: gets the numbers as NumPy scalars; returns nothing.
            variables: a nested structure of resource variables, None among them.
            numbers: scalar tensors.
        """
        if tf.executing_eagerly():
            _Call(function, variables)(*numbers)
            return
        call = _Call(function, tf.nest.map_structure(_local, variables))
        self._kept.append(call)
        known = weakref.ref(call)
        handles = [one.handle for one in tf.nest.flatten(variables) if one is not None]

        def found(*given):
            known()(*given[: len(numbers)])

        tf.py_function(found, [*numbers, *handles], [])


class _Call:
    def __init__(self, function: Callable, variables: Any):
        self._function = function
        self._variables = variables

    def __call__(self, *numbers: Any) -> None:
        self._function(self._variables, *(one.numpy() for one in numbers))


def _local(variable: Any) -> Any:
    """The replica's own variable: what stands for all is the first one's when the graph runs."""
    if variable is None:
        return None
    each = tf.distribute.get_strategy().experimental_local_results(variable)
    return next(one for one in each if one.handle is variable.handle)
