"""Run by test_processes.py in a process of its own: two logical CPU devices, MirroredStrategy."""

import sys

import numpy as np
import tensorflow as tf
from tiny_models import STEPS, check_run, cnn, compiled, examples, fit, masks

import tfprune

SCHEDULE = tfprune.Polynomial(0.6, end=1.0, frequency=2)


def prepared(family, name, wrap):
    method = tfprune.get(name, schedule=SCHEDULE)
    if not method.gate.acts:
        method = tfprune.get(method, gate=tfprune.Fixed(True))
    if wrap:
        return (tfprune.prune(cnn(family), method),
                tfprune.PruningCallback(data=examples(family)))
    return cnn(family), tfprune.PruningCallback(method, data=examples(family))


def assert_replicas_alike(callback):
    for target in callback.driver.targets:
        for variable in tf.nest.flatten(target.variables):
            if variable is not None:
                first, second = (local.numpy() for local in variable.values)
                np.testing.assert_array_equal(first, second, target.site.name)


def compare(family, name, wrap):
    model, single = prepared(family, name, wrap)
    fit(compiled(model, family), single)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert strategy.num_replicas_in_sync == 2
    with strategy.scope():
        model, mirrored = prepared(family, name, wrap)
        compiled(model, family)
    fit(model, mirrored)
    assert mirrored.driver.finished == 2 * STEPS
    assert_replicas_alike(mirrored)
    check_run(mirrored, 0.6)
    for one, other in zip(masks(single).values(), masks(mirrored).values()):
        np.testing.assert_array_equal(one, other)
    print(f"alike: {family} {name} {'wrapped' if wrap else 'callback'}")


if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    compare(sys.argv[1], "magnitude", wrap=False)
    compare(sys.argv[1], "snip", wrap=True)
    compare(sys.argv[1], "spp", wrap=True)
