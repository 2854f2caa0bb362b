# SPDX-License-Identifier: Apache-2.0
"""Damage that is planted in a network, and whether `tfprune.compare` names it.

    python benchmarks/planted.py run       # writes results/planted.jsonl, a few minutes
    python benchmarks/planted.py table

ResNet-8 on CIFAR-10. `classes`: the filters of the last stage that serve one class most are
zeroed, two or three of them, 20 trials: is that class named first? `frequencies`: the network sees
images whose high frequencies are scaled, none, half or twice of them: are blur and JPEG, which
take high frequencies away, named?
"""

import argparse
import os
import sys

import numpy as np
from ledger import Ledger

LEDGER = Ledger("planted")
TRIALS = 20
COUNTS = (2, 3)  # filters that are zeroed, in the first and in the second ten trials
EXAMPLES = 2000
GAINS = (0.0, 0.5, 2.0)
CUT = 1.0  # standard deviation in pixels of the Gaussian that parts low from high frequencies
TAKING = (
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "gaussian_blur",
    "pixelate",
    "jpeg_compression",
)
"""Corruptions that take high frequencies away, by what they do."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=("run", "table"))
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if options.command == "run":
        classes()
        frequencies()
    return table()


def classes() -> None:
    """Zero the filters that serve one class."""
    import recipe

    import tfprune

    split = recipe.load(held_out=False)
    dense = recipe.pretrained("keras")
    served = _served(dense, split.images[:EXAMPLES], split.labels[:EXAMPLES])
    struck = {
        f"{trial}": _without(
            recipe.pretrained("keras"), np.argsort(-served[:, trial % 10])[: COUNTS[trial // 10]]
        )
        for trial in range(TRIALS)
    }
    found = tfprune.compare({"dense": dense, **struck}, (split.test_images, split.test_labels))
    for trial, one in enumerate(found.compared):
        first = one.classes[0]
        LEDGER.append(
            {
                "kind": "classes",
                "trial": trial,
                "planted": trial % 10,
                "filters": COUNTS[trial // 10],
                "named": first.label,
                "change": round(100 * first.change, 2),
                "lost": round(one.lost, 2),
            }
        )


def _served(model, images, labels) -> np.ndarray:
    """How much each filter of the last stage speaks for each class on that class' images, beyond
    what it does for the class that it serves next most; [filters, classes]."""
    import keras

    features = keras.Model(model.inputs, model.layers[-1].input)
    seen = features.predict(images.astype(np.float32), batch_size=500, verbose=0)
    kernel = np.asarray(model.layers[-1].kernel)
    means = np.stack([seen[labels == label].mean(axis=0) for label in range(kernel.shape[1])], 1)
    served = means * (kernel - kernel.mean(axis=1, keepdims=True))
    return np.stack(
        [
            served[:, label] - np.delete(served, label, 1).max(axis=1)
            for label in range(kernel.shape[1])
        ],
        1,
    )


def _without(model, filters):
    """The model without some filters of the last stage."""
    for layer in _last_stage(model):
        weights = layer.get_weights()
        for weight in weights:
            weight[..., filters] = 0
        layer.set_weights(weights)
    return model


def _last_stage(model) -> list:
    """The layers whose channels are those that the classifier reads: two convolutions that are
    added, and what normalizes them."""
    width = model.layers[-1].kernel.shape[0]
    convolutions = [
        layer for layer in model.layers if "conv" in layer.name and layer.kernel.shape[-1] == width
    ]
    norms = [
        layer
        for layer in model.layers
        if layer.name.startswith("batch") and layer.gamma.shape[-1] == width
    ]
    return [*convolutions[1:], norms[-1]]


def frequencies() -> None:
    """Scale the high frequencies of what the network sees."""
    import recipe

    import tfprune

    split = recipe.load(held_out=False)
    dense = recipe.pretrained("keras")
    networks = {f"{gain:g}": _scaled(recipe.pretrained("keras"), gain) for gain in GAINS}
    found = tfprune.compare(
        {"dense": dense, **networks},
        (split.test_images, split.test_labels),
        corruptions="all",
        settings=tfprune.Evaluation(severities=(3,), examples=EXAMPLES),
    )
    print(found)
    for one in found.compared:
        kinds = sorted(one.kinds, key=lambda kind: kind.against)
        LEDGER.append(
            {
                "kind": "frequencies",
                "gain": float(one.name),
                "lost": round(one.lost, 2),
                "against": {kind.condition: round(kind.against, 2) for kind in kinds},
            }
        )


def _scaled(model, gain: float):
    """The model behind a filter: low frequencies pass, high ones times `gain`."""
    import keras

    reach = np.arange(-3, 4)
    line = np.exp(-(reach**2) / (2 * CUT**2))
    line /= line.sum()
    low = np.outer(line, line)
    whole = np.zeros_like(low)
    whole[3, 3] = 1
    kernel = (gain * whole + (1 - gain) * low).astype(np.float32)
    inputs = keras.Input(model.input_shape[1:])
    layer = keras.layers.DepthwiseConv2D(7, padding="same", use_bias=False)
    outputs = model(layer(inputs))
    layer.set_weights([np.repeat(kernel[:, :, None, None], inputs.shape[-1], axis=2)])
    return keras.Model(inputs, outputs)


def table() -> int:
    """Print what was found."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=110)
    trials = [LEDGER.latest({"kind": "classes", "trial": trial}) for trial in range(TRIALS)]
    done = [line for line in trials if line is not None]
    right = sum(line["named"] == line["planted"] for line in done)
    console.print(f"the class whose filters were zeroed is named first: {right} of {len(done)}")
    shown = Table(title="high frequencies scaled: points more than dense loses, the ends of 19")
    for name in ("gain", "nominal", "least", "most"):
        shown.add_column(name)
    for gain in GAINS:
        line = LEDGER.latest({"kind": "frequencies", "gain": gain})
        if line is not None:
            ends = [f"{name} {value:+.1f}" for name, value in line["against"].items()]
            shown.add_row(
                f"{gain:g}", f"{line['lost']:+.1f}", "\n".join(ends[:7]), "\n".join(ends[-1:-8:-1])
            )
    console.print(shown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
