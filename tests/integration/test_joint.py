# SPDX-License-Identifier: Apache-2.0
"""Joint pruning and quantization from wrapping to the plain model, in both Kerases."""

import numpy as np
import pytest
from joint_models import (
    cores,
    in_half,
    plain,
    price,
    prune,
    residual,
    set_gates,
    trained,
    without_input_quantizers,
)
from tiny_models import KERASES, compiled, data, fit, zeros

import tfprune
from tfprune.backend import view
from tfprune.quantization import djpq_training

everywhere = pytest.mark.parametrize("family", KERASES)
GATES = {
    "stem": ([1.5, 0.5, 0.75, 2], [-5, -5, 0, -5]),
    "c2": ([0.5, 1, 0.1, 2, 1], [-3, 1, -3, 1, -3]),
}
KEPT = {"stem": [1, 1, 0, 1], "c2": [1, 0, 0, 1, 1]}


@pytest.fixture(scope="module", params=KERASES)
def pruned(request):
    return request.param, *trained(request.param, residual(request.param))


@everywhere
def test_where_gates_and_quantizers_stand(family):
    model = residual(family)
    before = model.predict(data()[0], verbose=0)
    wrapped = prune(model)
    np.testing.assert_allclose(wrapped.predict(data()[0], verbose=0), before, rtol=1e-4)
    found = price(wrapped).places
    # One vector for the coupled channels of the sum, behind what makes each summand.
    assert {
        name: [(maker.end.name, (maker.norm or maker.layer).name) for maker in gated.makers]
        for name, gated in found.gated.items()
    } == {"stem": [("r0", "bn0"), ("bn1", "bn1")], "c2": [("c2", "c2")]}
    assert {
        name: (core.part.weights, core.part.inputs, core.part.channels)
        for name, core in cores(wrapped).items()
    } == {
        "stem": (True, "", 0),
        "r0": (False, "", 4),
        "c1": (True, "unsigned", 0),
        "bn1": (False, "", 4),
        "c2": (True, "unsigned", 5),
        "logits": (True, "unsigned", 0),
    }
    assert [(one.site.name, one.macs, one.reads, one.makes) for one in found.works] == [
        ("stem/kernel", 72 * 36, {}, {"stem": 1}),
        ("c1/kernel", 144 * 36, {"stem": 1}, {"stem": 1}),
        ("c2/kernel", 20 * 36, {"stem": 1}, {"c2": 1}),
        ("logits/kernel", 540, {"c2": 1}, {}),
    ]
    assert price(wrapped).relative(whole=True) == 1 / 16  # 8 bits by 8 bits


@everywhere
def test_folding_changes_nothing_and_dropped_channels_are_zero(family):
    inputs = data()[0]
    model = prune(residual(family))
    set_gates(model, GATES)
    before = model.predict(inputs, verbose=0)
    djpq_training.finish(view(model))
    np.testing.assert_allclose(model.predict(inputs, verbose=0), before, rtol=1e-5, atol=1e-5)
    djpq_training.finish(view(model))  # once more changes nothing
    np.testing.assert_allclose(model.predict(inputs, verbose=0), before, rtol=1e-5, atol=1e-5)
    stripped = tfprune.strip_pruning(model)
    np.testing.assert_allclose(
        stripped.predict(inputs, verbose=0), model.predict(inputs, verbose=0), rtol=1e-6, atol=1e-6
    )
    ratios = {name: float(one.kept_ratio()) for name, one in price(model).bottlenecks.items()}
    assert ratios == {name: np.mean(kept).astype("float32") for name, kept in KEPT.items()}
    held = zeros(stripped)
    stem, last = (np.array(KEPT[name]) > 0 for name in ("stem", "c2"))
    for name, expected in {
        "stem/kernel": np.broadcast_to(stem, (3, 3, 2, 4)),
        "c1/kernel": np.broadcast_to(np.outer(stem, stem), (3, 3, 4, 4)),
        "c2/kernel": np.outer(stem, last)[None, None],
        "logits/kernel": np.repeat(np.tile(last, 36)[:, None], 3, axis=1),
    }.items():
        np.testing.assert_array_equal(held[name], expected, name)
    same = residual(family)
    same.set_weights(stripped.get_weights())
    outputs = [same.get_layer(name).output for name in ("r0", "bn1", "c2")]
    seen = KERASES[family].Model(same.inputs, outputs).predict(inputs, verbose=0)
    for value, kept in zip(seen, (stem, stem, last)):
        assert not value[..., ~kept].any() and value[..., kept].any()


@everywhere
def test_the_noise_is_kept_when_gates_are_folded(family):
    model = prune(residual(family))
    set_gates(model, GATES)
    told = {name: float(one.divergence()) for name, one in price(model).bottlenecks.items()}
    djpq_training.finish(view(model))
    for name, one in price(model).bottlenecks.items():
        mu, log_variance, kept = one.read()
        assert mu[kept].tolist() == [1] * kept.sum() and not mu[~kept].any()
        alpha = np.square(GATES[name][0]) / np.exp(GATES[name][1])
        np.testing.assert_allclose(np.exp(-log_variance[kept]), alpha[kept], rtol=1e-5)
        assert float(one.divergence()) < told[name]  # dropped ones tell nothing


@everywhere
def test_gates_and_quantizers_do_not_decay(family):
    model = compiled(prune(plain(family)), family, KERASES[family].optimizers.AdamW(0.1, 0.1))
    model.optimizer.build(model.trainable_variables)
    djpq_training.begin(view(model))
    held = [one for core in cores(model).values() for one in core.variables]
    assert len(held) > 6 and not any(model.optimizer._use_weight_decay(one) for one in held)
    kernels = [item.variable for item in view(model).sites]
    assert len(kernels) == 2 and all(model.optimizer._use_weight_decay(one) for one in kernels)


def test_a_run_prunes_and_quantizes_and_says_so(pruned):
    family, model, callback, history = pruned
    assert np.isfinite(history["loss"]).all()
    found = price(model)
    assert found.relative(whole=True) < 0.05
    rows = {row.name: row for row in callback.report.sites}
    share = found.relative(whole=True)
    assert callback.report.remarks[0].startswith(f"{100 * share:.3f} % of the bit operations")
    for work in found.places.works:
        notes = " ".join(rows[work.site.name].notes)
        weights, inputs = found.widths(work)
        assert f"weights {int(np.ceil(float(weights) - 1e-3))} bits" in notes
        assert "fits int8" in notes or "16x8" in notes or "stays float" in notes
        assert ("inputs" in notes) != work.raw and 2 <= float(weights) <= 32
    assert not callback.report.warnings
    np.testing.assert_array_equal(
        model.predict(data()[0], verbose=0), model.predict(data()[0], verbose=0)
    )


def test_copies_of_a_gate_vector_stay_equal(pruned):
    _, model, _, _ = pruned
    first, second = (cores(model)[name].bottleneck.read() for name in ("r0", "bn1"))
    for one, other in zip(first, second):
        np.testing.assert_array_equal(one, other)


def test_saved_trained_on_and_stripped(pruned, tmp_path):
    family, model, callback, _ = pruned
    path = tmp_path / "model.keras"
    before = model.predict(data()[0], verbose=0)
    model.save(path)
    loaded = tfprune.load_model(path)
    np.testing.assert_array_equal(loaded.predict(data()[0], verbose=0), before)
    dropped = {one.site.name: one.mask.numpy() == 0 for one in callback.driver.targets}
    compiled(loaded, family, KERASES[family].optimizers.Adam(1e-3))
    callback = tfprune.PruningCallback()
    fit(loaded, callback, epochs=1)
    for target in callback.driver.targets:
        kernel, mask = target.kernel.numpy(), target.mask.numpy()
        assert kernel.any() and not kernel[mask == 0].any()
        assert not mask[dropped[target.site.name]].any()
    for core in cores(loaded).values():
        if core.weights is not None:
            _check_levels(core)
    without_input_quantizers(loaded)
    inside = loaded.predict(data()[0], verbose=0)
    stripped = tfprune.strip_pruning(loaded)
    assert [layer.name for layer in stripped.layers] == [
        layer.name for layer in residual(family).layers[:-2]
    ] + [stripped.layers[-2].name, "logits"]
    np.testing.assert_allclose(stripped.predict(data()[0], verbose=0), inside, rtol=1e-5, atol=1e-6)


def _check_levels(core):
    """Every weight is a whole number of steps of its filter, of as many as its bits hold."""
    step, _, _, width = (float(one) for one in core.weights.settings())
    levels = core.kernel.numpy() / (core.scale.numpy() * step)
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-3)
    assert np.abs(levels).max() <= 2 ** (width - 1)
    assert core.rest.numpy().any()  # what rounding took is kept, to train on from


def test_restricted_jit_and_half_precision():
    gate = tfprune.DJPQConfig(bops=2.0, rate=20.0, ramp=0, restricted=True, form="log")
    model, callback, history = in_half(
        "keras",
        lambda: trained("keras", plain("keras"), 2, gate, jit_compile=True, steps_per_execution=3),
    )
    assert np.isfinite(history["loss"]).all()
    found = price(model)
    widths = [float(one) for work in found.places.works for one in found.widths(work)]
    assert set(widths) <= {2, 4, 8, 16, 32} and len(widths) == 4
    rows = zip(found.places.works, widths[::2], widths[1::2])
    kept = {name: float(one.kept_ratio()) for name, one in found.bottlenecks.items()}
    cost = sum(
        work.macs
        * weights
        * inputs
        * np.prod([kept[name] for name in work.reads])
        * np.prod([kept[name] for name in work.makes])
        for work, weights, inputs in rows
    )
    dense = sum(work.macs * 1024 for work in found.places.works)
    assert found.relative(whole=True) == pytest.approx(cost / dense, rel=1e-5)
