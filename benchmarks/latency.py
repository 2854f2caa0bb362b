# SPDX-License-Identifier: Apache-2.0
"""Latency of shrunk models in LiteRT against their multiply-accumulates.

    python benchmarks/latency.py all            # what is missing, one process each
    python benchmarks/latency.py run --network MobileNetV2 --kind ranked --macs 0.5
    python benchmarks/latency.py table
    python benchmarks/latency.py plot latency.png

`ranked`: `tfprune.shrink_to(model, Budget(macs=...))` by magnitude over all channels together
(`LAMP`), multiples of 8; `uniform`: the same share of every group, as a smaller width gives.
Networks of keras.applications with random weights, 96x96 images; float32 and int8, one thread,
medians of 100 runs, on this machine. One line in benchmarks/results/latency.jsonl for each.
"""

import argparse
import os
import statistics
import sys
import tempfile

from ledger import Ledger, run_each

LEDGER = Ledger("latency")
NETWORKS = ("MobileNetV2", "ResNet50")
KINDS = ("ranked", "uniform")
MACS = (1.0, 0.75, 0.5, 0.35, 0.25, 0.125)
SIDE, RUNS, CALIBRATION, MULTIPLE = 96, 100, 16, 8
CASES = [
    (network, kind, macs)
    for network in NETWORKS
    for kind in KINDS
    for macs in MACS
    if macs < 1 or kind == KINDS[0]
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run", help="one model, one JSON line")
    one.add_argument("--network", choices=NETWORKS, required=True)
    one.add_argument("--kind", choices=KINDS, default=KINDS[0])
    one.add_argument("--macs", type=float, default=1.0, help="fraction that is left")
    commands.add_parser("all", help="run what is missing")
    commands.add_parser("table", help="print the results")
    drawn = commands.add_parser("plot", help="draw the results")
    drawn.add_argument("path")
    options = parser.parse_args()
    if options.command == "run":
        LEDGER.append(run(options))
    elif options.command == "all":
        missing = (case for case in CASES if not LEDGER.latest(_identity(*case)))
        return run_each(
            __file__,
            missing,
            lambda case: ["--network", case[0], "--kind", case[1], "--macs", str(case[2])],
        )
    elif options.command == "table":
        table()
    else:
        plot(options.path)
    return 0


def run(options: argparse.Namespace) -> dict:
    """Shrink, export and time one model, and return the line to be written."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import keras
    import numpy as np

    from tflite_export import export
    from tflite_export.runtime import latency_ms

    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, options.network)(
        weights=None, input_shape=(SIDE, SIDE, 3), classes=100
    )
    model, macs = _smaller(model, options.kind, options.macs)
    images = np.random.default_rng(0).uniform(-1, 1, (CALIBRATION, SIDE, SIDE, 3))
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, quantize in (("float32", "none"), ("int8", "int8")):
            path = os.path.join(folder, f"{name}.tflite")
            found[f"{name}_bytes"] = export(
                model, path, quantize=quantize, sparse=False, data=images.astype("float32")
            ).bytes
            found[f"{name}_ms"] = round(latency_ms(path, RUNS), 4)
    return {
        **_identity(options.network, options.kind, options.macs),
        "counted": macs,
        "parameters": int(model.count_params()),
        **found,
        "load": round(os.getloadavg()[0], 2),
    }


def _smaller(model, kind: str, macs: float) -> tuple:
    """The model with that fraction of its multiply-accumulates, and how many these are."""
    import tfprune

    if macs == 1:
        return model, tfprune.shrink(model)[1].macs[0]
    if kind == "uniform":
        whole = tfprune.PruningRecord.of(tfprune.channel_groups(model))
        (member,) = tfprune.scaled_models(model, whole, [tfprune.Budget(macs=macs)])
        return member.model, member.costs["macs"]
    score = tfprune.get_method("magnitude", allocation=tfprune.LAMP())
    small, report = tfprune.shrink_to(model, tfprune.Budget(macs=macs, round_to=MULTIPLE), score)
    return small, report.costs[0].after


def _identity(network: str, kind: str, macs: float) -> dict:
    """What makes a run the same run."""
    return {"network": network, "kind": kind, "macs": macs}


def _lines() -> list[dict]:
    return [line for line in (LEDGER.latest(_identity(*case)) for case in CASES) if line]


def table() -> None:
    """Every model, and how closely milliseconds follow multiply-accumulates."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=f"LiteRT, one thread, {SIDE}x{SIDE} images")
    for name in (
        "network",
        "channels",
        "MACs",
        "parameters",
        "float32 ms",
        "int8 ms",
        "int8 bytes",
    ):
        shown.add_column(name, justify="left" if name in ("network", "channels") else "right")
    lines = _lines()
    for line in lines:
        shown.add_row(
            line["network"],
            "all" if line["macs"] == 1 else line["kind"],
            f"{line['counted']:,}",
            f"{line['parameters']:,}",
            f"{line['float32_ms']:.2f}",
            f"{line['int8_ms']:.2f}",
            f"{line['int8_bytes']:,}",
        )
    Console(width=110).print(shown)
    for network in NETWORKS:
        own = [line for line in lines if line["network"] == network]
        if len(own) > 2:
            macs = [line["counted"] for line in own]
            said = ", ".join(
                f"{name} {_correlation(macs, own, name):.3f}" for name in ("float32", "int8")
            )
            print(f"{network}: correlation of milliseconds with MACs: {said}")


def _correlation(macs: list[int], lines: list[dict], name: str) -> float:
    return statistics.correlation(macs, [line[f"{name}_ms"] for line in lines])


def plot(path: str) -> None:
    """Milliseconds and bytes over multiply-accumulates."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = _lines()
    figure, axes = pyplot.subplots(2, len(NETWORKS), figsize=(9, 6), sharex="col")
    for (axis, sizes), network in zip(axes.T, NETWORKS):
        whole = [line for line in lines if (line["network"], line["macs"]) == (network, 1)]
        for kind, marker in zip(KINDS, "os"):
            own = whole + [
                line
                for line in lines
                if (line["network"], line["kind"]) == (network, kind) and line["macs"] < 1
            ]
            for name, style in (("float32", "-"), ("int8", "--")):
                axis.plot(
                    [line["counted"] / 1e6 for line in own],
                    [line[f"{name}_ms"] for line in own],
                    style,
                    marker=marker,
                    label=f"{name}, {kind}",
                )
            sizes.plot(
                [line["counted"] / 1e6 for line in own],
                [line["int8_bytes"] / 1e6 for line in own],
                marker=marker,
                label=f"int8, {kind}",
            )
        axis.set(title=network, ylabel="ms in LiteRT", ylim=0)
        sizes.set(xlabel="million MACs", ylabel="MB", xlim=0, ylim=0)
    for first in axes[:, 0]:
        first.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
