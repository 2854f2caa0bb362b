# SPDX-License-Identifier: Apache-2.0
"""Bad input: a clear error or a named skip, and nothing lost."""

import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tiny_models import KERASES, STEPS, cnn, compiled, data, fit, prepared, said, zeros

import tfprune
from tfprune.training.tfmot_words import import_tfmot
from tfprune.training.wrapped import method_of

everywhere = pytest.mark.parametrize("family", KERASES)
ways = pytest.mark.parametrize("wrap", [False, True], ids=["callback", "wrapped"])


# Numbers out of range.


@pytest.mark.parametrize("sparsity", [-0.1, 1, 1.0, 1.5, math.nan, "0.5", True])
def test_sparsity_out_of_range(sparsity):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    for call in (
        lambda: tfprune.PruningCallback("magnitude", sparsity),
        lambda: tfprune.prune(model, "magnitude", sparsity),
    ):
        with pytest.raises(ValueError, match=r"sparsity=.*expected a fraction .* in \[0, 1\)"):
            call()


def test_settings_that_say_nothing_or_disagree():
    with pytest.raises(ValueError, match="How much to prune"):
        tfprune.PruningCallback("magnitude")
    with pytest.raises(ValueError, match="disagree"):
        tfprune.PruningCallback("magnitude", 0.5, schedule=tfprune.OneShot(0.6))
    foreign = import_tfmot().sparsity.keras
    for schedule in (foreign.ConstantSparsity(0.75, 0), foreign.PolynomialDecay(0.0, 0.75, 0, 9)):
        with pytest.raises(ValueError, match=r"sparsity=0.25 and schedule=.*=0.75.* disagree"):
            tfprune.PruningCallback("magnitude", 0.25, schedule=schedule)
        tfprune.PruningCallback("magnitude", 0.75, schedule=schedule)
    single = foreign.ConstantSparsity(np.float32(0.8), 0)
    assert tfprune.PruningCallback("magnitude", 0.8, schedule=single).method.schedule is single
    with pytest.raises(ValueError, match="No method 'magnitud'; there are magnitude, random"):
        tfprune.PruningCallback("magnitud", 0.5)
    with pytest.raises(TypeError, match="name of a method or a Method, got float"):
        tfprune.PruningCallback(0.8)
    with pytest.raises(TypeError, match="schedule='soon'"):
        tfprune.PruningCallback("magnitude", schedule="soon")


# Schedules.


@everywhere
@ways
def test_a_schedule_that_never_fires_is_said_twice(family, wrap):
    schedule = tfprune.Polynomial(0.5, begin=100, end=200)
    model, callback = prepared(cnn(family), wrap, schedule=schedule)
    compiled(model, family)
    texts = said(lambda: fit(model, callback))
    start = [text for text in texts if "never fires" in text and "the run has 6 steps" in text]
    assert len(start) == 1 and "from step 100 to step 200" in start[0]
    assert any("never fires" in text and "ended after 6 steps" in text for text in texts)
    assert any("Nothing was pruned" in text for text in callback.report.warnings)
    assert all(mask.all() for mask in zeros(model).values())


@everywhere
def test_a_schedule_that_is_cut_short(family):
    model, callback = prepared(cnn(family), False, schedule=tfprune.Polynomial(0.5, end=100))
    texts = said(lambda: fit(compiled(model, family), callback))
    assert sum("is cut short" in text for text in texts) == 2


@everywhere
def test_the_second_fit_of_a_wrapped_model_goes_on_with_its_steps(family):
    schedule = tfprune.OneShot(0.5, at=2 * STEPS + 2)
    model, callback = prepared(cnn(family), True, schedule=schedule)
    texts = said(lambda: fit(compiled(model, family), callback))
    assert sum("OneShot(sparsity=0.5, at=8) never fires" in text for text in texts) == 2
    assert not said(lambda: fit(model, callback))
    assert callback.report.sparsity == pytest.approx(0.5, abs=0.02)


def test_a_schedule_that_never_fires_in_a_loop_of_ones_own():
    callback = tfprune.PruningCallback("magnitude", schedule=tfprune.OneShot(0.5, at=9))
    texts = said(lambda: callback.start(cnn("keras"), total_steps=6))
    assert len(texts) == 1 and "never fires" in texts[0]


@everywhere
@ways
def test_a_tfmot_schedule_that_never_fires(family, wrap):
    from tensorflow_model_optimization.sparsity.keras import ConstantSparsity

    model, callback = prepared(cnn(family), wrap, schedule=ConstantSparsity(0.5, begin_step=100))
    texts = said(lambda: fit(compiled(model, family), callback))
    name = r"ConstantSparsity\(target_sparsity=0.5, begin_step=100, end_step=-1, frequency=100\)"
    for when in ("the run has 6 steps", "training ended after 6 steps"):
        wanted = f"{name} never fires: it begins at step 100, but {when}"
        assert sum(bool(re.search(wanted, text)) for text in texts) == 1
    assert any("Nothing was pruned" in text for text in callback.report.warnings)


@everywhere
def test_tfmots_schedules_that_fire_early_and_that_do_not_end(family):
    from tensorflow_model_optimization.sparsity.keras import ConstantSparsity, PolynomialDecay

    wrap = family == "keras"  # each way in one Keras
    schedule = PolynomialDecay(0.0, 0.5, np.int32(0), np.int32(40), frequency=2)
    model, callback = prepared(cnn(family), wrap, schedule=schedule)
    texts = said(lambda: fit(compiled(model, family), callback))
    assert sum("is cut short: it runs from step 0 to step 40" in text for text in texts) == 2

    model, callback = prepared(cnn(family), not wrap, schedule=ConstantSparsity(0.5, 0))
    assert not said(lambda: fit(compiled(model, family), callback))
    assert callback.report.sparsity == pytest.approx(0.5, abs=0.02)


@everywhere
@ways
def test_a_schedule_that_is_none_changes_nothing(family, wrap):
    from tensorflow_model_optimization.sparsity.keras import PolynomialDecay

    model, callback = prepared(cnn(family), wrap, schedule=PolynomialDecay(0.0, 0.8, 5, 5))
    before = [weight.copy() for weight in model.get_weights()]
    with pytest.raises(ValueError, match=r"PolynomialDecay\(.* yields as sparsity nan at step 5"):
        fit(compiled(model, family), callback)
    for weight, old in zip(model.get_weights(), before):
        np.testing.assert_array_equal(weight, old)


def test_masks_that_stay_full_are_blamed_on_what_fills_them():
    allocation = tfprune.PerSite({"conv": 0.0, "hidden": 0.0, "logits": 0.0})
    model, callback = prepared(cnn("keras"), False, sparsity=0.5, allocation=allocation)
    (text,) = said(lambda: fit(compiled(model, "keras"), callback))
    assert "Nothing was pruned" in text and "PerSite(" in text and "schedule" not in text


@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed", "ignore:Your input ran out of data")
@everywhere
@ways
def test_a_fraction_of_a_run_of_unknown_length(family, wrap):
    model, callback = prepared(cnn(family), wrap, sparsity=0.5)
    endless = tf.data.Dataset.from_tensor_slices(data()).batch(8).filter(lambda x, y: True)
    compiled(model, family)
    with pytest.raises(ValueError, match="pass total_steps"):
        model.fit(endless, epochs=2, verbose=0, callbacks=[callback])
    callback.total_steps = 2 * STEPS
    model.fit(endless, epochs=2, verbose=0, callbacks=[callback])
    assert not callback.report.warnings
    assert callback.report.sparsity == pytest.approx(0.5, abs=0.02)


# Models and layers.


@everywhere
def test_what_is_no_keras_object(family):
    for wrong in (3, "model", None, tf.Variable(1.0)):
        for call in (tfprune.prune, tfprune.strip_pruning, tfprune.report):
            with pytest.raises(TypeError, match="Expected a Keras model, a Keras layer"):
                call(wrong, *(["magnitude", 0.5] if call is tfprune.prune else []))


@everywhere
def test_subclassed_models_are_shown_the_other_way(family):
    class Own(KERASES[family].Model):
        pass

    with pytest.raises(ValueError, match=r"(?s)subclassed.*__init__.*PruningCallback\('magnitude'"):
        tfprune.prune(Own(), "magnitude", 0.5)


@everywhere
def test_a_train_step_that_wrapping_would_lose(family):
    """Keras 3 keeps a class whose constructor is the model's; nobody keeps another one."""

    class Own(KERASES[family].Model):
        def __init__(self, depth=1):
            base = cnn(family)
            super().__init__(base.inputs, base.outputs)

        def train_step(self, data):
            raise AssertionError("not called here")

    with pytest.raises(ValueError, match="Own has a train_step of its own.*PruningCallback"):
        tfprune.prune(Own(), "magnitude", 0.5)


@everywhere
def test_a_layer_twice(family):
    layer = KERASES[family].layers.Dense(3)
    with pytest.raises(ValueError, match="is listed twice"):
        tfprune.prune([layer, layer], "magnitude", 0.5)


@everywhere
def test_a_wrapped_model_is_not_wrapped_twice(family):
    model = tfprune.prune(cnn(family), "magnitude", 0.5)
    for wrapped in (model, model.layers[1], [model.layers[1]]):
        with pytest.raises(ValueError, match="'conv' is wrapped.* already.*strip_pruning"):
            tfprune.prune(wrapped, "magnitude", 0.75)
    with pytest.raises(ValueError, match="wrapped for pruning already"):
        fit(compiled(model, family), tfprune.PruningCallback("magnitude", 0.5))
    library = KERASES[family]
    first = tfprune.prune(library.layers.Dense(4), "magnitude", 0.25)
    rest = tfprune.prune(
        library.Sequential([library.Input((3,)), first, library.layers.Dense(4)]), "magnitude", 0.75
    )
    methods = [method_of(layer) for layer in rest.layers]
    assert [method.schedule.sparsity for method in methods] == [0.25, 0.75]


@everywhere
def test_nothing_to_prune(family):
    library = KERASES[family]
    model = library.Sequential(
        [library.Input((6, 6, 2)), library.layers.BatchNormalization(), library.layers.Flatten()]
    )
    with pytest.raises(ValueError, match="no weight that can be pruned"):
        tfprune.prune(model, "magnitude", 0.5)
    with pytest.raises(ValueError, match="no prunable weight"):
        tfprune.prune(library.layers.ReLU(), "magnitude", 0.5)
    with pytest.raises(ValueError, match="(?s)no weight that can be pruned.*normalization: scales"):
        tfprune.PruningCallback("magnitude", 0.5).start(model, total_steps=4)
    with pytest.raises(ValueError, match="No layer of the model .* is wrapped for pruning"):
        tfprune.PruningCallback().start(cnn(family))
    assert tfprune.report(model).sites == ()


def test_an_empty_list():
    with pytest.raises(ValueError, match="at least one layer"):
        tfprune.prune([], "magnitude", 0.5)


def test_mixed_kerases():
    with pytest.raises(TypeError, match="keras and tf_keras are mixed"):
        tfprune.prune([keras.layers.Dense(2), tf_keras.layers.Dense(2)], "magnitude", 0.5)


@everywhere
def test_unbuilt_models(family):
    library = KERASES[family]
    model = library.Sequential(
        [library.layers.Flatten(), library.layers.Dense(4), library.layers.Dense(3)]
    )
    assert tfprune.report(model).sites == ()
    for wrap in (False, True):
        current, callback = prepared(model, wrap, schedule=tfprune.Polynomial(0.5, end=1.0))
        fit(compiled(current, family), callback)
        assert [row.kept for row in callback.report.sites] == [144, 6]


@everywhere
def test_an_unknown_layer_stays_dense_and_is_named(family):
    layers = KERASES[family].layers

    class Scale(layers.Layer):
        def build(self, input_shape):
            self.scale = self.add_weight(name="scale", shape=(input_shape[-1],), initializer="ones")

        def call(self, inputs):
            return inputs * self.scale

    inputs = KERASES[family].Input((6, 6, 2))
    outputs = layers.Dense(3, name="logits")(layers.Flatten()(Scale(name="odd")(inputs)))
    base = KERASES[family].Model(inputs, outputs)
    for wrap in (False, True):
        model, callback = prepared(base, wrap, schedule=tfprune.Polynomial(0.5, end=1.0))
        fit(compiled(model, family), callback)
        report = tfprune.report(model)
        assert [row.kept for row in report.sites] == [108]
        for text in (report, callback.report):
            assert [skip.name for skip in text.skipped] == ["odd"]
            assert "unknown layer Scale" in text.skipped[0].reason
            assert "get_prunable_weights" in str(text)


# Structures and allocations.


@pytest.mark.parametrize("wrong", [(0, 4), (4, 0), (1.5, 2), (True, 2)])
def test_blocks_of_no_size(wrong):
    with pytest.raises(ValueError, match="expected an integer of at least 1"):
        tfprune.Block(*wrong)


@pytest.mark.parametrize("n, m", [(0, 4), (4, 4), (5, 4), (1, 1)])
def test_n_of_m_that_is_none(n, m):
    with pytest.raises(ValueError, match="NofM"):
        tfprune.NofM(n, m)


@everywhere
@pytest.mark.parametrize(
    "structure", [tfprune.Block(5, 7), tfprune.Block(100, 100), tfprune.NofM(3, 7)], ids=repr
)
def test_sizes_that_do_not_divide_are_allowed(family, structure):
    callback = tfprune.PruningCallback(
        "magnitude",
        structure=structure,
        schedule=tfprune.OneShot(0.4) if structure.fixed is None else tfprune.OneShot(4 / 7),
    )
    callback.start(cnn(family))
    for target in callback.driver.targets:
        site, mask = target.site, target.mask.numpy()
        groups = structure.reduce(mask.astype("float64"), site.layout)
        if structure.fixed is None:
            assert (groups == 1).sum() == max(1, round(groups.size * 0.6))
        else:
            lengths = np.isfinite(groups).sum(axis=-1)
            np.testing.assert_array_equal((groups == 1).sum(axis=-1), np.minimum(lengths, 3))


@everywhere
def test_a_layer_that_the_structure_cannot_take_is_named(family):
    library = KERASES[family]
    inputs = library.Input((6, 6, 2))
    hidden = library.layers.DepthwiseConv2D(3, name="depth")(inputs)
    outputs = library.layers.Dense(3)(library.layers.Flatten()(hidden))
    model = compiled(library.Model(inputs, outputs), family)
    callback = tfprune.PruningCallback("magnitude", structure=tfprune.NofM(2, 4))
    fit(model, callback)
    assert [skip.name.split("/")[0] for skip in callback.report.skipped] == ["depth"]
    assert "no rows of m weights" in callback.report.skipped[0].reason
    assert callback.report.sparsity == 0.5


@pytest.mark.parametrize(
    "allocation",
    [tfprune.Global(), tfprune.ERK(), tfprune.LAMP(), tfprune.PerSite({"conv": 0.5})],
    ids=lambda a: type(a).__name__,
)
def test_an_allocation_that_the_structure_cannot_take(allocation):
    with pytest.raises(ValueError, match="takes only Uniform"):
        tfprune.PruningCallback(
            "magnitude", 0.5, structure=tfprune.NofM(2, 4), allocation=allocation
        )


@everywhere
@ways
def test_a_key_that_matches_nothing(family, wrap):
    allocation = tfprune.PerSite({"convolution": 0.5})
    model, callback = prepared(cnn(family), wrap, sparsity=0.5, allocation=allocation)
    with pytest.raises(ValueError, match="'convolution' matches no layer.*conv/kernel"):
        fit(compiled(model, family), callback)
