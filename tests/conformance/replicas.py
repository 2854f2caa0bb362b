# SPDX-License-Identifier: Apache-2.0
"""Run by test_processes.py in a process of its own: two logical CPU devices, MirroredStrategy."""

import contextlib

import numpy as np
import tensorflow as tf
from tiny_models import KERASES, STEPS, check_run, cnn, compiled, examples, fit, masks, with_weights

import tfprune
from tfprune.backend import adapter_of, view
from tfprune.quantization.quantize_aware import wrappers

SCHEDULE = tfprune.Polynomial(0.6, end=1.0, frequency=2)


def method(name):
    found = tfprune.get_method(name, schedule=SCHEDULE)
    return found if found.gate.acts else tfprune.get_method(found, gate=tfprune.MaskGate(True))


def wrapped(family):
    """A model whose layers are wrapped for one method each: by weights, and measured on data."""
    library = KERASES[family]
    layers = library.layers
    return with_weights(
        library.Sequential(
            [
                library.Input((6, 6, 2)),
                tfprune.prune(
                    layers.Conv2D(4, 3, activation="relu", name="conv"), method("magnitude")
                ),
                layers.Flatten(),
                tfprune.prune(layers.Dense(8, activation="relu", name="hidden"), method("snip")),
                layers.Dense(3, name="logits"),
            ]
        )
    )


def prepared(family, way):
    """(model, callback): wrapped, or with a gate that acts and the callback alone."""
    if way == "wrapped":
        return wrapped(family), tfprune.PruningCallback(data=examples(family))
    return cnn(family), tfprune.PruningCallback(method("spp"), data=examples(family))


def assert_replicas_alike(callback):
    for target in callback.driver.targets:
        for variable in tf.nest.flatten(target.variables):
            if variable is not None:
                first, second = (local.numpy() for local in variable.values)
                np.testing.assert_array_equal(first, second, target.site.name)


def compare(family, way):
    model, single = prepared(family, way)
    fit(compiled(model, family), single)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert strategy.num_replicas_in_sync == 2
    with strategy.scope():
        model, mirrored = prepared(family, way)
        compiled(model, family)
    fit(model, mirrored)
    assert mirrored.driver.finished == 2 * STEPS
    assert_replicas_alike(mirrored)
    check_run(mirrored, 0.6)
    names = sorted({settle.method.name for settle in mirrored.driver.settles})
    for one, other in zip(masks(single).values(), masks(mirrored).values()):
        np.testing.assert_array_equal(one, other)
    print(f"alike: {family} {' '.join(names)} {way}")


def compare_quantized(family):
    """Zeros stay, and ranges are alike on both replicas."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        model = cnn(family)
    tfprune.sparsify(model, "magnitude", 0.6)
    aware = tfprune.quantize_aware(model)  # takes the model's strategy, without its scope
    with strategy.scope():
        compiled(aware, family)
    fit(aware)
    home = adapter_of(aware)
    for one in wrappers(view(aware)):
        for variable in (one.core.ranges, one.layer.kernel):
            first, second = (local.numpy() for local in home.raw(variable).values)
            np.testing.assert_array_equal(first, second, one.name)
        low, high = one.core.ranges.numpy()[0]
        assert low <= 0 < high
        kept = one.core.masks["kernel"].numpy() != 0
        np.testing.assert_array_equal(first != 0, kept, one.name)
        assert abs(kept.mean() - 0.4) < 0.05
    print(f"alike: {family} quantized")


def compare_taught(family):
    """Under a teacher, replicas learn what one device does."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    found = []
    for scope in (contextlib.nullcontext(), strategy.scope()):
        with scope:
            model, teacher = compiled(cnn(family), family), with_weights(cnn(family), 9)
        settings = tfprune.Distillation(teacher, features={"hidden": "hidden"})
        callback = tfprune.PruningCallback(schedule=SCHEDULE, teacher=settings)
        logs = fit(model, callback, epochs=1).history
        assert not {"compute_loss", "call"} & {*vars(model), *vars(model.layers[-1])}
        found.append([logs["loss"], logs["distillation"], *model.get_weights()])
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    print(f"alike: {family} taught")


if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    for family in KERASES:
        compare(family, "wrapped")
        compare(family, "callback")
        compare_quantized(family)
        compare_taught(family)
