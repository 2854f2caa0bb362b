# SPDX-License-Identifier: Apache-2.0
"""Half of every prunable group of a network masked, then removed: do the outputs agree?

    python benchmarks/shrink.py all                      # every architecture of both Kerases
    python benchmarks/shrink.py all keras/MobileNet tf_keras/VGG16
    python benchmarks/shrink.py run keras/ResNet50       # one line, in this process
    python benchmarks/shrink.py table

One process is one architecture is one JSON line in benchmarks/results/shrink.jsonl; `all` leaves
out what has a line. Networks have random weights, normalizations with the statistics of random
images, ten outputs without softmax, and the smallest input that they take. The masked channels
are zero wherever they are made, scaled and shifted. The deviation is the largest difference of
the outputs relative to the largest output (`between_examples` is how far the outputs of two
inputs differ). Where float32 deviates by more than 1e-4, the same is done in float64: random
networks can amplify rounding. `rounding` says how much: by how far the masked model's own outputs
move when its inputs are rounded otherwise. The prunable share is that of the multiply-accumulates
which prunable channels take part in. Seconds are those of `channel_groups` and of `shrink`.
"""

import importlib
import os
import resource
import sys
import time
from importlib.metadata import version

from ledger import Ledger, commands, run_each

LEDGER = Ledger("shrink")
SMALLEST = {"Xception": 71, "InceptionV3": 75, "InceptionResNetV2": 75}
SIZE = 32
EXAMPLES = 8
LIMIT = 1e-4


def main() -> int:
    parser, one, every, _ = commands(__doc__)
    one.add_argument("row", help="keras/ResNet50, tf_keras/VGG16, ...")
    every.add_argument("rows", nargs="*", help="all architectures by default")
    options = parser.parse_args()
    if options.command == "run":
        LEDGER.append(run(options.row))
    elif options.command == "all":
        return run_missing(options.rows or list(_rows()))
    else:
        table()
    return 0


def _rows():
    for family in ("keras", "tf_keras"):
        applications = importlib.import_module(f"{family}.applications")
        for name in sorted(dir(applications)):
            if name[0].isupper() and callable(getattr(applications, name)):
                yield f"{family}/{name}"


def run(row: str) -> dict:
    """Mask and shrink one architecture, and return the line to be written."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    family, name = row.split("/")
    line = {"row": row, **compared(family, name)}
    if line["deviation"] > LIMIT:
        library = importlib.import_module(family)
        library.backend.set_floatx("float64")
        library.mixed_precision.set_global_policy("float64")  # or that of before stays
        double = compared(family, name)
        line |= {f"{key}_float64": double[key] for key in ("deviation", "rounding")}
    return {
        **line,
        "mebibytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "load": round(os.getloadavg()[0], 2),
        "versions": {package: version(package) for package in ("tensorflow", family, "tfprune")},
    }


def compared(family: str, name: str) -> dict:
    """Mask and shrink one architecture in the float type that its Keras is set to."""
    import numpy as np

    import tfprune

    library = importlib.import_module(family)
    library.utils.set_random_seed(0)
    size = SMALLEST.get(name, SIZE)
    model = getattr(library.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None
    )
    begin = time.perf_counter()
    groups = tfprune.channel_groups(model)
    found = time.perf_counter()
    mask(model, groups)
    share = prunable_share(model, groups)
    data = np.random.default_rng(1).uniform(0, 255, (EXAMPLES, size, size, 3)).astype("float32")
    normalize(model, data)
    masked = np.asarray(model(data, training=False))
    noise = np.finfo(masked.dtype).eps * np.random.default_rng(2).standard_normal(data.shape)
    otherwise = np.asarray(model((data * (1 + noise)).astype(masked.dtype), training=False))
    ready = time.perf_counter()
    small, report = tfprune.shrink(model)
    seconds = time.perf_counter() - ready
    outputs = np.asarray(small(data, training=False))
    stayed = {
        one.name: [one.dead - one.before + one.after, list(one.reasons)]
        for one in report.groups
        if one.dead > one.before - one.after
    }
    return {
        "input": size,
        "groups": len(groups),
        "prunable": sum(one.prunable for one in groups),
        "share": round(share, 4),
        "macs": report.macs,
        "parameters": report.parameters,
        "removed": report.removed,
        "stayed": stayed,
        "folded": len(report.folded),
        "uncounted": len(report.uncounted),
        "deviation": float(np.abs(outputs - masked).max() / np.abs(masked).max()),
        "rounding": float(np.abs(otherwise - masked).max() / np.abs(masked).max()),
        "largest": float(np.abs(masked).max()),
        "between_examples": float(np.abs(masked[0] - masked[1]).max()),
        "seconds_groups": round(found - begin, 2),
        "seconds_shrink": round(seconds, 2),
    }


def mask(model, groups) -> None:
    """Random scales and shifts; then half of the channels of every prunable group become zero."""
    import numpy as np

    from tfprune.channels.tracer import variables
    from tfprune.layers.channel_graph import Role

    held, draw = variables(model), np.random.default_rng(0)
    for site, variable in held.items():
        ranges = {"gamma": (0.5, 1.5), "beta": (-0.2, 0.2), "bias": (-0.2, 0.2)}
        bounds = ranges.get(site.rpartition("/")[2])
        if bounds is not None:
            variable.assign(draw.uniform(*bounds, variable.shape).astype("float32"))
    for group in groups:
        if not group.prunable:
            continue
        channels = draw.permutation(group.size)[: group.size // 2]
        for member in group.members:
            shifts = member.site.rpartition("/")[2] in ("bias", "beta", "moving_mean")
            if member.role in (Role.PRODUCER, Role.PASSING) or shifts:
                value = held[member.site].numpy()
                np.moveaxis(value, member.axis, 0)[member.indices[channels]] = 0
                held[member.site].assign(value)


def normalize(model, data) -> None:
    """Give the normalizations the statistics of these images, so that the outputs tell them apart.

    Masked channels have the mean zero, which leaves them zero.
    """
    norms = [layer for layer in model.layers if hasattr(layer, "moving_mean")]
    before = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    model(data, training=True)
    for layer, momentum in zip(norms, before):
        layer.momentum = momentum


def prunable_share(model, groups) -> float:
    """The share of the multiply-accumulates at entries of kernels that prunable channels have."""
    import numpy as np

    from tfprune.backend import view
    from tfprune.masks.costs import macs

    left: dict[str, dict[int, int]] = {}
    for group in groups:
        for member in group.members if group.prunable else ():
            entries = left.setdefault(member.site, {})
            entries[member.axis] = entries.get(member.axis, 0) + member.indices.size
    total = prunable = 0.0
    for item in view(model).sites:
        count = macs(item.site.shape, item.site.positions) or 0
        others = np.prod(
            [
                1 - entries / item.site.shape[axis]
                for axis, entries in left.get(item.site.name, {}).items()
            ]
        )
        total += count
        prunable += count * (1 - others)
    return prunable / total


def run_missing(rows: list[str]) -> int:
    """Run each row that has no line, one process each; the worst exit code of them."""
    return run_each(__file__, (row for row in rows if row not in _lines()), lambda row: [row])


def _lines() -> dict[str, dict]:
    return {line["row"]: line for line in LEDGER.lines()}


def table() -> None:
    """The last line of each architecture."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title="Half of every prunable group removed")
    for column in (
        "architecture",
        "groups",
        "prunable",
        "share of MACs",
        "MACs left",
        "parameters left",
        "deviation",
        "stayed",
        "seconds",
    ):
        shown.add_column(
            column,
            justify="left" if column == "architecture" else "right",
            no_wrap=column == "architecture",
        )
    for _, line in sorted(_lines().items()):
        shown.add_row(
            line["row"],
            str(line["groups"]),
            str(line["prunable"]),
            f"{line['share']:.1%}",
            f"{line['macs'][1] / line['macs'][0]:.1%}",
            f"{line['parameters'][1] / line['parameters'][0]:.1%}",
            _deviation(line),
            str(sum(count for count, _ in line["stayed"].values())),
            f"{line['seconds_groups']:.1f} + {line['seconds_shrink']:.1f}",
        )
    Console(width=150).print(shown)


def _deviation(line: dict) -> str:
    """In float32 and, where that is large, in float64; with a mark where neither is explained."""
    single, double = line["deviation"], line.get("deviation_float64")
    if double is None:
        return f"{single:.1e}" + ("" if single <= LIMIT else " !")
    text, rounding = f"{single:.1e}, float64 {double:.1e}", line.get("rounding_float64")
    if double > LIMIT and rounding is not None:
        text += f" (rounding {rounding:.1e})"
    return text + ("" if double <= max(LIMIT, rounding or 0) else " !")


if __name__ == "__main__":
    sys.exit(main())
