# SPDX-License-Identifier: Apache-2.0
"""The matrix of informative features: confidence of each network on the pixels of the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfprune.evaluation import file_predictor
from tfprune.evaluation.backselect import Matrix, confidence_matrix, informative_features
from tfprune.evaluation.nested import leaves
from tfprune.evaluation.networks import Network
from tfprune.evaluation.outputs import Predictor, outputs_of
from tfprune.evaluation.prediction_store import file_name
from tfprune.evaluation.predictions import Predictions
from tfprune.evaluation.predictors import as_given
from tfprune.evaluation.settings import Evaluation


def feature_matrix(
    networks: Mapping[str, Any], predictions: Predictions, settings: Evaluation
) -> tuple[Matrix | None, str]:
    """Confidence of each network on the pixels that each Keras model needs, on the first images.

    Args:
        networks: {name: network}.
        predictions: of them; their folder keeps the pixels.
        settings: how many images.

    Returns:
        The matrix, and "" or what is left out and why.
    """
    examples = predictions.examples.first(settings.features)
    arrays = dict(leaves(examples.inputs))
    if not examples.is_images or len(arrays) > 1:
        return None, "the inputs are no images"
    images = np.asarray(examples.images)
    given = {
        name: as_given(Network.of(one, name), examples, settings) for name, one in networks.items()
    }
    masks, reasons = {}, []
    for name, one in given.items():
        if one.runtime == "Keras":
            try:
                masks[name] = _mask(one, images, examples.fingerprint, predictions)
            except ValueError as error:  # the predictions are worth more than these pixels
                reasons.append(f"those of {name}: {error}")
    if not masks:
        return None, "; ".join(reasons) or (
            "no network is a Keras model: files and functions have no gradients"
        )

    def calling(one: Predictor) -> Any:
        return lambda batch: outputs_of(one, batch)

    try:
        return confidence_matrix(
            {name: calling(one) for name, one in given.items()},
            images,
            masks,
            labels=examples.labels,
        ), "; ".join(reasons)
    finally:
        file_predictor.close()


def _mask(one: Any, images: np.ndarray, data: str, predictions: Predictions) -> np.ndarray:
    """The pixels that a network needs, bool [n, height, width]; found once."""
    store = predictions.store
    name = file_name("features", one.fingerprint, data, suffix=".npy")
    if not store.has(name):
        masks = informative_features(one.network.model, images.astype(np.float32))
        store.write_array(name, np.dtype(bool), [masks], masks.shape)
    return np.array(store.array(name))
