# SPDX-License-Identifier: Apache-2.0
"""Methods and variables of wrapped layers, TF-MOT's among them."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfprune.backend import adapter_of, view
from tfprune.backend.base import wrapper_kind
from tfprune.backend.find_sites import Found
from tfprune.layers.base import matrix_layout
from tfprune.methods import Method
from tfprune.training.mask_updater import Target
from tfprune.training.tfmot_words import method_of_tfmot, site_of_tfmot

OWN_LOOP = (
    "around a training loop of your own call its start(model) before, settle() after every "
    "optimizer step, and finish() at the end"
)
"""What to do without `fit`, for messages that have just named `PruningCallback()`."""


def method_of(wrapper: Any) -> Method:
    """The method that a wrapper's settings describe."""
    own = getattr(wrapper, "method", None)
    if own is not None:
        return own
    return method_of_tfmot(
        wrapper.pruning_schedule,
        wrapper.block_size,
        wrapper.block_pooling_type,
        wrapper.sparsity_m_by_n,
        layout=matrix_layout(wrapper.layer),
    )


def targets_of(wrapper: Any) -> list[Target]:
    """The sites of one wrapper with their variables."""
    return [target_of(item) for item in view(wrapper, layers=True).sites]


def target_of(item: Found) -> Target:
    """A wrapped site with its variables.

    Raises:
        LookupError: its wrapper does not prune it.
    """
    wrapper, raw = item.wrapper, adapter_of(item.wrapper).raw
    for index, (weight, mask, threshold) in enumerate(wrapper.pruning_vars):
        if raw(weight) is item.variable:
            hidden = getattr(wrapper, "hidden_vars", ())
            kept = getattr(wrapper, "state_vars", ())
            own = getattr(wrapper, "method", None) is not None
            return Target(
                item.site if own else site_of_tfmot(item.site, wrapper),
                raw(weight),
                raw(mask),
                raw(hidden[index]) if hidden else None,
                raw(threshold),
                {name: raw(one) for name, one in kept[index].items()} if kept else {},
            )
    raise LookupError(f"{wrapper.name} does not prune {item.site.name}.")


def drive(wrapper: Any, driven: bool) -> None:
    """Tell a wrapper whether something else settles it, so that it need not prune in its call."""
    if wrapper_kind(wrapper) is not None:
        wrapper.drive(driven)
    elif wrapper.pruning_obj is None:
        return  # TF-MOT's, not built
    elif driven:
        wrapper.pruning_obj.conditional_mask_update = tf.no_op
    else:
        vars(wrapper.pruning_obj).pop("conditional_mask_update", None)
