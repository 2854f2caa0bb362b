# SPDX-License-Identifier: Apache-2.0
"""The largest compression before a layer of VGG-16 collapses, for five scores, at initialisation.

    python benchmarks/critical_compression.py all     # what is missing; stop and start it at will
    python benchmarks/critical_compression.py run --score snip --seed 0
    python benchmarks/critical_compression.py table

A layer has collapsed when all of its weights are removed and others remain. Compression is all
weights over those kept; without floors (`Global(min_keep=0)`). Of scores that are computed once the
critical compression follows from their order: all layers live as long as the best weight of each
is kept. SynFlow is run with its 100 rounds at one compression after the other, by bisection.

VGG-16 with BatchNorm for CIFAR-100 shapes, untrained, as in the paper's code: kernels from He's
normal distribution, an average as the last pooling, BatchNorm by its stored statistics. SNIP and
GraSP look at 1000 images of CIFAR-10, their labels drawn from 100 classes. Beside that, one thing
changed at a time: the initialisation (`truncated`, as Keras draws it, cut off at two standard
deviations), the pooling, BatchNorm by the batch's statistics, several rounds of SNIP and GraSP,
fewer images, their own labels, GraSP's sign and its temperature.
One line in benchmarks/results/critical_compression.jsonl for each of them and each seed, and for
each of SynFlow's runs.
"""

import argparse
import contextlib
import itertools
import math
import os
import sys

from critical_compression_table import PUBLISHED, table
from ledger import Ledger, commands, matches, run_each

LEDGER = Ledger("critical_compression")
SEEDS = (0, 1, 2)
SETTINGS = {
    "start": "normal",
    "pool": "average",
    "training": False,
    "rounds": None,
    "examples": 1000,
    "labels": "drawn",
    "order": "signed",
    "temperature": 200.0,
}
VARIANTS = (
    # scores, what is changed, seeds
    (("magnitude", "random", "snip", "grasp", "synflow"), {}, SEEDS),
    (("magnitude", "snip", "grasp", "synflow"), {"start": "truncated"}, SEEDS),
    (("snip", "grasp"), {"pool": "max"}, SEEDS),
    (("snip", "grasp"), {"training": True}, SEEDS),
    (("snip", "grasp"), {"rounds": 100, "examples": 100}, (0,)),
    (("snip", "grasp"), {"examples": 100}, (0,)),
    (("snip", "grasp"), {"labels": "own"}, (0,)),
    (("grasp",), {"temperature": 1.0}, SEEDS),
    (("grasp",), {"order": "flipped"}, SEEDS),
    (("grasp",), {"order": "absolute"}, SEEDS),
    (("grasp",), {"training": True, "order": "flipped"}, SEEDS),
)
"""What `all` runs."""
ORDERS = {"signed": lambda score: score, "flipped": lambda score: -score, "absolute": abs}
TAKE_DATA = ("snip", "grasp")
CLASSES, BATCH = 100, 256
LOWEST, HIGHEST, STEP = 500, 602, 1  # hundredths of the exponents that are tried with SynFlow
MEAN, DEVIATION = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)  # of CIFAR-10's colours


def main() -> int:
    options = _arguments()
    if options.command == "run":
        if options.score == "synflow":
            bisect(options)
        else:
            LEDGER.append(once(options) if options.rounds is None else iterated(options))
    elif options.command == "all":
        return run_missing()
    else:
        table(known_lines(), SETTINGS)
    return 0


def _arguments() -> argparse.Namespace:
    parser, one, *_ = commands(__doc__)
    one.add_argument("--score", choices=PUBLISHED, required=True)
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--start", choices=("normal", "truncated"), help="the initialisation")
    one.add_argument("--pool", choices=("average", "max"), help="the last pooling")
    one.add_argument(
        "--training",
        action="store_true",
        help="BatchNorm by the batch's own statistics while scoring",
    )
    one.add_argument("--rounds", type=int, help="score and remove so often up to 10^6")
    one.add_argument("--examples", type=int)
    one.add_argument(
        "--order",
        choices=tuple(ORDERS),
        help="whether high scores are kept, low ones, or those far from 0",
    )
    one.add_argument(
        "--labels",
        choices=("drawn", "own"),
        help="of the images: from 100 classes at random, or CIFAR-10's own ten",
    )
    one.add_argument("--temperature", type=float, help="of GraSP's softened logits")
    one.set_defaults(**SETTINGS)
    return parser.parse_args()


def known_lines() -> list[dict]:
    """The ledger's lines; those of before a setting was added were run with its usual value."""
    return [{**SETTINGS, **line} for line in LEDGER.lines()]


def identity(options: argparse.Namespace) -> dict:
    """What makes a run the same run."""
    return {name: getattr(options, name) for name in ("score", "seed", *SETTINGS)}


def network(options: argparse.Namespace):
    """The untrained network."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import keras
    import networks
    import numpy as np

    keras.utils.set_random_seed(options.seed)
    model = networks.vgg16_bn(CLASSES, last_pool=options.pool)
    if options.start == "normal":
        draw = np.random.default_rng(options.seed)
        for layer in model.layers:
            if hasattr(layer, "kernel"):
                shape = tuple(layer.kernel.shape)
                spread = math.sqrt(2 / math.prod(shape[:-1]))
                layer.kernel.assign(draw.normal(0, spread, shape))
    return model


def images(options: argparse.Namespace):
    """CIFAR-10's first images, normalised, with labels out of 100 classes."""
    import keras
    import numpy as np
    import recipe

    import tfprune
    from tfprune import data

    pixels, own = data.arrays("cifar10", "train", data_dir=recipe.data_folder() / "tfds")
    inputs = (pixels[: options.examples] / 255 - np.array(MEAN)) / np.array(DEVIATION)
    drawn = np.random.default_rng(options.seed).integers(0, CLASSES, options.examples)
    labels = drawn if options.labels == "drawn" else own[: options.examples]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return tfprune.CalibrationData((inputs.astype("float32"), labels), loss=loss, batch_size=BATCH)


def once(options: argparse.Namespace) -> dict:
    """The critical compression of a score that is computed once, exactly, from its order."""
    import numpy as np

    with _measuring(options) as (sites, score, _):
        scores = [ORDERS[options.order](one.astype(np.float64)) for one in score()]
    joint = np.concatenate(scores)
    places = np.repeat(np.arange(len(scores)), [len(one) for one in scores])
    order = places[np.argsort(-joint, kind="stable")]
    firsts = [int(np.argmax(order == place)) for place in range(len(scores))]
    needed = 1 + max(firsts)
    return {
        **identity(options),
        "exponent": round(math.log10(len(joint) / needed), 3),
        "kept": needed,
        "weights": len(joint),
        "emptied": sites[int(np.argmax(firsts))].name,
        "sizes": [len(one) for one in scores],
    }


def iterated(options: argparse.Namespace) -> dict:
    """Score and remove in equal factors up to 10^6; the last exponent before a layer collapses."""
    import numpy as np

    import tfprune
    from tfprune.masks.allocations.rankings import ranked_masks

    with _measuring(options) as (sites, score, kernels):
        size = sum(site.size for site in sites)
        reached, kept = 0.0, size
        for level in range(1, options.rounds + 1):
            exponent = 6 * level / options.rounds
            masks = ranked_masks(
                *tfprune.Global(min_keep=0).ranking(score(), sites, 1 - 10**-exponent, 1.0)
            )
            emptied = [site.name for site, mask in zip(sites, masks) if not mask.any()]
            if emptied:
                break
            reached, kept = exponent, sum(int(np.count_nonzero(mask)) for mask in masks)
            for kernel, mask in zip(kernels, masks):
                kernel.assign(kernel.numpy() * mask.reshape(kernel.shape))
    return {
        **identity(options),
        "exponent": round(reached, 3),
        "kept": kept,
        "weights": size,
        "emptied": emptied,
    }


@contextlib.contextmanager
def _measuring(options: argparse.Namespace):
    """The sites, a function that scores each of their weights, and the kernels."""
    import tfprune
    from tfprune.backend import view
    from tfprune.statistics.calibration_data import Feed
    from tfprune.statistics.measure import measuring
    from tfprune.statistics.measured_model import Subject

    model = network(options)
    changes = {"temperature": options.temperature} if options.score == "grasp" else {}
    rule = tfprune.get_method(options.score, seed=options.seed, **changes).rule
    subject = Subject.of(view(model))
    feed = Feed(images(options)) if options.score in TAKE_DATA else None
    if options.training:
        model.call = _in_training(model.call)
    with measuring(
        rule.score.needs, subject, feed, rule.structure, settings=rule.score.settings
    ) as measure:

        def score() -> list:
            weights = [kernel.numpy() for kernel in subject.kernels]
            given = [{name: value.numpy() for name, value in site.items()} for site in measure()]
            return rule.below(rule.scores(weights, subject.sites, given), weights, subject.sites)

        yield subject.sites, score, subject.kernels


def _in_training(call):
    return lambda *inputs, training=None, **more: call(*inputs, training=True, **more)


def bisect(options: argparse.Namespace) -> None:
    """Find SynFlow's largest exponent at which all layers live, to a hundredth."""
    lines = {
        line["tried"]: line
        for line in known_lines()
        if "tried" in line and matches(line, identity(options))
    }

    def lives(hundredths: int) -> bool:
        exponent = hundredths / 100
        if exponent not in lines:
            lines[exponent] = compressed(options, exponent)
            LEDGER.append(lines[exponent])
        return not lines[exponent]["emptied"]

    low, high = LOWEST, HIGHEST
    if lives(high):
        low = high
    elif not lives(low):
        raise SystemExit(f"SynFlow collapses below 10^{LOWEST / 100}: lower LOWEST")
    while high - low > STEP:
        middle = (low + high) // 2
        low, high = (middle, high) if lives(middle) else (low, middle)
    LEDGER.append(
        {
            **identity(options),
            "exponent": low / 100,
            "kept": lines[low / 100]["kept"],
            "weights": lines[low / 100]["weights"],
        }
    )


def compressed(options: argparse.Namespace, exponent: float) -> dict:
    """Prune by 10^exponent; which layers are emptied, and whether a flow was too small to see."""
    import tfprune

    changes = {} if options.rounds is None else {"rounds": options.rounds}
    method = tfprune.get_method(options.score, allocation=tfprune.Global(min_keep=0), **changes)
    model = network(options)
    callback = tfprune.PruningCallback(method, 1 - 10**-exponent)
    callback.start(model)
    report = callback.finish()
    return {
        **identity(options),
        "tried": exponent,
        "kept": report.kept,
        "weights": report.size,
        "emptied": [site.name for site in report.sites if not site.kept],
        "layers": [site.kept for site in report.sites],
        **_flows(model),
    }


def _flows(model) -> dict:
    """Kept weights without flow, those of them that lie on a path all the same, and the smallest
    and the largest score of the kept weights beside the largest of all."""
    import numpy as np

    weights, flows = _measured(model)
    scores = [np.abs(weight) * flow for weight, flow in zip(weights, flows)]
    kept = np.concatenate([score[weight != 0] for score, weight in zip(scores, weights)])
    alive = kept[kept > 0]
    on_path = 0
    if not all(kept > 0):
        for layer in model.layers:  # every weight 1: flows count paths
            if hasattr(layer, "kernel"):
                layer.kernel.assign((layer.kernel.numpy() != 0).astype("float32"))
        _, paths = _measured(model)
        on_path = sum(
            int(np.count_nonzero((weight != 0) & (score == 0) & (path > 0)))
            for weight, score, path in zip(weights, scores, paths)
        )
    return {
        "without_flow": int(np.count_nonzero(kept == 0)),
        "underflown": on_path,
        "decades": round(float(np.log10(alive.max() / alive.min())), 2) if len(alive) else None,
    }


def _measured(model) -> tuple[list, list]:
    """Weights and flows of each site, float64; no flow at all where a layer is empty."""
    import numpy as np

    from tfprune.backend import view
    from tfprune.statistics.measured_model import Subject
    from tfprune.statistics.synaptic_flow import flow

    subject = Subject.of(view(model))
    weights = [kernel.numpy().astype(np.float64) for kernel in subject.kernels]
    if not all(weight.any() for weight in weights):
        return weights, [np.zeros_like(weight) for weight in weights]
    with flow(subject) as measure:
        return weights, [given["flow"].numpy().astype(np.float64) for given in measure()]


def run_missing() -> int:
    """Run what `table` lacks, one process for each; the worst exit code of them."""
    cases = [
        (score, seed, changes)
        for scores, changes, seeds in VARIANTS
        for score, seed in itertools.product(scores, seeds)
    ]
    return run_each(
        __file__,
        filter(_is_missing, cases),
        lambda case: [
            "--score",
            case[0],
            "--seed",
            str(case[1]),
            *(
                word
                for name, value in case[2].items()
                for word in ([f"--{name}"] if value is True else [f"--{name}", str(value)])
            ),
        ],
    )


def _is_missing(case: tuple[str, int, dict]) -> bool:
    score, seed, changes = case
    wanted = {"score": score, "seed": seed, **SETTINGS, **changes}
    return not any("exponent" in line and matches(line, wanted) for line in known_lines())


if __name__ == "__main__":
    sys.exit(main())
