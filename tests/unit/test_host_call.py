# SPDX-License-Identifier: Apache-2.0
"""Python called at its place in a graph: in order, on live variables, and at the cost of one
operation, however many shapes there are."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import KERASES

import tfprune
from tfprune.training.host_call import HostCalls


class Doubler:
    def __init__(self):
        self.seen = []

    def double(self, variables, step):
        value, unused = variables
        assert unused is None
        self.seen.append((step, float(value.numpy())))
        value.assign(value * 2)


def test_a_call_stands_between_what_precedes_and_what_follows_it():
    value, owner, calls = tf.Variable(1.0), Doubler(), HostCalls()

    @tf.function(autograph=False)
    def steps():
        def body(step):
            value.assign_add(1.0)
            calls(owner.double, (value, None), step)
            value.assign_add(10.0)
            return step + 1

        return tf.while_loop(lambda step: step < 3, body, [tf.constant(0)])

    steps()
    assert owner.seen == [(0, 2.0), (1, 15.0), (2, 41.0)]
    assert all(isinstance(step, np.integer) for step, _ in owner.seen)
    assert float(value) == 92.0


def test_eager_code_calls_at_once():
    value, owner = tf.Variable(3.0), Doubler()
    HostCalls()(owner.double, (value, None), tf.constant(7))
    assert owner.seen == [(7, 3.0)] and float(value) == 6.0


def test_graphs_do_not_keep_what_they_called():
    def called():
        value, owner, calls = tf.Variable(1.0), Doubler(), HostCalls()

        @tf.function(autograph=False)
        def step():
            calls(owner.double, (value, None), tf.constant(0))

        step()
        assert float(value) == 2.0
        return weakref.ref(owner), weakref.ref(value)

    gone = called()
    gc.collect()
    assert [one() for one in gone] == [None, None]


ALLOCATIONS = [tfprune.Uniform(), tfprune.Global(), tfprune.LAMP()]


@pytest.mark.parametrize("allocation", ALLOCATIONS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("family", KERASES)
def test_a_compiled_step_grows_by_few_operations_a_site(family, allocation):
    def operations(widths):
        layers = KERASES[family].layers
        inputs = KERASES[family].Input((4,))
        outputs = inputs
        for width in widths:
            outputs = layers.Dense(width)(outputs)
        callback = tfprune.PruningCallback(
            "magnitude", schedule=tfprune.Constant(0.5, frequency=2), allocation=allocation
        )
        callback.start(KERASES[family].Model(inputs, outputs), total_steps=4)
        traced = tf.function(callback.settle, autograph=False).get_concrete_function()
        graph = traced.graph.as_graph_def()
        return len(graph.node) + sum(len(one.node_def) for one in graph.library.function)

    few, more, alike = operations((3, 5)), operations((3, 5, 6, 7, 8, 9)), operations((4,) * 6)
    assert alike == more
    assert more - few <= 4 * 12
