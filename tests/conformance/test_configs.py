# SPDX-License-Identifier: Apache-2.0
"""Every setting survives the way through JSON, in every field."""

import dataclasses
import json

import pytest

import tfprune
from tfprune import (
    DropProbabilityRule,
    Epochs,
    ImportanceSamplingRule,
    Method,
    RegrowRule,
    ThresholdRule,
    TopKRule,
    reconstruction,
)
from tfprune.masks import allocations, kernel_layout, schedules, serialization, structures
from tfprune.masks.serialization import from_config, to_config
from tfprune.methods import REGISTRY, gates, get_method
from tfprune.methods.rules.learned_mask import Told
from tfprune.methods.rules.topk_logits import TopKLogitsRule
from tfprune.quantization.settings import DJPQConfig, Part, QuantizationConfig
from tfprune.reconstruction.admm import Solve
from tfprune.reconstruction.obs import RefitRule

# For each class one or more objects in which, together, no field has its default.
EXAMPLES = {
    kernel_layout.Layout: [kernel_layout.Layout((2, 1), (0,), (3,))],
    structures.Element: [structures.Element()],
    structures.Block: [structures.Block(2, 3, "max")],
    structures.NofM: [structures.NofM(1, 4)],
    structures.Kernel: [structures.Kernel("sum", balanced=True)],
    structures.Pattern: [structures.Pattern(((0, 1), (2, 3)), connectivity=True, balanced=True)],
    structures.Rows: [structures.Rows("maps", 3, tiles=2, pooling="max")],
    structures.Column: [structures.Column("max")],
    structures.Channel: [structures.Channel("max")],
    structures.Filter: [structures.Filter("sum", coupled=True)],
    allocations.Uniform: [allocations.Uniform(3)],
    allocations.Global: [allocations.Global(3)],
    allocations.ERK: [allocations.ERK(3)],
    allocations.LAMP: [allocations.LAMP(3)],
    allocations.PerSite: [allocations.PerSite({"a": 0.25, "b/kernel": 0.0}, allocations.ERK(2), 4)],
    allocations.CostAware: [allocations.CostAware(3, beta=0.5, unit="parameters")],
    allocations.PFP: [allocations.PFP(3, delta=0.1, constant=2.0)],
    Epochs: [Epochs(1.5)],
    schedules.OneShot: [schedules.OneShot(0.3, at=Epochs(2))],
    schedules.Constant: [schedules.Constant(0.3, begin=2, end=0.75, frequency=3)],
    schedules.Polynomial: [
        schedules.Polynomial(0.3, 0.1, begin=0.25, end=1.0, power=2, frequency=4)
    ],
    schedules.Exponential: [schedules.Exponential(0.3, 0.1, begin=Epochs(1), end=9, frequency=4)],
    schedules.FixedMask: [schedules.FixedMask()],
    reconstruction.ADMM: [
        reconstruction.ADMM(
            2,
            3,
            4,
            0.1,
            reconstruction.ADMMPenalty(most=200.0),
            reconstruction.SyntheticInputs("normal"),
            False,
        )
    ],
    reconstruction.ADMMPenalty: [reconstruction.ADMMPenalty(0.2, 3.0, 4.0)],
    reconstruction.SyntheticInputs: [
        reconstruction.SyntheticInputs("normal", 5, 0.5, size=6, tokens=7)
    ],
    schedules.StepwiseRemoval: [
        schedules.StepwiseRemoval(0.3, 7, begin=Epochs(1), frequency=5, groups=90)
    ],
    gates.MaskGate: [gates.MaskGate(straight_through=True)],
    gates.WeightDecayGate: [gates.WeightDecayGate(0.5)],
    gates.StochasticGate: [gates.StochasticGate(3)],
    gates.SoftThresholdGate: [gates.SoftThresholdGate()],
    gates.Annealed: [gates.Annealed(1.0, 2.0, 0.5)],
    gates.GumbelTopKGate: [
        gates.GumbelTopKGate(
            gates.Annealed(2.0, 1.0),
            gates.Annealed(0.0, 1e-3),
            0.01,
            8,
            seed=3,
            turn=100,
            noise=gates.Annealed(2.0, 0.5),
        )
    ],
    gates.RegrowthGate: [gates.RegrowthGate(gradient=False)],
    gates.MovementGate: [gates.MovementGate(0.5, "sgd", 3.0)],
    QuantizationConfig: [QuantizationConfig(weights=4, activations=6, momentum=0.5)],
    DJPQConfig: [
        DJPQConfig(
            kl=0.5,
            bops=0.5,
            form="log",
            width=4,
            restricted=True,
            seed=2,
            activations=False,
            threshold=2.0,
            temperature=2.0,
            learn_power=True,
            rate=2.0,
            ramp=7,
        )
    ],
    Part: [Part(True, "signed", 4)],
    Method: [
        Method(
            "m",
            TopKRule(
                REGISTRY["random"].rule.score,
                structures.Block(1, 4),
                allocations.LAMP(),
                7,
                rounds=3,
                momentum=0.5,
            ),
            gates.MaskGate(True),
            schedules.OneShot(0.5),
            schedules.OneShot(0.25),
            "a paper",
        )
    ],
}


def through_json(value):
    return from_config(json.loads(json.dumps(to_config(value))))


def test_every_registered_setting_has_an_example():
    ours = {cls for cls in serialization._CLASSES.values() if cls.__module__.startswith("tfprune")}
    # a rule is written by its Method
    assert ours - {
        TopKRule,
        DropProbabilityRule,
        ImportanceSamplingRule,
        TopKLogitsRule,
        RefitRule,
        RegrowRule,
        Solve,
        ThresholdRule,
        Told,
    } == set(EXAMPLES)


@pytest.mark.parametrize("cls", EXAMPLES, ids=lambda cls: cls.__name__)
def test_round_trip(cls):
    for field in dataclasses.fields(cls):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        assert all(getattr(example, field.name) != default for example in EXAMPLES[cls])
    for example in EXAMPLES[cls]:
        back = through_json(example)
        assert back == example and type(back) is cls
        for field in dataclasses.fields(cls):
            assert getattr(back, field.name) == getattr(example, field.name)


@pytest.mark.parametrize("name", REGISTRY)
def test_methods_of_the_registry(name):
    assert through_json(REGISTRY[name]) == REGISTRY[name]
    gate = tfprune.MaskGate(straight_through=not REGISTRY[name].rule.changes)
    changed = get_method(
        name,
        seed=3,
        structure=tfprune.Filter(),
        allocation=tfprune.Global(),
        gate=gate,
        schedule=tfprune.Constant(0.5),
    )
    assert through_json(changed) == changed != REGISTRY[name]
