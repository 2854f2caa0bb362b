# SPDX-License-Identifier: Apache-2.0
"""`Distillation`: how a dense network teaches the one that is pruned."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Mapping

import tensorflow as tf

from tfprune.backend import adapter_of_model
from tfprune.methods.gates import Annealed
from tfprune.output.argument_checks import is_real


@dataclass(frozen=True)
class Distillation:
    """A teacher: the network that is pruned learns its outputs, softened, beside the labels.

    With labels y, logits z_s of the network that is pruned and z_t of the teacher for the same
    batch, T the temperature and a the share,

        (1 - a) CE(y, softmax(z_s)) + a (T^2 KL(softmax(z_t / T) || softmax(z_s / T)) + F)

    stands in place of the compiled loss CE, whichever that is; what is added to it, weight decay
    say, stays whole. F is the sum over `features` of mean squared differences. Of outputs that
    are probabilities z = log p; where each entry is a probability of its own (a sigmoid, or a
    binary cross-entropy), KL is that of each entry, z = log p - log(1 - p), averaged.

    Without labels, `fit(x)`, the softened outputs stand alone, whatever the share and whether the
    model is compiled with a loss or without, `model.compile("adam")`. Metrics that have never seen
    labels cannot be built without: compile without them, too.

    The teacher sees what the network sees, augmentation of the data included, with
    `training=False`; neither its weights nor its averages change, and no file holds it.

    It is no gain in itself: of ResNet-8 on CIFAR-10 at 90 % zeros and eight epochs a teacher cost
    0.2 points of accuracy at these defaults, 0.8 at share=0.9 and temperature=4: so small a network
    lacks weights and steps, not supervision. It serves to train without labels. Try it elsewhere
    with validation data beside a run without; `share=Annealed(0.5, 0.0)` leaves the end of the run
    to the labels.

    Args:
        teacher: a built model of the same Keras with outputs of the same shape; not the network
            itself, and none that shares weights with it.
        temperature: T > 0; higher values show more of the differences between wrong classes.
        share: a in [0, 1]: a number, or a `tfprune.Annealed` that moves over the run.
        features: names of layers of the network that is pruned, or their paths in it, with those
            of the teacher's layers whose outputs theirs are to resemble; shapes are equal. A layer
            that is called several times counts with its last call.
        from_logits: whether the outputs of both are logits; None: as the last activation or the
            compiled loss of each says.

    Raises:
        ValueError: a temperature or a share out of range; a teacher that is not built; in training
            what else is said above.
        TypeError: the teacher is no Keras model, or of the other Keras; features are not names.

    Papers: G. Hinton, O. Vinyals and J. Dean, "Distilling the Knowledge in a Neural Network",
    2015, arXiv 1503.02531; for features A. Romero et al., "FitNets: Hints for Thin Deep Nets",
    ICLR 2015, arXiv 1412.6550.

    Example:
        >>> import keras, tfprune
        >>> dense = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> tfprune.Distillation(dense, share=tfprune.Annealed(0.5, 0.0)).temperature
        2.0
    """

    teacher: Any
    _: KW_ONLY
    temperature: float = 2.0
    share: float | Annealed = 0.5
    features: Mapping[str, str] = field(default_factory=dict)
    from_logits: bool | None = None

    def __post_init__(self):
        backend = adapter_of_model(self.teacher)
        if not backend.is_built(self.teacher):
            raise ValueError(
                f"The teacher {self.teacher.name!r} is not built, so it knows nothing yet: call it "
                "on a batch, and train it or load its weights."
            )
        temperature = self.temperature
        if not is_real(temperature) or not math.isfinite(temperature) or temperature <= 0:
            raise ValueError(f"temperature={temperature!r}: expected a number above 0.")
        course = Annealed.of(self.share, "share")
        if not (0 <= course.begin <= 1 and 0 <= course.end <= 1):
            raise ValueError(f"share={self.share!r}: expected values in [0, 1].")
        names = self.features
        if not isinstance(names, Mapping) or not all(
            isinstance(one, str) for pair in names.items() for one in pair
        ):
            raise TypeError(
                f"features={names!r}: expected {{layer of the network: layer of the teacher}}, "
                "names of layers."
            )

    @classmethod
    def of(cls, value: Any) -> Distillation | None:
        """The settings as they are, those of a model that is to teach, or None of None."""
        return value if value is None or isinstance(value, cls) else cls(value)

    @property
    def course(self) -> Annealed:
        """The share over the run."""
        return Annealed.of(self.share, "share")


def soft_loss(
    taught: tf.Tensor, logits: tf.Tensor, temperature: float, is_binary: bool
) -> tf.Tensor:
    """T^2 KL(softmax(taught / T) || softmax(logits / T)) of each row, float32 [...].

    Args:
        taught, logits: of the teacher and of the network that learns, [..., classes].
        temperature: T.
        is_binary: whether each entry is a label of its own: then the mean over the entries of the
            divergence between sigmoids.

    Example:
        >>> same = tf.constant([[1.0, 2.0]])
        >>> soft_loss(same, same + 3, 2.0, False).numpy().tolist()
        [0.0]
    """
    taught = tf.stop_gradient(tf.cast(taught, tf.float32)) / temperature
    logits = tf.cast(logits, tf.float32) / temperature
    if is_binary:
        entropy = tf.nn.sigmoid_cross_entropy_with_logits
        target = tf.sigmoid(taught)
    else:
        entropy, target = tf.nn.softmax_cross_entropy_with_logits, tf.nn.softmax(taught)
    values = entropy(labels=target, logits=logits) - entropy(labels=target, logits=taught)
    if is_binary:
        values = tf.reduce_mean(values, -1)
    return temperature**2 * values


def weighted_mean(values: tf.Tensor, weights: Any, mask: tf.Tensor | None) -> tf.Tensor:
    """sum(m w v) / sum(m), as Keras averages losses: v [batch, ...], scalar.

    Args:
        values: losses.
        weights: sample weights w along the first axes; None: 1.
        mask: m, bool, along the first axes; None: all.

    Example:
        >>> values = tf.constant([1.0, 2.0, 9.0])
        >>> weighted_mean(values, tf.constant([2.0, 1.0, 1.0]), values < 9.0).numpy().item()
        2.0
    """
    counts = tf.ones_like(values) if mask is None else _along(mask, values)
    weighted = counts if weights is None else counts * _along(weights, values)
    return tf.math.divide_no_nan(tf.reduce_sum(values * weighted), tf.reduce_sum(counts))


def _along(given: Any, values: tf.Tensor) -> tf.Tensor:
    """Numbers for the first axes of values, brought to their shape."""
    given = tf.cast(given, values.dtype)
    if given.shape.rank == values.shape.rank + 1:  # Keras takes [batch, 1] for [batch]
        given = tf.squeeze(given, -1)
    while given.shape.rank < values.shape.rank:
        given = tf.expand_dims(given, -1)
    return given * tf.ones_like(values)
