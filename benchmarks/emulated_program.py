# SPDX-License-Identifier: Apache-2.0
"""Runs .tflite files; the same program on this computer and on the emulated one.

    python emulated_program.py MODEL INPUTS.npz OUTPUTS.npz [MODEL INPUTS.npz OUTPUTS.npz ...]

Inputs and outputs are as the file stores them, by the names of its signature; one example at a
time, one thread. One more inference is marked for the plugin that counts instructions. Prints a
line for each file: "done", or what LiteRT has against it.
"""

import ctypes
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter

MARK = 0x7EAD  # as in instructions.c


def main(files: list[str]) -> None:
    for start in range(0, len(files), 3):
        try:
            run(*files[start : start + 3])
            said = "done"
        except (RuntimeError, ValueError) as error:
            said = " ".join(str(error).split()) or type(error).__name__
        print(said, flush=True)


def run(model: str, given: str, found: str) -> None:
    interpreter = Interpreter(model_path=model, num_threads=1)
    runner, parts = interpreter.get_signature_runner(), []
    with np.load(given) as arrays:
        inputs = dict(arrays)
    for row in range(len(next(iter(inputs.values())))):
        if row:
            interpreter.reset_all_variables()
        outputs = runner(**{name: array[row : row + 1] for name, array in inputs.items()})
        parts.append({name: np.array(value) for name, value in outputs.items()})
    np.savez(found, **{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    del outputs, runner  # both hold memory of the interpreter
    mark = ctypes.CDLL(None).syscall
    interpreter.invoke()
    mark(MARK)
    interpreter.invoke()
    mark(MARK)


if __name__ == "__main__":
    main(sys.argv[1:])
