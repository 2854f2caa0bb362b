# SPDX-License-Identifier: Apache-2.0
"""Files for phones on an emulated Arm processor: the same outputs? how many instructions?

    python benchmarks/emulated.py setup                     # downloads; says what, and from where
    python benchmarks/emulated.py run a.tflite b.tflite --inputs x.npy
    python benchmarks/emulated.py run files/*.tflite --cpu cortex-a72 --json

`setup` needs Debian (apt-get, dpkg) and about 400 MB in ~/.cache/tfprune-emulated (or --folder), no
root; a C compiler to count instructions. `run` executes each file in LiteRT's wheel for aarch64
under QEMU and on this computer, one thread, with the same inputs (without --inputs: seeded random
ones) and compares. On Arm, XNNPACK runs its sparse inference, which it does not on x86 with AVX:
there a file deviates by rounding where the sparse kernels are right, and by more where they are
wrong. Instructions are counted exactly; they are not time, since nothing here knows caches,
pipelines, or how many instructions a core begins at once. The exit code is 1 if a file fails or
deviates.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from emulator import CPUS, HERE, Emulator, Ran, folder
from emulator_setup import set_up

from tflite_export.convert.representative_data import spread
from tflite_export.flatbuffer.graph import read
from tflite_export.flatbuffer.signature_io import Port, by_name, dequantized, ports, quantized
from tflite_export.report.tensor_stats import number_format

# Parts of the largest output. int8 is usually equal to the bit; LiteRT's own kernels, which run
# int4, round otherwise on Arm, a step here and there.
FLOATS, INTEGERS = 1e-4, 0.05
DEVIATES = "DEVIATES"


@dataclass(frozen=True)
class Row:
    """A file: `deviation` from this computer's outputs, relative to the largest; `agreement` of the
    largest entries; `instructions` of an inference; `fault` or ""."""

    file: str
    bytes: int
    deviation: float | None = None
    agreement: float | None = None
    instructions: int | None = None
    fault: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    prepare = commands.add_parser("setup", help="download the emulator")
    one = commands.add_parser("run", help="run files")
    one.add_argument("files", type=Path, nargs="+")
    one.add_argument("--inputs", help="examples: a .npy file, or .npz with one array each")
    one.add_argument("--examples", type=int, default=4, help="at most so many")
    one.add_argument("--cpu", choices=sorted(CPUS), default="neoverse-n1")
    one.add_argument("--seconds", type=float, default=1800, help="for all files")
    one.add_argument("--json", action="store_true", help="a JSON line for each file")
    for command in (prepare, one):
        command.add_argument("--folder", type=Path, default=folder())
    options = parser.parse_args()
    try:
        if options.command == "setup":
            set_up(Emulator(options.folder.resolve()))
            return 0
        emulator = Emulator(options.folder.resolve(), options.cpu, options.seconds)
        given = None if options.inputs is None else np.load(options.inputs)
        rows = compared(options.files, emulator, given, examples=options.examples)
    except (OSError, RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for row in rows:
        print(json.dumps({"cpu": options.cpu, **vars(row)}) if options.json else _line(row))
    return int(any(row.fault for row in rows))


def compared(files: list[Path], emulator: Emulator, given=None, *, examples: int = 4) -> list[Row]:
    """Run files there and here.

    Args:
        files: .tflite files.
        emulator: where.
        given: inputs as `numpy.load` gives them; None: random ones.
        examples: at most so many.
    """
    if emulator.missing:
        raise ValueError(emulator.missing)
    if emulator.uncounted:
        print(f"instructions are not counted: {emulator.uncounted}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as made:
        jobs = []
        for number, file in enumerate(files):
            inputs = Path(made) / f"{number}.in.npz"
            try:
                np.savez(inputs, **_inputs(file.read_bytes(), given, examples))
            except ValueError as error:
                raise ValueError(f"{file}: {error}") from error
            jobs.append((file, inputs, Path(made) / f"{number}.out.npz"))
        there = emulator.run(jobs)
        return [_compared(job, ran) for job, ran in zip(jobs, there, strict=True)]


def _inputs(content: bytes, given, examples: int) -> dict[str, np.ndarray]:
    """As the file stores them, by name."""
    taken, _ = ports(content)
    if given is None:
        draw = np.random.default_rng(0)
        return {port.name: _random(draw, port, examples) for port in taken}
    arrays = by_name(dict(given) if hasattr(given, "files") else given, taken)
    arrays = spread(arrays, examples)
    return {port.name: quantized(arrays[port.name], port) for port in taken}


def _random(draw: np.random.Generator, port: Port, examples: int) -> np.ndarray:
    shape = (examples, *port.single[1:])
    if port.dtype.startswith("float") or port.scale:
        return quantized(draw.standard_normal(shape).astype("float32"), port)
    return draw.integers(0, 2, shape).astype(port.dtype)


def _compared(job: tuple[Path, Path, Path], ran: Ran) -> Row:
    file, inputs, outputs = job
    size = file.stat().st_size
    if ran.fault:
        return Row(str(file), size, fault=ran.fault)
    here = outputs.with_suffix(".here.npz")
    done = subprocess.run(
        [sys.executable, str(HERE / "emulated_program.py"), str(file), str(inputs), str(here)],
        capture_output=True,
        text=True,
    )
    if done.stdout.strip() != "done":
        return Row(str(file), size, fault=f"on this computer: {done.stdout.strip()}")
    content = file.read_bytes()
    _, given = ports(content)
    with np.load(outputs) as there, np.load(here) as expected:
        found = [_deviation(port, expected[port.name], there[port.name]) for port in given]
    deviation, agreement = max(found)
    exact = number_format(read(content)) in ("none", "float16")
    fault = "" if deviation <= (FLOATS if exact else INTEGERS) else DEVIATES
    return Row(str(file), size, deviation, agreement, ran.instructions, fault)


def _deviation(port: Port, expected: np.ndarray, got: np.ndarray) -> tuple[float, float]:
    """Largest deviation, and share of examples with the same largest entry."""
    want, have = (dequantized(array, port).astype(float) for array in (expected, got))
    largest = np.abs(want).max() or 1.0
    deviation = np.abs(want - have).max() / largest
    same = want.reshape(len(want), -1).argmax(1) == have.reshape(len(have), -1).argmax(1)
    return float(deviation if np.isfinite(deviation) else np.inf), float(same.mean())


def _line(row: Row) -> str:
    if row.deviation is None:
        return f"{row.file}: {row.fault}"
    counted = "not counted" if row.instructions is None else f"{row.instructions:,}"
    said = "equal bits" if row.deviation == 0 else f"deviation {row.deviation:.1e}"
    return (
        f"{row.file}: {row.bytes:,} bytes, {counted} instructions, {said}, agreement "
        f"{row.agreement:.2f}{row.fault and ', ' + row.fault}"
    )


if __name__ == "__main__":
    sys.exit(main())
