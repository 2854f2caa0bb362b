# SPDX-License-Identifier: Apache-2.0
"""The reference recipe: fine-tune a pretrained ResNet-8 on CIFAR-10, the same for every method.

8 epochs, batch 128 (the remainder dropped), Adam with a cosine from 1e-3 to 0, pad-4 random crop
and horizontal flip. Order and augmentation depend on the seed and the step alone, so two runs
with one seed see the same bytes whatever prunes them.

    python benchmarks/recipe.py     # trains the dense network again, for an hour at most

All that is measured without training starts from that network, benchmarks/models/resnet8_dense.h5:
the averages of the pretrained one do not fit images that were encoded anew.
"""

import importlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfprune import data

BATCH = 128
HELD_OUT = 5000
PAD = 4
LEARNING_RATE = 1e-3
DENSE = Path(__file__).parent / "models" / "resnet8_dense.h5"


def data_folder() -> Path:
    """Where the CIFAR-10 files and the pretrained model are: `TFPRUNE_DATA`."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TFPRUNE_DATA", beside))
    if not (folder / "tfds" / "cifar10").is_dir():
        raise SystemExit(
            f"no CIFAR-10 under {folder}: set TFPRUNE_DATA to a folder with "
            "tfds/cifar10 and models/resnet8_cifar10.h5"
        )
    return folder


@dataclass(frozen=True)
class Split:
    """Images uint8 [n, 32, 32, 3] and labels int32 [n], to train on and to judge by."""

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    @property
    def steps_per_epoch(self) -> int:
        return len(self.images) // BATCH


def load(held_out: bool) -> Split:
    """All of CIFAR-10; or, to choose settings, its training split cut into 45,000 and 5,000."""
    folder = data_folder() / "tfds"
    images, labels = data.arrays("cifar10", "train", data_dir=folder)
    if held_out:
        cut = len(images) - HELD_OUT
        return Split(images[:cut], labels[:cut], images[cut:], labels[cut:])
    return Split(images, labels, *data.arrays("cifar10", "test", data_dir=folder))


def pretrained(package: str = "tf_keras") -> Any:
    """The MLPerf Tiny ResNet-8: input 0..255, softmax output, its own layer names; in the Keras
    of this name."""
    path = data_folder() / "models" / "resnet8_cifar10.h5"
    return importlib.import_module(package).models.load_model(path, compile=False)


def dense(package: str = "tf_keras") -> Any:
    """The pretrained network after the recipe with seed 0 and one thread, 83.88 % on the test
    split; in the Keras of this name."""
    return importlib.import_module(package).models.load_model(DENSE, compile=False)


def compile_model(model: Any, steps: int, rate: float = LEARNING_RATE) -> None:
    """Adam with a cosine from `rate` to zero, in the model's own Keras."""
    library = importlib.import_module(type(model).__module__.split(".")[0])
    model.compile(
        optimizer=library.optimizers.Adam(library.optimizers.schedules.CosineDecay(rate, steps)),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )


def begin(threads: int, *, seed: int = 0) -> None:
    """Fix what a run depends on: the intra-op threads (0: all cores) and the random state."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf_keras.utils.set_random_seed(seed)


def fit(
    model: tf_keras.Model,
    split: Split,
    epochs: int,
    *,
    callbacks: Sequence = (),
    seed: int = 0,
    steps: int | None = None,
) -> tuple[tf_keras.callbacks.History, float]:
    """Compile and train by the recipe; the history, and the seconds of training.

    Args:
        steps: of each epoch, fewer than all for a trial.
    """
    steps = steps or split.steps_per_epoch
    compile_model(model, epochs * steps)
    return train(model, split, epochs, callbacks=callbacks, seed=seed, steps=steps)


def train(
    model: Any, split: Split, epochs: int, *, callbacks: Sequence = (), seed: int = 0, steps: int
) -> tuple[Any, float]:
    """Train a compiled model on the recipe's batches; the history, and the seconds.

    Args:
        steps: of each epoch.
    """
    start = time.perf_counter()
    history = model.fit(
        batches(split, epochs, seed),
        epochs=epochs,
        steps_per_epoch=steps,
        callbacks=list(callbacks),
        verbose=0,
    )
    return history, time.perf_counter() - start


def batches(split: Split, epochs: int, seed: int) -> tf.data.Dataset:
    """Every batch of the whole run, shuffled, cropped and flipped by seed and step."""
    steps = split.steps_per_epoch
    draw = np.random.default_rng(seed)
    order = np.concatenate(
        [draw.permutation(len(split.images))[: steps * BATCH] for _ in range(epochs)]
    ).reshape(epochs * steps, BATCH)
    edge = (PAD, PAD)
    with tf.device("CPU"):
        images = tf.constant(np.pad(split.images, ((0, 0), edge, edge, (0, 0))))
        labels = tf.constant(split.labels)
        order = tf.constant(order)

    def batch(step):
        chosen = tf.gather(order, step)
        crops = _crop_and_flip(tf.gather(images, chosen), tf.stack([seed, tf.cast(step, tf.int32)]))
        return tf.cast(crops, tf.float32), tf.gather(labels, chosen)

    return tf.data.Dataset.range(epochs * steps).map(batch, num_parallel_calls=1).prefetch(2)


def _crop_and_flip(padded: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """[batch, 40, 40, 3] -> [batch, 32, 32, 3], one corner and one coin per image."""
    side = 32
    corners = tf.random.stateless_uniform([BATCH, 2], seed, 0, 2 * PAD + 1, tf.int32)
    flip = tf.random.stateless_uniform([BATCH, 1], seed + 1_000_000, 0, 2, tf.int32) == 1
    line = tf.range(side)[tf.newaxis]
    rows = corners[:, :1] + line
    columns = corners[:, 1:] + tf.where(flip, side - 1 - line, line)
    tall = tf.gather(padded, rows, batch_dims=1)
    wide = tf.gather(tf.transpose(tall, [0, 2, 1, 3]), columns, batch_dims=1)
    return tf.transpose(wide, [0, 2, 1, 3])


def kernels(model: tf_keras.Model) -> list[tf.Variable]:
    """The kernels of a stripped model: what the sparsity figures count."""
    return [layer.kernel for layer in model.layers if hasattr(layer, "kernel")]


def sparsity(model: tf_keras.Model) -> float:
    """Fraction of exact zeros in all kernels together, counted from the weights."""
    values = [kernel.numpy() for kernel in kernels(model)]
    kept = sum(map(np.count_nonzero, values))
    return 1.0 - float(kept) / sum(value.size for value in values)


def accuracy(model: tf_keras.Model, split: Split) -> float:
    """Percent of the test images that the model gets right."""
    answers = model.predict(split.test_images.astype(np.float32), batch_size=500, verbose=0)
    return _percent(answers, split)


def right(outputs: dict, split: Split) -> float:
    """Percent of the first test images that a file gets right, from its only output for them."""
    (answers,) = outputs.values()
    return round(_percent(answers, split), 3)


def _percent(answers: np.ndarray, split: Split) -> float:
    return 100.0 * float(np.mean(answers.argmax(-1) == split.test_labels[: len(answers)]))


if __name__ == "__main__":
    begin(1)
    fitted = pretrained()
    fit(fitted, whole := load(held_out=False), 8)
    fitted.save(DENSE, include_optimizer=False)
    print(f"{accuracy(fitted, whole):.2f} %")
