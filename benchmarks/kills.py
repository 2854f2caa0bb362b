# SPDX-License-Identifier: Apache-2.0
"""Long calls, killed at random moments on their way: is the result the uninterrupted one's?

    python benchmarks/kills.py kills curve --folder DIR --times 20
    python benchmarks/kills.py kills compare --folder DIR --times 20

`curve` trains a small family of pruned networks, `compare` holds three networks against each other
under 19 corruptions and noise. DIR is empty at first.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    killed = commands.add_parser("kills", help="kill calls at random moments, and compare")
    once = commands.add_parser("once", help="what is killed")
    for command in (killed, once):
        command.add_argument("what", choices=sorted(WORK))
        command.add_argument("--folder", required=True)
    killed.add_argument("--times", type=int, default=20)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return kills(options) if options.command == "kills" else WORK[options.what][0](options.folder)


def train(folder: str) -> int:
    """A dense network and four pruned ones of generated data, trained in seconds."""
    import tfprune

    def make_small(seed):
        import keras

        model = keras.Sequential(
            [keras.Input((6,)), keras.layers.Dense(10, activation="relu"), keras.layers.Dense(4)]
        )
        model.compile("adam", "mse")
        return model

    def fit_small(model, callbacks, seed):
        import numpy as np

        inputs = np.random.default_rng(seed).normal(size=(6400, 6)).astype("float32")
        model.fit(inputs, inputs[:, :4], epochs=5, callbacks=callbacks, verbose=0)

    done = tfprune.curve(make_small, ("magnitude", "st3"), (0.5, 0.9), 0, fit_small, folder=folder)
    return len(done.failed) > 0


def compare(folder: str) -> int:
    """A network and two pruned ones on generated images, in LiteRT and in Keras."""
    import json

    import keras
    import numpy as np

    import tfprune

    keras.utils.set_random_seed(0)
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (1000, 16, 16, 3)).astype(np.uint8)

    def network(sparsity):
        model = keras.Sequential(
            [
                keras.Input((16, 16, 3)),
                keras.layers.Conv2D(8, 3, activation="relu"),
                keras.layers.Flatten(),
                keras.layers.Dense(10),
            ]
        )
        model.set_weights(
            [0.1 * np.random.default_rng(1).normal(size=one.shape) for one in model.get_weights()]
        )
        if sparsity:
            tfprune.sparsify(model, "magnitude", sparsity)
        return model

    found = tfprune.compare(
        {"dense": network(0), "50 %": network(0.5), "90 %": network(0.9)},
        (images, draw.integers(0, 10, 1000)),
        corruptions="all",
        noise=(0.1, 0.3),
        folder=folder,
        settings=tfprune.Evaluation(severities=(1, 5), features=8),
    )
    (Path(folder) / "found.json").write_text(json.dumps(found.to_dict()))
    return 0


def kills(options: argparse.Namespace) -> int:
    """Kill the process group of a call at random moments; one that got to its end is begun anew in
    another folder. Exit code 1 if anything that one leaves is not the uninterrupted one's.
    """
    root, results = Path(options.folder), WORK[options.what][1]
    root.mkdir(parents=True, exist_ok=True)

    def begun(name: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, __file__, "once", options.what, "--folder", root / name],
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    draw, calls, count = random.Random(0), 0, 0
    start = time.perf_counter()
    if begun("whole").wait():
        return 1
    longest = time.perf_counter() - start
    while count < options.times:
        process = begun(f"killed {calls}")
        try:
            calls += process.wait(draw.uniform(0, longest)) == 0
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            count += 1
    if begun(f"killed {calls}").wait():
        return 1
    whole = results(root / "whole")
    unlike = [number for number in range(calls + 1) if results(root / f"killed {number}") != whole]
    print(
        f"{count} kills in {calls + 1} calls of {options.what}: {calls + 1 - len(unlike)} "
        f"results of {len(whole)} parts equal the uninterrupted one in every byte; "
        f"{time.perf_counter() - start:.0f} s"
    )
    return len(unlike) > 0


def _weights(folder: Path) -> dict[str, list[bytes]]:
    import tfprune

    return {
        one.name: [value.tobytes() for value in tfprune.load_model(one.path).get_weights()]
        for one in tfprune.Curve.load(folder).runs
    }


def _files(folder: Path) -> dict[str, bytes]:
    """All but what a killed process has begun, which the next writer of that file removes."""
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".")
    }


WORK = {"curve": (train, _weights), "compare": (compare, _files)}
"""Under each name what is done in a folder, and what of it is to be the same."""


if __name__ == "__main__":
    sys.exit(main())
