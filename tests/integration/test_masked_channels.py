# SPDX-License-Identifier: Apache-2.0
"""A masked channel is zero as a whole, in every step; then shrinking takes it, exactly."""

import numpy as np
import pytest

import tfprune
from tests.shrink_models import deviation
from tests.tiny_models import KERASES, compiled, data, fit, masks, with_weights
from tfprune.channels.tracer import variables
from tfprune.layers.channel_graph import Role

COUPLED = tfprune.Filter(coupled=True)
OWN = ("kernel", "depthwise_kernel", "bias", "gamma", "beta", "moving_mean", "alpha")


def network(family, recurrent=True):
    """All that may belong to a channel: each kind of bias, scale, shift, mean and state."""
    library, layers = KERASES[family], KERASES[family].layers
    inputs = library.Input((6, 6, 2), name="image")
    stem = layers.Conv2D(8, 3, padding="same", name="stem")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(scale=False, name="shift")(stem))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="branch")(x)
    x = layers.Add()([layers.BatchNormalization(name="norm")(x), stem])
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.PReLU(shared_axes=[1, 2], name="slopes")(x)
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="last")(x)
    x = layers.GlobalAveragePooling2D()(x)
    if recurrent:
        y = layers.Reshape((3, 24))(inputs)
        y = layers.LSTM(6, return_sequences=True, unroll=True, name="lstm")(y)
        y = layers.GRU(6, unroll=True, name="gru")(y)
        x = layers.Concatenate()([x, y])
    model = with_weights(library.Model(inputs, layers.Dense(3, name="logits")(x)))
    for site in model.weights:
        if "variance" in getattr(site, "path", site.name):
            site.assign(np.abs(site) + 0.1)
    return model


class Channels:
    """Which channels of a model are masked, and what is left of them."""

    def __init__(self, model):
        self.groups = [one for one in tfprune.channel_groups(model) if one.prunable]
        self.held = variables(model)

    def masked(self, kept):
        """{name of the group: bool [channels]}, from the masks of the kernels by name."""

        def of(member):
            mask = kept[member.site]
            others = tuple(axis for axis in range(mask.ndim) if axis != member.axis)
            return mask.any(axis=others)[member.indices].any(axis=1)

        return {
            group.name: ~np.any([of(one) for one in group.producers], axis=0)
            for group in self.groups
        }

    def left(self, kept):
        """The variables that are not zero at masked channels."""
        masked = self.masked(kept)
        return {
            one.site
            for group in self.groups
            for one in group.members
            if self._belongs(one) and self._entries(one)[one.indices[masked[group.name]]].any()
        }

    def _belongs(self, member):
        name = member.site.rpartition("/")[2]
        return name == "recurrent_kernel" or (name in OWN and member.role is not Role.CONSUMER)

    def _entries(self, member):
        return np.moveaxis(self.held[member.site].numpy(), member.axis, 0)


def watched(family, channels, callback, seen):
    """A callback that notes after every step what is left, and how many channels are masked."""

    class Watch(KERASES[family].callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            kept = masks(callback)
            count = sum(one.sum() for one in channels.masked(kept).values())
            seen.append((int(count), channels.left(kept)))

    return Watch()


def assert_shrinks_exactly(model, removed):
    images = data()[0]
    small, report = tfprune.shrink(model, data=images)
    assert report.removed == removed, str(report)
    assert not report.folded and not [one for one in report.groups if one.reasons and one.dead]
    assert report.agreement.examples == len(images)
    assert report.agreement.deviation < 1e-6 and report.agreement.changed == 0
    assert deviation(model, small, images) < 1e-6


@pytest.mark.parametrize("family, wrap", [("keras", False), ("tf_keras", True)])
def test_a_masked_channel_is_zero_in_every_step_and_shrinks_exactly(family, wrap):
    method = tfprune.get_method(
        "magnitude", structure=COUPLED, schedule=tfprune.Polynomial(0.5, end=5, frequency=1)
    )
    model = network(family)
    if wrap:
        model, callback = tfprune.prune(model, method), tfprune.PruningCallback()
    else:
        callback = tfprune.PruningCallback(method)
    seen, channels = [], Channels(model)
    fit(compiled(model, family), callback, watched(family, channels, callback, seen))
    assert [count for count, _ in seen][-2:] == [13, 13] and seen[0][0] > 0
    assert not set().union(*(left for _, left in seen))
    # Nothing of this is zero by itself.
    kept = {name: np.zeros_like(one) for name, one in masks(callback).items()}
    assert channels.left(kept) >= {
        "stem/bias",
        "shift/beta",
        "shift/moving_mean",
        "norm/gamma",
        "norm/beta",
        "depthwise/bias",
        "slopes/alpha",
        "last/bias",
        "lstm/lstm_cell/bias",
        "gru/gru_cell/recurrent_kernel",
    }
    assert_shrinks_exactly(model, 13)


@pytest.mark.filterwarnings("ignore:The pruning schedule .* is cut short")  # half of the run
def test_channels_that_may_return_keep_what_belongs_to_them_until_the_last_masks(tmp_path):
    def wrapped():
        schedule = tfprune.Polynomial(0.5, end=9, frequency=2)
        return compiled(
            tfprune.prune(
                network("keras", recurrent=False), "dpf", structure=COUPLED, schedule=schedule
            ),
            "keras",
        )

    model, callback, seen = wrapped(), tfprune.PruningCallback(), []
    channels = Channels(model)
    fit(model, callback, watched("keras", channels, callback, seen), epochs=4)
    assert all(left for count, left in seen[:8] if count) and seen[7][0]
    assert not any(left for _, left in seen[8:])
    assert_shrinks_exactly(model, seen[-1][0])

    first = wrapped()
    with pytest.warns(UserWarning, match="give the schedule an end before that of the run"):
        fit(first, tfprune.PruningCallback(), epochs=2)
    first.save(tmp_path / "half.keras")
    again = tfprune.load_model(tmp_path / "half.keras")
    fit(again, tfprune.PruningCallback(), epochs=4, initial_epoch=2)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_channels_that_may_return_for_ever_keep_their_biases_and_the_report_says_so():
    model = compiled(network("keras", recurrent=False), "keras")
    callback = tfprune.PruningCallback(
        "dpf", structure=COUPLED, schedule=tfprune.Constant(0.5, frequency=2)
    )
    callback.start(model)
    with pytest.warns(UserWarning, match="give the schedule an end"):
        (text,) = callback.finish().warnings
    assert "stem/kernel" in text
    channels = Channels(model)
    assert "stem/bias" in channels.left(masks(callback))
    small, report = tfprune.shrink(model, data=data()[0])
    assert report.agreement.deviation < 1e-6 and "borders=True" in str(report)


def test_pruning_without_training_leaves_nothing_of_a_channel():
    model = compiled(network("tf_keras"), "tf_keras")
    tfprune.sparsify(model, "taylor", 0.5, data=data())
    assert_shrinks_exactly(model, 13)


def test_biases_stay_where_filters_are_not_coupled_or_a_maker_is_not_masked():
    model = network("keras")
    before = model.get_weights()
    tfprune.sparsify(model, "magnitude", 0.5, structure=tfprune.Filter())
    kernels = {id(one.variable) for one in tfprune.backend.view(model).sites}
    for site, value in zip(model.weights, before):
        if id(site.value) not in kernels:
            np.testing.assert_array_equal(site, value, site.path)

    layers = KERASES["keras"].layers
    inputs = KERASES["keras"].Input((4,))
    first = tfprune.prune(
        layers.Dense(6, name="one"), "magnitude", structure=COUPLED, schedule=tfprune.OneShot(0.5)
    )(inputs)
    alone = tfprune.prune(
        layers.Dense(6, activation="relu", name="alone"),
        "magnitude",
        structure=COUPLED,
        schedule=tfprune.OneShot(0.5),
    )(inputs)
    summed = layers.Add()([first, layers.Dense(6, name="two")(inputs)])
    outside = layers.Dense(2)(layers.Concatenate()([summed, alone]))
    model = with_weights(KERASES["keras"].Model(inputs, outside))
    callback = tfprune.PruningCallback()
    callback.start(model)
    callback.finish()
    held = variables(model)
    assert not held["one/kernel"].numpy()[:, ~masks(callback)["one/kernel"][0]].any()
    assert held["one/bias"].numpy().all() and held["two/bias"].numpy().all()
    np.testing.assert_array_equal(
        held["alone/bias"].numpy() != 0, masks(callback)["alone/kernel"][0]
    )
