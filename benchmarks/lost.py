# SPDX-License-Identifier: Apache-2.0
"""What pruning loses beyond accuracy: families of pruned ResNet-8 on CIFAR-10.

    python benchmarks/lost.py train --folder DIR     # stop and start it at will
    python benchmarks/lost.py evaluate --folder DIR  # the networks that are there so far
    python benchmarks/lost.py speed --folder DIR --networks 4

Trains a dense network and, by five methods, one at each of eight ratios: two epochs of the
reference recipe each, with one seed; magnitude and dense with three. `pfp` and `filter_threshold`
remove whole filters, their ratio is the share of the filters; the others remove single weights.
Every training has one process and one thread. The folder holds the networks, curve.jsonl and
curve.csv. `evaluate` predicts 10,000 test images with each network, and the first 2,000 of them
under 19 corruptions of severity 3 and noise of 7 sizes: prune potentials in print, as DIR/page.html
and in results/lost.jsonl. `speed` predicts under 15 corruptions of 5 severities and the same noise
with some of the networks, without anything kept.
"""

import argparse
import os
import sys
import time
from pathlib import Path

RATIOS = (0.2, 0.35, 0.5, 0.65, 0.75, 0.85, 0.9, 0.95)
SEEDS = (0, 1, 2)
EPOCHS = 2
EXAMPLES = 1280  # that scores look at
NOISE = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)  # standard deviations


def main() -> int:
    options = _arguments()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return {"train": train, "evaluate": evaluate, "speed": speed}[options.command](options)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train what is missing in the folder")
    training.add_argument("--folder", required=True)
    training.add_argument("--steps", type=int, help="of each epoch, fewer than all for a trial")
    training.add_argument("--ratios", type=float, nargs="+", default=RATIOS, help="for a trial")
    for name, what in (
        ("evaluate", "predict what is missing, and print prune potentials"),
        ("speed", "how long predictions take"),
    ):
        command = commands.add_parser(name, help=what)
        command.add_argument("--folder", required=True, help="of `train`")
    command.add_argument("--networks", type=int, default=40)
    return parser.parse_args()


def make(seed: int):
    """The pretrained network, the same for each seed."""
    import recipe

    return recipe.pretrained()


class Fit:
    """Trains by the recipe.

    Args:
        steps: of each epoch; None: all.
    """

    def __init__(self, steps: int | None):
        self.steps = steps

    def __call__(self, model, callbacks, seed):
        import recipe

        recipe.fit(
            model,
            recipe.load(held_out=False),
            EPOCHS,
            callbacks=callbacks,
            seed=seed,
            steps=self.steps,
        )


def magnitude(ratio: float):
    import tfprune

    return tfprune.PruningCallback(
        "magnitude",
        schedule=tfprune.Polynomial(ratio, end=0.5, frequency=10),
        structure=tfprune.Element(),
        allocation=tfprune.Global(),
    )


def st3(ratio: float):
    import tfprune

    return tfprune.PruningCallback(
        "st3",
        schedule=tfprune.Polynomial(ratio, end=0.9, power=8, frequency=4),
        structure=tfprune.Element(),
        allocation=tfprune.Global(),
    )


def sipp(ratio: float):
    import tfprune

    return tfprune.PruningCallback(
        "sipp", ratio, structure=tfprune.Element(), allocation=tfprune.Global()
    )


def filter_threshold(ratio: float):
    """The last layer, whose outputs are classes, stays whole."""
    import tfprune

    last = make(0).layers[-1].name
    return tfprune.PruningCallback(
        "filter_threshold", ratio, allocation=tfprune.PerSite({last: 0.0}, others=tfprune.Uniform())
    )


METHODS = {
    "magnitude": magnitude,
    "sipp": sipp,
    "pfp": "pfp",
    "filter_threshold": filter_threshold,
    "st3": st3,
}


def train(options: argparse.Namespace) -> int:
    """Train what is missing; exit code 1 if something failed."""
    import recipe

    import tfprune

    split = recipe.load(held_out=False)
    data = tfprune.CalibrationData(
        (split.images[:EXAMPLES].astype("float32"), split.labels[:EXAMPLES]), batch_size=64
    )
    failed = 0
    for methods, seeds in ((METHODS, SEEDS[:1]), ({"magnitude": magnitude}, SEEDS)):
        done = tfprune.curve(
            make, methods, options.ratios, seeds, Fit(options.steps), data, folder=options.folder
        )
        print(done, flush=True)
        failed += len(done.failed)
    return failed > 0


def evaluate(options: argparse.Namespace) -> int:
    """Prune potentials of what is trained."""
    import recipe
    from ledger import Ledger

    import tfprune
    from tfprune.evaluation.figures import svg
    from tfprune.evaluation.potential_figures import potential_figure

    start, folder = time.perf_counter(), Path(options.folder)
    split = recipe.load(held_out=False)
    found = tfprune.potential(
        tfprune.Curve.load(folder),
        (split.test_images, split.test_labels),
        noise=NOISE,
        folder=folder / "predictions",
        settings=tfprune.Evaluation(severities=(3,)),
    )
    print(found)
    page = found.page(folder / "page.html", ("The networks", tfprune.Curve.load(folder)))
    (folder / "potential.svg").write_text(svg(potential_figure(found.potentials)))
    ledger = Ledger("lost")
    for one in found.potentials:
        ledger.append({"kind": "potential", **vars(one)})
    for one in found.growths:
        ledger.append({"kind": "growth", **vars(one)})
    print(f"{(time.perf_counter() - start) / 60:.1f} minutes; {page}")
    return 0


def speed(options: argparse.Namespace) -> int:
    """The minutes of predictions by some networks, and what forty would take."""
    import recipe
    from ledger import Ledger

    import tfprune
    from tfprune.evaluation.corruptions import CORRUPTIONS

    split = recipe.load(held_out=False)
    runs = [run for run in tfprune.Curve.load(options.folder).runs if run.path is not None]
    networks = {run.name: run.path for run in runs[: options.networks]}
    start = time.perf_counter()
    found = tfprune.compare(
        networks, (split.test_images, split.test_labels), corruptions=CORRUPTIONS[:15], noise=NOISE
    )
    seconds = time.perf_counter() - start
    predictions = len(networks) * (found.examples + (15 * 5 + len(NOISE)) * found.shifted)
    print(found)
    Ledger("lost").append(
        {
            "kind": "speed",
            "networks": len(networks),
            "predictions": predictions,
            "minutes": round(seconds / 60, 2),
            "predictions_per_second": round(predictions / seconds),
        }
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
