# SPDX-License-Identifier: Apache-2.0
"""Graphs built to meet and to break each rule of XNNPACK's sparse inference, judged by the gate.

    python benchmarks/gate.py                   # a table: expected, judged, the reason
    python benchmarks/gate.py --files FOLDER    # also writes FOLDER/*.dense.tflite and
                                                # FOLDER/*.sparse.tflite, to be run on Arm
    python benchmarks/gate.py --run             # also runs both with XNNPACK's sparse kernels
    python benchmarks/gate.py --run --arm       # and on an emulated Arm processor, see emulated.py

The graphs and the expectations are those of tests/integration/sparse_graphs.py. The sparse files
of unsafe graphs are written with the encoding that the exporter refuses, so that what it refuses
can be seen to be wrong: never ship them.

`--run` works on x86 too, where XNNPACK has sparse inference switched off if there is AVX: see
without_avx.py. Equal bits mean that it did not run, a deviation of some 1e-7 of the largest output
that it ran and is right, more that it is wrong. With `--arm`, whether it ran is read from the
instructions. Rows go to benchmarks/results/gate.jsonl.
"""

import argparse
import contextlib
import json
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import without_avx
from emulated import DEVIATES, Row, compared
from emulator import Emulator
from emulator import folder as emulators

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "integration"))

import sparse_graphs as graphs  # noqa: E402

from tflite_export import target  # noqa: E402
from tflite_export.convert.converter import convert  # noqa: E402
from tflite_export.convert.signature import signature  # noqa: E402
from tflite_export.flatbuffer.graph import Graph  # noqa: E402
from tflite_export.sparsity.encode import encode  # noqa: E402
from tflite_export.sparsity.xnnpack.verdict import Verdict, verdict  # noqa: E402
from tfprune.output.atomic_write import write  # noqa: E402

# Sparse kernels take about half of the instructions or less on these graphs; the same ones vary by
# a thousand or two of some ten thousand.
_FEWER = 0.85


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=Path, help="folder for the files")
    parser.add_argument("--run", action="store_true", help="run the files with sparse kernels")
    parser.add_argument("--arm", action="store_true", help="also on an emulated Arm processor")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.files or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        libraries = without_avx.prepare(folder / "libraries") if options.run else None
        print("| graph | measured before | expected | judged | seen | why |\n" + "|---" * 6 + "|")
        rows = [_row(name, folder, libraries) for name in graphs.ROWS]
        if options.arm:
            _add_arm(rows, folder)
    if options.run:
        place = Path(__file__).parent / "results" / "gate.jsonl"
        before = {old["graph"]: old for old in map(json.loads, place.read_text().splitlines())}
        # What was seen on Arm stays until it is looked at again.
        kept = [{**before.get(row["graph"], {}), **row} for row in rows]
        write(place, "".join(json.dumps(row) + "\n" for row in kept).encode())
    wrong = sum(not row["agrees"] for row in rows)
    # Refusing what is right costs bytes; passing what is wrong is the fault that counts.
    missed = [r["graph"] for r in rows if r["seen"] == "unsafe" and r["judged"] != "unsafe"]
    print(
        f"\n{len(rows)} graphs, {wrong} judged otherwise than expected, {len(missed)} passed "
        f"that are wrong: {', '.join(missed) or 'none'}."
    )
    for row in rows:
        if options.arm and options.run and row["arm"] != row["seen"]:
            print(f"{row['graph']}: {row['seen']} here, {row['arm']} on Arm")
    return 1 if wrong or missed else 0


def _row(name: str, folder: Path, libraries: Path | None) -> dict:
    state, words, *_ = graphs.ROWS[name]
    content = _converted(graphs.model_of(name))
    found = verdict(Graph(content))
    agrees = found.state == state and re.search(words, str(found), re.S) is not None
    files = _write(folder, name, content)
    seen, deviation = without_avx.seen(*files, libraries) if libraries else ("not run", None)
    before = "yes" if name in graphs.MEASURED else "no"
    mark = "" if agrees else " (WRONG)"
    print(f"| {name} | {before} | {state} | {found.state}{mark} | {seen} | {found} |", flush=True)
    return {
        "graph": name,
        "expected": state,
        "judged": found.state,
        "agrees": agrees,
        "seen": seen,
        "deviation": deviation,
    }


def _add_arm(rows: list[dict], folder: Path) -> None:
    """What the sparse file does on Arm, and the instructions of both."""
    files = [file for row in rows for file in _files(folder, row["graph"])]
    found = iter(compared(files, Emulator(emulators()), examples=2))
    for row, dense, sparse in zip(rows, found, found):
        row["arm"] = _state(dense, sparse)
        row["instructions"] = [dense.instructions, sparse.instructions]


def _state(dense: Row, sparse: Row) -> str:
    if sparse.fault:
        return "unsafe" if sparse.fault == DEVIATES else "fails"
    if not dense.instructions or not sparse.instructions:
        return "right"
    return "engages" if sparse.instructions < _FEWER * dense.instructions else "off"


def _converted(model) -> bytes:
    known = signature(model)
    inputs = {n: np.zeros((1, *s[1:]), "f4") for n, s in zip(known.names, known.shapes)}
    device = target("mobile-sparse-f32")
    return convert(model, known, target=device, quantize="none", inputs=inputs).content


def _files(folder: Path, name: str) -> tuple[Path, Path]:
    stem = re.sub(r"\W+", "-", name)
    return folder / f"{stem}.dense.tflite", folder / f"{stem}.sparse.tflite"


def _write(folder: Path, name: str, content: bytes) -> tuple[Path, Path]:
    dense, sparse = _files(folder, name)
    dense.write_bytes(content)
    sparse.write_bytes(encode(content, "none", judged=Verdict("engages")).content)
    return dense, sparse


if __name__ == "__main__":
    sys.exit(main())
