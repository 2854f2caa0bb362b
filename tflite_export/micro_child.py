"""The program of the process in which `micro` runs TFLite Micro's interpreter.

It is started by its path and imports nothing of this package, so that it is there at once. Requests
and answers are pickles, each behind its length in 8 bytes.
"""

import os
import pickle
import re
import struct
import tempfile

import numpy as np


def main() -> None:
    """Answer requests from standard input until it is closed."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # The interpreter writes from C++ to descriptor 2: kept in a file, which has its reasons.
    printed = tempfile.TemporaryFile()
    os.dup2(printed.fileno(), 2)
    os.dup2(printed.fileno(), 1)
    while len(head := requests.read(8)) == 8:
        request = pickle.loads(requests.read(struct.unpack("<Q", head)[0]))
        os.ftruncate(2, 0)
        os.lseek(2, 0, os.SEEK_SET)
        try:
            answer = "done", _answer(request, printed)
        except Exception as error:
            answer = "failed", _reason(printed, error)
        packed = pickle.dumps(answer)
        answers.write(struct.pack("<Q", len(packed)) + packed)
        answers.flush()


def _answer(request: dict, printed):
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(request["content"], arena_size=request["room"])
    if request["inputs"] is None:
        interpreter.print_allocations()
        return int(re.findall(r"Arena allocation total (\d+) bytes", _text(printed))[-1])
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


def _reason(printed, error: Exception) -> str:
    lines = [line for line in _text(printed).splitlines() if line.strip()]
    return " ".join(lines[-4:])[-400:] or f"{type(error).__name__}: {error}"


def _text(printed) -> str:
    printed.seek(0)
    return printed.read().decode("utf-8", "replace")


if __name__ == "__main__":
    main()
