# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10's ResNet-8: prune single weights by every score, fine-tune briefly, draw the curves."""

import argparse
import os
from pathlib import Path

import keras
import matplotlib.pyplot as plt
from rich import print
from rich.progress import track
from rich.table import Table

import tfprune
from tfprune import data

SCORES = ("magnitude", "random", "snip", "grasp", "synflow", "taylor", "fisher", "sipp")
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument(
    "--data",
    type=Path,
    default=os.environ.get("TFPRUNE_DATA", "../shared/data"),
    help="folder with tfds/cifar10 and models/resnet8_cifar10.h5",
)
parser.add_argument("--steps", type=int, default=200, help="of fine-tuning, 128 images each")
parser.add_argument("--scores", nargs="+", default=SCORES, choices=SCORES)
parser.add_argument("--sparsities", nargs="+", type=float, default=(0.9, 0.99, 0.999))
parser.add_argument("--split", default="test", help="to judge by, such as test[:10%%]")
parser.add_argument("--picture", type=Path, default="build/compare_scores.png")
options = parser.parse_args()


def accuracy(score: str, sparsity: float) -> float:
    """Prune the pretrained model at once, train it on with the zeros fixed, in percent."""
    keras.utils.set_random_seed(0)
    model = keras.models.load_model(Path(options.data) / "models/resnet8_cifar10.h5", compile=False)
    rate = keras.optimizers.schedules.CosineDecay(1e-3, options.steps)
    model.compile(
        keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    pruning = tfprune.PruningCallback(
        score,
        schedule=tfprune.OneShot(sparsity),
        structure=tfprune.Element(),
        allocation=tfprune.Global(),
        data=(x[:512], y[:512]),
    )
    model.fit(x, y, batch_size=128, epochs=1, verbose=0, callbacks=[pruning])
    return 100 * model.evaluate(x_test, y_test, batch_size=500, verbose=0)[1]


folder = Path(options.data) / "tfds"
x, y = data.arrays("cifar10", f"train[:{128 * options.steps}]", data_dir=folder)
x_test, y_test = data.arrays("cifar10", options.split, data_dir=folder)
x, x_test = x.astype("float32"), x_test.astype("float32")
table = Table("score", *(f"{100 * s:g} %" for s in options.sparsities), title="accuracy in percent")
for score in track(options.scores, "pruning and fine-tuning"):
    found = [accuracy(score, sparsity) for sparsity in options.sparsities]
    table.add_row(score, *(f"{value:.1f}" for value in found))
    plt.semilogx([1 - s for s in options.sparsities], found, marker="o", label=score)
print(table)
plt.gca().invert_xaxis()
plt.xlabel("fraction of the weights that is kept")
plt.ylabel(f"test accuracy in % after {options.steps} steps")
plt.legend()
options.picture.parent.mkdir(parents=True, exist_ok=True)
plt.savefig(options.picture, dpi=120)
print(f"drawn: {options.picture}")
