# SPDX-License-Identifier: Apache-2.0
"""TF-MOT's settings in this library's words."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfprune.backend import KERAS3, adapter_of, adapter_of_model
from tfprune.layers.prunable_weights import matrix_layout, may_hold_kernels
from tfprune.masks import kernel_layout
from tfprune.masks.kernel_layout import Layout
from tfprune.masks.schedules import Constant, OneShot, accepts
from tfprune.masks.sites import Site
from tfprune.masks.structures import Block, Element, NofM, Structure
from tfprune.methods import Method, get
from tfprune.training.tfmot_latency_policy import policy_for

_POOLINGS = {"AVG": "mean", "MAX": "max"}


def structure_of_tfmot(
    block_size: Any,
    block_pooling_type: str,
    sparsity_m_by_n: Any,
    *,
    layout: Layout = kernel_layout.DENSE,
) -> Structure:
    """TF-MOT's block and m-by-n arguments as a structure.

    Args:
        block_size: (height, width) on the Keras kernel.
        block_pooling_type: "AVG" or "MAX".
        sparsity_m_by_n: (m, n) = m ZEROS in every n consecutive weights; None: not wanted.
        layout: of the kernel, which says how it lies in TFLite's matrix.

    Raises:
        ValueError: another pooling; m not below n.

    Example:
        >>> structure_of_tfmot((1, 1), "AVG", (1, 4))
        NofM(n=3, m=4)
    """
    if sparsity_m_by_n:
        zeros, group = sparsity_m_by_n
        return NofM(group - zeros, group)
    if tuple(block_size) == (1, 1):
        return Element()
    if block_pooling_type not in _POOLINGS:
        raise ValueError(
            f"Unsupported pooling type '{block_pooling_type}'. Should be 'AVG' or 'MAX'."
        )
    return Block.of_kernel(block_size, layout, _POOLINGS[block_pooling_type])


def method_of_tfmot(
    pruning_schedule: Any,
    block_size: Any,
    block_pooling_type: str,
    sparsity_m_by_n: Any,
    *,
    layout: Layout = kernel_layout.DENSE,
) -> Method:
    """The method that TF-MOT's arguments describe: magnitude, per layer.

    With `sparsity_m_by_n` TF-MOT chooses the mask once, at step 1, whatever the schedule says.
    """
    structure = structure_of_tfmot(block_size, block_pooling_type, sparsity_m_by_n, layout=layout)
    if structure.fixed is not None:
        pruning_schedule = OneShot(1 - structure.n / structure.m, at=1)
    return get("magnitude", structure=structure, schedule=pruning_schedule)


def site_of_tfmot(site: Site, wrapper: Any) -> Site:
    """The site with the axes along which TF-MOT looks for its m zeros in n.

    TF-MOT reads every kernel of rank 2 as Dense, every kernel of rank 4 as Conv2D.
    """
    layout = {2: kernel_layout.DENSE, 4: kernel_layout.conv(2)}.get(len(site.shape))
    if not wrapper.sparsity_m_by_n or layout is None:
        return site
    return dataclasses.replace(site, layout=layout)


def prune_like_tfmot(
    to_prune: Any, policy: Any, options: dict[str, Any], kwargs: dict[str, Any]
) -> Any:
    """What `tfprune.prune_low_magnitude` does, for either Keras."""
    from tfprune.quantization.report import refuse as refuse_quantized

    if isinstance(to_prune, list) and not to_prune:
        return []
    try:
        home = adapter_of(to_prune)
        if not isinstance(to_prune, list):
            adapter_of_model(to_prune, layers=True)
    except (TypeError, ValueError):
        raise refusal(to_prune, "Pass a tf_keras or a keras model, a layer or layers.") from None
    refuse_quantized(to_prune, home)
    if home.NAME != KERAS3:
        return home.prune_low_magnitude(to_prune, policy, options, kwargs)
    return _prune_keras3(to_prune, home, policy, options)


def refusal(to_prune: Any, note: str) -> ValueError:
    """The error for an object of a type that TF-MOT refuses, in TF-MOT's words, which programs may
    compare; what to do instead is in its notes."""
    error = ValueError(
        "`prune_low_magnitude` can only prune an object of the following types: "
        "keras.models.Sequential, keras functional model, keras.layers.Layer, list of "
        f"keras.layers.Layer. You passed an object of type: {type(to_prune).__name__}."
    )
    error.add_note(note)
    return error


def _prune_keras3(to_prune: Any, home: Any, policy: Any, options: dict[str, Any]) -> Any:
    from tfprune.api import _wrap

    schedule = options.pop("pruning_schedule")
    schedule = Constant(0.5, begin=0, frequency=100) if schedule is None else schedule
    if not accepts(schedule):
        raise ValueError(f"pruning_schedule={schedule!r} is not a pruning schedule.")

    allowed, given = [], policy
    if policy is not None:
        policy = policy_for(policy, home)
        if home.is_model(to_prune) and home.has_graph(to_prune):
            policy.ensure_model_supports_pruning(to_prune)

    def wrap(layer: Any) -> Any:
        if policy is not None:
            if not policy.allow_pruning(layer):
                return layer
            allowed.append(layer.name)
        method = method_of_tfmot(schedule, *options.values(), layout=matrix_layout(layer))
        return home.wrap(layer, method, f"prune_low_magnitude_{layer.name}")

    if not isinstance(to_prune, (list, tuple)) and not may_hold_kernels(to_prune, home):
        return wrap(to_prune)
    wrapped = _wrap(to_prune, home, wrap)
    if policy is not None and not allowed:
        hint = (
            ""
            if policy is not given
            else (
                " Its allow_pruning(layer) is asked about keras layers: a test for tf_keras' "
                "classes finds none."
            )
        )
        raise ValueError(
            f"The pruning policy {type(given).__name__} allows no layer of what is "
            f"passed, so nothing would be pruned.{hint}"
        )
    return wrapped
