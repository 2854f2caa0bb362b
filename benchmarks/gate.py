"""Graphs built to meet and to break each rule of XNNPACK's sparse inference, judged by the gate.

    python benchmarks/gate.py                   # a table: expected, judged, the reason
    python benchmarks/gate.py --files FOLDER    # also writes FOLDER/*.dense.tflite and
                                                # FOLDER/*.sparse.tflite, to be run on Arm

The graphs and the expectations are those of tests/integration/sparse_graphs.py. The sparse files
of unsafe graphs are written with the encoding that the exporter refuses, so that what it refuses
can be seen to be wrong: never ship them.
"""

import argparse
import re
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "integration"))

import sparse_graphs as graphs  # noqa: E402

from tflite_export import target  # noqa: E402
from tflite_export.convert import convert  # noqa: E402
from tflite_export.encode import encode  # noqa: E402
from tflite_export.graph import Graph  # noqa: E402
from tflite_export.keras_models import signature  # noqa: E402
from tflite_export.xnnpack import Verdict, verdict  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=Path, help="folder for the files")
    options = parser.parse_args()
    if options.files:
        options.files.mkdir(parents=True, exist_ok=True)
    wrong = 0
    print("| graph | measured on Arm | expected | judged | why |\n|---|---|---|---|---|")
    for name, (state, words, *_) in graphs.ROWS.items():
        content = _converted(graphs.model_of(name))
        found = verdict(Graph(content))
        agrees = found.state == state and re.search(words, str(found), re.S) is not None
        wrong += not agrees
        measured = "yes" if name in graphs.MEASURED else "no"
        mark = "" if agrees else " (WRONG)"
        print(f"| {name} | {measured} | {state} | {found.state}{mark} | {found} |", flush=True)
        if options.files:
            _write(options.files, name, content)
    print(f"\n{len(graphs.ROWS)} graphs, {wrong} judged otherwise than expected.")
    return 1 if wrong else 0


def _converted(model) -> bytes:
    known = signature(model)
    inputs = {n: np.zeros((1, *s[1:]), "f4") for n, s in zip(known.names, known.shapes)}
    device = target("mobile-sparse-f32")
    return convert(model, known, target=device, quantize="none", inputs=inputs).content


def _write(folder: Path, name: str, content: bytes) -> None:
    stem = re.sub(r"\W+", "-", name)
    (folder / f"{stem}.dense.tflite").write_bytes(content)
    sparse = encode(content, "none", judged=Verdict("engages"))
    (folder / f"{stem}.sparse.tflite").write_bytes(sparse.content)


if __name__ == "__main__":
    sys.exit(main())
