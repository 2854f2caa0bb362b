# SPDX-License-Identifier: Apache-2.0
"""What scores are computed from. A score says what it `needs`; `tfprune.statistics` supplies it.

Some statistics can be told from a weight alone, at any time, inside a compiled training step
(`RESTING`). The others are measured: they need the model, and most of them data, so masks that
rest on them are chosen between two training steps.

| name | of each site, in the weight's shape unless said otherwise | data |
|---|---|---|
| weight | W | no |
| noise | i.i.d. uniform in [0, 1), fixed by the seed | no |
| flow | dR/dabs(W) of the linearised model, R the sum of its outputs for inputs of ones | no |
| mean_sensitivity | share of a weight in its unit's input, max of means over positions | inputs |
| peak_sensitivity | the same, max over positions | inputs |
| gradient | dL/dW, L the mean loss | yes |
| hessian_gradient | H dL/dW, of the loss at softened outputs | yes |
| gate_batch_square | mean over batches of (dL_b/dz)^2, z a gate; one number per group | yes |
| gate_square | mean over the examples of (dL_n/dz)^2; one number per group | yes |
| gate_change | -dL/dz + d2L/dz2 / 2; one number per group | yes |
| contact_sensitivity | of each filter, from the Löwner ellipsoid's contact points | no |
| caratheodory_sensitivity | of each filter, from the ends of the ellipsoid's axes | no |
| norm_sensitivity | of each filter, from its norm | no |

Names of the state that a method keeps for its sites are none of these tables' business: a score
may need them, too, inside the compiled step (`movement`, kept by the gate `Moving`).
"""

from tfprune.methods.weight_statistics import RESTING, collect

MEASURED = {
    "flow": "synaptic_flow",
    "mean_sensitivity": "activations",
    "peak_sensitivity": "activations",
    "gradient": "gradient",
    "hessian_gradient": "hessian_gradient",
    "gate_batch_square": "gate_gradient",
    "gate_square": "gate_fisher",
    "gate_change": "gate_curvature",
    "contact_sensitivity": "coresets",
    "caratheodory_sensitivity": "coresets",
    "norm_sensitivity": "coresets",
}
"""The measured statistics, and the module of `tfprune.statistics` that measures each."""

TRACEABLE = ("flow",)
"""Those of them that can be measured inside a compiled function."""

GROUPED: tuple[str, ...] = (
    "gate_batch_square",
    "gate_square",
    "gate_change",
    "contact_sensitivity",
    "caratheodory_sensitivity",
    "norm_sensitivity",
    "movement",
)
"""Those of them, and of what gates keep, that have one number per group of the structure instead
of one per weight."""

STRUCTURES = {
    "contact_sensitivity": ("Filter",),
    "caratheodory_sensitivity": ("Filter",),
    "norm_sensitivity": ("Filter",),
    # Below zero is worst; the energy of a Pattern is a sum of squares.
    "movement": ("Element", "Block", "NofM", "Kernel", "Column", "Channel", "Filter"),
}
"""Those of them that are known for the groups of some structures only, by their names."""


def is_measured(needs: tuple[str, ...]) -> bool:
    """Whether one of these statistics takes more than the weight.

    >>> is_measured(("weight", "noise")), is_measured(("weight", "gradient"))
    (False, True)
    """
    return any(name in MEASURED for name in needs)


def is_traceable(needs: tuple[str, ...]) -> bool:
    """Whether all measured statistics among these can be measured inside a compiled function.

    >>> is_traceable(("weight", "flow")), is_traceable(("weight", "gradient"))
    (True, False)
    """
    return all(name in TRACEABLE for name in needs if name in MEASURED)


def of_groups(needs: tuple[str, ...]) -> bool:
    """Whether these statistics are measured group by group, so that nothing is left to pool.

    >>> of_groups(("weight", "gradient"))
    False
    """
    return any(name in GROUPED for name in needs)


def structures(needs: tuple[str, ...]) -> tuple[str, ...] | None:
    """The names of the structures for which all of these statistics are known; None for all.

    >>> structures(("weight", "gradient")), structures(("contact_sensitivity",))
    (None, ('Filter',))
    """
    limits = [STRUCTURES[name] for name in needs if name in STRUCTURES]
    if not limits:
        return None
    return tuple(name for name in limits[0] if all(name in other for other in limits))


__all__ = [
    "GROUPED",
    "MEASURED",
    "RESTING",
    "STRUCTURES",
    "TRACEABLE",
    "collect",
    "is_measured",
    "is_traceable",
    "of_groups",
    "structures",
]
