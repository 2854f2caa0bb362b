# SPDX-License-Identifier: Apache-2.0
"""The program of the processes in which interpreters run, LiteRT's and TFLite Micro's.

    python worker_main.py litert

It is started by its path and imports nothing of this package, so that it is there at once. Requests
and answers are pickles, each behind its length in 8 bytes.
"""

import contextlib
import os
import pickle
import struct
import sys
import tempfile
import time

import numpy as np

_WARM = 5  # calls before times are taken


def main(kind: str) -> None:
    """Answer requests from standard input until it is closed.

    Args:
        kind: "litert" or "micro".
    """
    answering, reason = {"litert": (_litert, _said), "micro": (_micro, _printed)}[kind]
    with contextlib.suppress(ImportError):  # Windows writes no core files
        import resource

        # Arenas that are tried may be too small, and end the process: nobody wants its memory.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # Interpreters write from C++ to descriptor 2: kept in a file, which may have their reasons.
    printed = tempfile.TemporaryFile()
    os.dup2(printed.fileno(), 2)
    os.dup2(printed.fileno(), 1)
    while len(head := requests.read(8)) == 8:
        request = pickle.loads(requests.read(struct.unpack("<Q", head)[0]))
        os.ftruncate(2, 0)
        os.lseek(2, 0, os.SEEK_SET)
        try:
            answer = "done", answering(request, printed)
        except Exception as error:
            answer = "failed", reason(printed, error)
        packed = pickle.dumps(answer)
        answers.write(struct.pack("<Q", len(packed)) + packed)
        answers.flush()


def _litert(request: dict, printed):
    """Outputs for inputs, by position; the times of `runs` calls, in seconds, without."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=request["content"], num_threads=request["threads"])
    if request["inputs"] is None:
        return _times(interpreter, request["runs"])
    taken, given = (
        [(detail["index"], detail["dtype"]) for detail in details]
        for details in (interpreter.get_input_details(), interpreter.get_output_details())
    )
    parts, shapes = [], None
    for start in range(0, len(request["inputs"][0]), request["batch"]):
        rows = [array[start : start + request["batch"]] for array in request["inputs"]]
        if shapes != (shapes := [row.shape for row in rows]):
            for (index, _), shape in zip(taken, shapes, strict=True):
                interpreter.resize_tensor_input(index, shape)
            interpreter.allocate_tensors()
        # Fused recurrent operators keep their state from call to call.
        interpreter.reset_all_variables()
        for (index, dtype), row in zip(taken, rows, strict=True):
            interpreter.set_tensor(index, np.asarray(row, dtype))
        interpreter.invoke()
        # get_tensor copies: the interpreter uses this memory again.
        parts.append([interpreter.get_tensor(index) for index, _ in given])
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def _times(interpreter, runs: int) -> list:
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
    times = []
    for _ in range(_WARM + runs):
        start = time.perf_counter()
        interpreter.invoke()
        times.append(time.perf_counter() - start)
    return times[_WARM:]


def _micro(request: dict, printed):
    """Outputs for inputs, by position; what is printed of the arena without, after a run on zeros
    if asked."""
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(request["content"], arena_size=request["room"])
    if request["inputs"] is None:
        if request["run"]:
            for position in range(request["taken"]):
                detail = interpreter.get_input_details(position)
                zeros = np.zeros(detail["shape"], detail["dtype"])
                interpreter.set_input(zeros, position)
            interpreter.invoke()
        interpreter.print_allocations()
        return _text(printed)
    rows = []
    for row in range(len(request["inputs"][0])):
        if row:
            interpreter.reset()
        for position, array in enumerate(request["inputs"]):
            interpreter.set_input(np.ascontiguousarray(array[row : row + 1]), position)
        interpreter.invoke()
        # Copied: the interpreter uses this memory again.
        rows.append([np.array(interpreter.get_output(n)) for n in range(request["outputs"])])
    return [np.concatenate(arrays) for arrays in zip(*rows, strict=True)]


def _said(printed, error: Exception) -> str:
    return str(error) or type(error).__name__


def _printed(printed, error: Exception) -> str:
    lines = [line for line in _text(printed).splitlines() if line.strip()]
    return " ".join(lines[-4:])[-400:] or f"{type(error).__name__}: {error}"


def _text(printed) -> str:
    printed.seek(0)
    return printed.read().decode("utf-8", "replace")


if __name__ == "__main__":
    main(sys.argv[1])
