# SPDX-License-Identifier: Apache-2.0
"""Random models of up to 5 inputs and outputs, exported for every target: by position as in Keras?

    python benchmarks/order.py run --family keras --seed 0    # one model, all targets and formats
    python benchmarks/order.py all                            # 20 models of each Keras
    python benchmarks/order.py table

Names, nesting and weights are drawn (tests/integration/ends.py). Each file is run by position in
LiteRT, those for `tflm` in TFLite Micro; a file is right when output i lies nearest to
`model.outputs[i]`, closer than a third of the distance between any two outputs. One line in
benchmarks/results/order.jsonl for each model: {"target format": right or not}.
"""

import os
import sys
import tempfile
import warnings
from pathlib import Path
from unittest import mock

from ledger import Ledger, commands, run_each

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "integration"))

LEDGER = Ledger("order")
SEEDS = range(20)


def main() -> int:
    parser, one, _, _ = commands(__doc__)
    one.add_argument("--family", choices=("keras", "tf_keras"), required=True)
    one.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    if options.command == "run":
        LEDGER.append(run(options.family, options.seed))
    elif options.command == "all":
        wanted = [{"family": f, "seed": n} for f in ("keras", "tf_keras") for n in SEEDS]
        missing = (case for case in wanted if not LEDGER.latest(case))
        return run_each(
            __file__,
            missing,
            lambda case: [
                text for name, value in case.items() for text in (f"--{name}", str(value))
            ],
        )
    else:
        table()
    return 0


def run(family: str, seed: int) -> dict:
    """Every target and number format for one model."""
    import ends

    from tflite_export import export
    from tflite_export.devices.registry import TARGETS

    model = ends.drawn(family, seed)
    data = ends.examples(model)
    expected, files = ends.by_keras(model, data), {}
    for device in TARGETS.values():
        for quantize in device.quantize:
            # Vela only estimates here, which takes its time.
            with (
                tempfile.TemporaryDirectory() as folder,
                warnings.catch_warnings(),
                mock.patch("tflite_export.devices.vela.installed", lambda: False),
            ):
                warnings.simplefilter("ignore")
                path = Path(folder) / "model.tflite"
                export(
                    model,
                    path,
                    target=device,
                    quantize=quantize,
                    data=data if len(data) > 1 else data[0],
                )
                execute = ends.on_the_device if device.name == "tflm" else ends.by_position
                found = execute(path.read_bytes(), data, len(expected))
            right = ends.places(expected, found) == list(range(len(expected)))
            files[f"{device.name} {quantize}"] = right
    return {
        "family": family,
        "seed": seed,
        "inputs": len(data),
        "outputs": len(expected),
        "files": files,
    }


def table() -> None:
    """Right files of all, for each target and format."""
    lines = LEDGER.lines()
    print("| target and format | right | of |\n|---|---|---|")
    for name in dict.fromkeys(name for line in lines for name in line["files"]):
        found = [line["files"][name] for line in lines if name in line["files"]]
        print(f"| {name} | {sum(found)} | {len(found)} |")


if __name__ == "__main__":
    sys.exit(main())
