# SPDX-License-Identifier: Apache-2.0
"""XNNPACK's sparse kernels on a computer with AVX: a private copy of LiteRT that does not see it.

XNNPACK asks the processor by the instruction XGETBV whether AVX may be used, and switches sparse
inference off if so. `prepare` copies the installed ai-edge-litert and puts `xor eax, eax` in the
place of that instruction, so that the answer is no. What decides on sparse inference and moves the
values is the same code as on Arm; the innermost loops are SSE's instead of NEON's, so times say
nothing about Arm. The installed package is not touched. On Arm the copy is used as it is.
"""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

XGETBV, NO = b"\x0f\x01\xd0", b"\x31\xc0\x90"
# Two kernels sum in different orders; a value in the wrong place is off by much more.
RIGHT = 1e-5


def prepare(folder: Path) -> Path:
    """Copy ai-edge-litert into `folder` and let it see no AVX; returns the folder."""
    installed = Path(find_spec("ai_edge_litert").origin).parent
    copy = folder / "ai_edge_litert"
    shutil.copytree(installed, copy, dirs_exist_ok=True)
    for library in copy.rglob("*.so*"):
        content = library.read_bytes()
        if XGETBV in content:
            library.write_bytes(content.replace(XGETBV, NO))
    return folder


def seen(dense: Path, sparse: Path, libraries: Path) -> tuple[str, float | None]:
    """("off", "engages", "unsafe" or "fails", deviation of the outputs), run in a child."""
    command = [sys.executable, __file__, str(libraries), str(dense), str(sparse)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        return "fails", None
    deviation = json.loads(done.stdout.splitlines()[-1])
    return ("off" if deviation == 0 else "engages" if deviation < RIGHT else "unsafe"), deviation


def _compare(libraries: str, dense: str, sparse: str) -> float:
    sys.path.insert(0, libraries)
    import ai_edge_litert

    assert Path(ai_edge_litert.__file__).is_relative_to(libraries), "the copy is not used"
    expected, got = _outputs(dense), _outputs(sparse)
    return max(
        float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(expected, got, strict=True)
    )


def _outputs(path: str) -> list:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    outputs = []
    for seed in range(3):
        for detail in interpreter.get_input_details():
            values = np.random.default_rng(seed).normal(size=detail["shape"])
            interpreter.set_tensor(detail["index"], values.astype(detail["dtype"]))
        interpreter.invoke()
        outputs += [
            interpreter.get_tensor(detail["index"]).copy()
            for detail in interpreter.get_output_details()
        ]
    return outputs


if __name__ == "__main__":
    print(json.dumps(_compare(*sys.argv[1:])))
