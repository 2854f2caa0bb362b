# SPDX-License-Identifier: Apache-2.0
"""Costs of a network: parameters, multiplications, bytes, memory, milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tflite_export.api.inspect import opened
from tflite_export.convert.representative_data import random_examples
from tflite_export.convert.signature import signature
from tflite_export.report.tensor_stats import real_numbers
from tflite_export.report.workload import workload
from tflite_export.runtime import latency_ms
from tfprune.backend import view
from tfprune.backend.model_view import ModelView
from tfprune.channels.cost_model import Prices
from tfprune.channels.model_channels import Survey
from tfprune.evaluation.converted import file_of
from tfprune.evaluation.networks import Network
from tfprune.masks.costs import parameters

_BITS, _BYTES = 32, 4


@dataclass(frozen=True)
class Costs:
    """Of one network; None where it cannot be told.

    Attributes:
        parameters: entries of all weights; of a .tflite file all stored real numbers.
        nonzeros: those that are not zero.
        macs: multiply-accumulates of kernels for one example.
        effective_macs: those of weights that are not zero.
        bytes: of what `bytes_of` says: "file" for a .tflite file, else "float32 weights".
        bytes_of: see `bytes`.
        activation_bytes: of all tensors that are alive together, at the moment with most of them.
        latency_ms: of one example in LiteRT with one thread; of a Keras model converted to float32.
    """

    parameters: int | None = None
    nonzeros: int | None = None
    macs: int | None = None
    effective_macs: int | None = None
    bytes: int | None = None
    bytes_of: str = ""
    activation_bytes: int | None = None
    latency_ms: float | None = None


def costs(network: Any, *, latency: bool = False) -> Costs:
    """Count what a network costs; nothing is run but for the latency.

    Args:
        network: a `Network`, a Keras model, a path, bytes of a .tflite file, or a function, of
            which nothing is known.
        latency: measure it.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> costs(model).macs, costs(model).bytes, costs(model).activation_bytes
        (8, 40, 24)
    """
    network = Network.of(network)
    if network.kind == "function":
        return Costs()
    return (_of_file if network.kind == "tflite" else _of_model)(network, latency)


def _of_file(network: Network, latency: bool) -> Costs:
    dense = opened(network.given).dense
    work, (size, nonzeros) = workload(dense), real_numbers(dense)
    return Costs(
        size,
        nonzeros,
        work.macs,
        work.effective_macs,
        len(network.given),
        "file",
        work.activation_bytes,
        _latency(network.given) if latency else None,
    )


def _of_model(network: Network, latency: bool) -> Costs:
    try:
        model = network.plain
    except ValueError:  # its wrappers are counted, too
        model = network.model
    seen = view(model)
    try:
        survey = Survey.of(model)
    except (TypeError, ValueError, NotImplementedError):  # subclassed: nobody sees its graph
        survey = None
    weights = list({id(one): one for one in map(seen.backend.raw, model.weights)}.values())
    size = sum(int(np.prod(one.shape)) for one in weights)
    nonzeros = sum(int(np.count_nonzero(one.numpy())) for one in weights)
    total, effective = _macs(seen, survey)
    activations = None
    if survey is not None:
        prices = Prices(survey)
        try:
            activations = prices.activation_bytes(prices.full, _BITS)
        except ValueError:
            pass  # an axis of unknown size
    return Costs(
        size,
        nonzeros,
        total,
        effective,
        _BYTES * size,
        "float32 weights",
        activations,
        _latency_of_model(model) if latency else None,
    )


def _macs(view: ModelView, survey: Any) -> tuple[int | None, int | None]:
    """Of all kernels, and of their weights that are not zero; None if one's use is not known."""
    total = effective = 0
    for item in view.sites:
        site = item.site
        uses = site.positions if survey is None else survey.positions(site)
        if uses is None:
            return None, None
        total += parameters(site.shape) * uses
        effective += parameters(site.shape, item.variable.numpy()) * uses
    return total, effective


def _latency(content: bytes) -> float | None:
    try:
        return latency_ms(content)
    except (RuntimeError, ValueError):
        return None


def _latency_of_model(model: Any) -> float | None:
    try:
        known = signature(model)
        content, _ = file_of(model, known, random_examples(model, known, 4))
    except (RuntimeError, ValueError):
        return None
    return _latency(content)
