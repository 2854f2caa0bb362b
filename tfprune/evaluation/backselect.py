# SPDX-License-Identifier: Apache-2.0
"""Informative features: the few pixels that keep a network sure of what it sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tflite_export.convert.signature import signature
from tfprune.backend import adapter_of_model
from tfprune.evaluation.measures import are_probabilities, check_labels, classes_of, probabilities
from tfprune.output.progress import Progress


@dataclass(frozen=True)
class Matrix:
    """What networks make of the pixels that others need.

    Attributes:
        rows: names of the networks whose masks are shown; columns: of those that see them.
        confidences: mean confidence of network j, in the class that network i predicts on whole
            images, on the pixels found by network i; float64 [rows, columns], from 0 to 1.
        accuracies: fraction of labels that j predicts on these pixels, [rows, columns]; None
            without labels.
        whole: mean confidence of network j in its own class on whole images, [columns].
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    confidences: np.ndarray
    accuracies: np.ndarray | None
    whole: np.ndarray


def informative_features(
    model: Any,
    images: np.ndarray,
    *,
    keep: float = 0.1,
    step: float = 0.01,
    fill: Any = None,
    batch_size: int = 100,
) -> np.ndarray:
    """The pixels of each image that a network needs most to be sure of its prediction.

        p(m) = confidence in the class predicted on the whole image, on  fill + m (image - fill)
        again and again: the pixels of the smallest dp/dm are masked, until `keep` are left

    BackSelect masks the pixel whose loss lowers the confidence least; here batches of pixels are
    masked together, by a first-order estimate (Batched Gradient BackSelect). All channels of a
    pixel go together. Equal pixels go in a random order, the same for every image and call. The
    model is not changed.

    Args:
        model: a classifier of either Keras with one input and one output, probabilities or logits
            [n, classes], [n, 1] or [n].
        images: [n, height, width, channels], as the model takes them.
        keep: fraction of the pixels that is left, above 0; at least one pixel.
        step: fraction of all pixels masked before gradients are taken again, above 0; at least one
            pixel. The paper's is about 0.001.
        fill: what a masked pixel shows, one number or one a channel. None: the mean of each channel
            over these images, which is the papers' zero after normalization.
        batch_size: images masked together.

    Returns:
        bool [n, height, width], True where a pixel is left; the same number in every image.

    Raises:
        TypeError: no Keras model: files and functions have no gradients.
        ValueError: images or settings out of range, outputs that are NaN or no classes, or a model
            through which no gradient reaches its input.

    Paper: B. Carter, S. Jain, J. Mueller, D. Gifford, 'Overinterpretation reveals image
    classification model pathologies', NeurIPS 2021, arXiv 2003.08907; BackSelect: B. Carter,
    J. Mueller, S. Jain, D. Gifford, 'What made you do this? Understanding black-box decisions with
    sufficient input subsets', AISTATS 2019, arXiv 1810.03805.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.layers.Flatten(),
        ...                           keras.layers.Dense(1, "sigmoid", use_bias=False)])
        >>> model.build((None, 2, 2, 1))
        >>> model.set_weights([np.array([[0.1], [0.2], [5.0], [0.1]])])
        >>> informative_features(model, np.ones((1, 2, 2, 1)), keep=0.25, fill=0)[0].tolist()
        [[False, False], [True, False]]
    """
    try:
        adapter_of_model(model)
    except TypeError as error:
        raise TypeError(
            f"informative_features finds pixels by gradients, and needs a Keras model. {error} "
            "A .tflite file or a function can be judged by `confidence_matrix` on the pixels of "
            "the model it was made from."
        ) from None
    images, fill = _checked(images, fill, batch_size)
    for name, value in (("keep", keep), ("step", step)):
        if not 0 < value <= 1:
            raise ValueError(
                f"{name}={value!r}: expected a fraction of the pixels, above 0 and at most 1."
            )
    pixels = images.shape[1] * images.shape[2]
    left, at_once = (max(1, round(part * pixels)) for part in (keep, step))
    call = _calling(model, images)
    outputs = _outputs(call, images, batch_size, "the model")
    logits = not are_probabilities(outputs)
    classes = classes_of(probabilities(outputs, logits=logits))
    if (classes < 0).any():
        raise ValueError(
            f"The model's outputs are NaN or infinite on {(classes < 0).sum()} of "
            f"{len(images)} images: it predicts no class there."
        )
    slopes = _slopes(call, images.shape[1:], fill, outputs[:1].size, logits)
    order = np.random.default_rng(0).permutation(pixels)
    masks = np.ones((len(images), pixels), bool)
    with Progress("BackSelect", len(images), label="pixels left: ") as progress:
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            batch, mask = np.asarray(images[part], np.float32), masks[part]
            for remaining in range(pixels, left, -at_once):
                gradient = slopes(
                    batch, mask.reshape(len(mask), *images.shape[1:3], 1), classes[part]
                )
                if gradient is None:
                    raise ValueError(
                        "No gradient of the model's output reaches its input: it is rounded or "
                        "cast to integers on the way. Pass the model from behind that layer."
                    )
                slope = np.where(mask, gradient.numpy().reshape(mask.shape), np.inf)[:, order]
                least = slope.argsort(axis=1, kind="stable")[:, : min(at_once, remaining - left)]
                np.put_along_axis(mask, order[least], False, axis=1)
                progress.advance(str(remaining), parts=0)
            progress.advance(str(left), parts=len(batch))
    return masks.reshape(images.shape[:3])


def confidence_matrix(
    networks: Mapping[str, Callable],
    images: np.ndarray,
    masks: Mapping[str, np.ndarray],
    *,
    labels: np.ndarray | None = None,
    fill: Any = None,
    batch_size: int = 100,
) -> Matrix:
    """How sure each network is when it sees only the pixels that another one needs.

        C[i, j] = mean_x p_j(class_i(x) | fill + m_i(x) (x - fill))    class_i(x) = argmax p_i(.|x)

    Networks that use the same features as network i keep the confidence of C[i, i].

    Args:
        networks: names and functions, batch of images -> outputs [n, classes], [n, 1] or [n] (or
            a tuple of that one); Keras models are such functions.
        images: [n, height, width, channels], as the networks take them; they get float32.
        masks: names of some of the networks and the pixels that each needs, from
            `informative_features`: bool [n, height, width].
        labels: class numbers [n], for the accuracies.
        fill: what a masked pixel shows, as it was for the masks.
        batch_size: images in one call of a network.

    Returns:
        A `Matrix`; nan without images, or where a network's outputs are NaN.

    Raises:
        ValueError: masks of no network or of another shape, networks of different classes, or
            labels that do not fit.

    Paper: L. Liebenwein, C. Baykal, B. Carter, D. Gifford, D. Rus, 'Lost in Pruning: The Effects
    of Pruning Neural Networks beyond Test Accuracy', MLSys 2021, arXiv 2103.03014.

    Example:
        >>> left = lambda x: 0.9 * x[:, 0, 0]  # the confidence of either is that of one pixel
        >>> right = lambda x: 0.8 * x[:, 0, 1]
        >>> found = confidence_matrix({"left": left, "right": right}, np.ones((1, 1, 2, 1)),
        ...                           {"left": np.array([[[True, False]]])}, fill=0)
        >>> found.confidences.round(6).tolist(), found.whole.round(6).tolist()
        ([[0.9, 0.0]], [0.9, 0.8])
    """
    images, fill = _checked(images, fill, batch_size)
    if not set(masks) <= set(networks):
        raise ValueError(
            f"masks of {sorted(set(masks) - set(networks))}: expected names of "
            f"networks: {sorted(networks)}."
        )
    masks = {name: np.asanyarray(mask) for name, mask in masks.items()}
    for name, mask in masks.items():
        if mask.shape != images.shape[:3] or mask.dtype != bool:
            raise ValueError(
                f"masks[{name!r}] of shape {mask.shape} and type {mask.dtype}: "
                f"expected bool {images.shape[:3]}, a pixel of an image each."
            )
    whole = {
        name: _outputs(network, images, batch_size, name) for name, network in networks.items()
    }
    logits = {name: not are_probabilities(outputs) for name, outputs in whole.items()}
    whole = {name: probabilities(outputs, logits=logits[name]) for name, outputs in whole.items()}
    counts = {name: found.shape[1] for name, found in whole.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"Networks of different numbers of classes: {counts}.")
    if labels is not None:
        labels = check_labels(labels, len(images), max(counts.values(), default=0))
    confidences = np.full((len(masks), len(networks)), np.nan)
    accuracies = np.full_like(confidences, np.nan)
    for i, (found_by, mask) in enumerate(masks.items()):
        classes = classes_of(whole[found_by])
        for j, (name, network) in enumerate(networks.items()):
            seen = probabilities(
                _outputs(network, images, batch_size, name, mask, fill), logits=logits[name]
            )
            confidences[i, j] = _mean(_confidence(seen, classes))
            if labels is not None:
                accuracies[i, j] = _mean(classes_of(seen) == labels)
    return Matrix(
        tuple(masks),
        tuple(networks),
        confidences,
        None if labels is None else accuracies,
        np.array([_mean(_confidence(found, classes_of(found))) for found in whole.values()]),
    )


def _checked(images: Any, fill: Any, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Images, and what a masked pixel shows: float32 [channels]."""
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size!r}: expected at least 1.")
    images = np.asanyarray(images)
    if images.ndim != 4 or images.dtype.kind not in "biuf" or not min(images.shape[1:]):
        raise ValueError(
            f"images of shape {images.shape} and type {images.dtype}: expected "
            "numbers [n, height, width, channels]."
        )
    if fill is None:
        fill = images.mean(axis=(0, 1, 2), dtype=np.float64) if len(images) else 0.0
    fill = np.asarray(fill, np.float32)
    if fill.shape not in {(), (1,), images.shape[3:]}:
        raise ValueError(
            f"fill of shape {fill.shape}: expected a number, or one for each of the "
            f"{images.shape[3]} channels."
        )
    return images, np.broadcast_to(fill, images.shape[3:])


def _outputs(
    network: Callable,
    images: np.ndarray,
    batch_size: int,
    name: str,
    mask: np.ndarray | None = None,
    fill: Any = None,
) -> np.ndarray:
    """A network's one output for all images, with pixels masked where a mask is given."""
    parts = []
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        batch = np.asarray(images[part], np.float32)
        if mask is not None:
            batch = np.where(mask[part][..., None], batch, fill)
        outputs = network(batch)
        outputs = list(outputs.values()) if isinstance(outputs, Mapping) else outputs
        if isinstance(outputs, (tuple, list)):
            if len(outputs) != 1:
                raise ValueError(
                    f"{name} has {len(outputs)} outputs: pass the one whose classes are meant."
                )
            outputs = outputs[0]
        parts.append(np.asarray(outputs, np.float32))
        if len(parts[-1]) != len(batch):
            raise ValueError(
                f"{name} made outputs of shape {parts[-1].shape} of {len(batch)} "
                "images: expected a row for each."
            )
    return np.concatenate(parts) if parts else np.zeros((0, 2), np.float32)


def _calling(model: Any, images: np.ndarray) -> Callable:
    """The model in inference, as a function of its one input."""
    if not model.built:
        model(np.asarray(images[:1], np.float32), training=False)
    known = signature(model, images[:1])
    if len(known.names) > 1:
        raise ValueError(f"The model takes {', '.join(known.names)}: expected one input, images.")
    return lambda batch: model(known.pack({known.names[0]: batch}), training=False)


def _slopes(
    call: Callable, shape: tuple[int, ...], fill: np.ndarray, columns: int, logits: bool
) -> Callable:
    """(images, masks, classes) -> dp/dm [n, height, width, 1], or None where there is no path."""

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, *shape), tf.float32),
            tf.TensorSpec((None, *shape[:2], 1), tf.bool),
            tf.TensorSpec((None,), tf.int64),
        ]
    )
    def slopes(images, masks, classes):
        masks = tf.cast(masks, tf.float32)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(masks)
            outputs = tf.nest.flatten(call(fill + masks * (images - fill)))[0]
            outputs = tf.cast(tf.reshape(outputs, (-1, columns)), tf.float32)
            if columns == 1:
                outputs = tf.concat([tf.zeros_like(outputs) if logits else 1 - outputs, outputs], 1)
            found = tf.nn.softmax(outputs) if logits else outputs
            confidence = tf.gather(found, classes, axis=1, batch_dims=1)
        return tape.gradient(confidence, masks)

    return slopes


def _confidence(found: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The probability of each row's class; nan where there is none."""
    return np.where(classes < 0, np.nan, found[np.arange(len(found)), classes])


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
