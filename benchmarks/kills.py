# SPDX-License-Identifier: Apache-2.0
"""A small family of pruned networks, killed at random moments on its way.

    python benchmarks/kills.py kills --folder DIR --times 20
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
    killed = commands.add_parser("kills", help="kill trainings at random moments, and compare")
    killed.add_argument("--folder", required=True, help="an empty one")
    killed.add_argument("--times", type=int, default=20)
    commands.add_parser("small", help="what is killed").add_argument("--folder", required=True)
    options = parser.parse_args()
    return {"kills": kills, "small": small}[options.command](options)


def small(options: argparse.Namespace) -> int:
    """A dense network and four pruned ones of generated data, trained in seconds."""
    import tfprune

    def make_small(seed):
        import keras

        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(10, activation="relu"),
                                  keras.layers.Dense(4)])
        model.compile("adam", "mse")
        return model

    def fit_small(model, callbacks, seed):
        import numpy as np

        inputs = np.random.default_rng(seed).normal(size=(6400, 6)).astype("float32")
        model.fit(inputs, inputs[:, :4], epochs=5, callbacks=callbacks, verbose=0)

    done = tfprune.curve(make_small, ("magnitude", "st3"), (0.5, 0.9), 0, fit_small,
                         folder=options.folder)
    return len(done.failed) > 0


def kills(options: argparse.Namespace) -> int:
    """Kill the process group of `small` at random moments; a family that got to its end is begun
    anew in another folder. Exit code 1 if a weight of any family is not the uninterrupted one's.
    """
    root = Path(options.folder)
    root.mkdir(parents=True, exist_ok=True)

    def begun(name: str) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, __file__, "small", "--folder", root / name],
                                stderr=subprocess.DEVNULL, start_new_session=True)

    draw, families, count = random.Random(0), 0, 0
    start = time.perf_counter()
    if begun("whole").wait():
        return 1
    longest = time.perf_counter() - start
    while count < options.times:
        process = begun(f"killed {families}")
        try:
            families += process.wait(draw.uniform(0, longest)) == 0
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            count += 1
    if begun(f"killed {families}").wait():
        return 1
    whole = _weights(root / "whole")
    unlike = [number for number in range(families + 1)
              if _weights(root / f"killed {number}") != whole]
    print(f"{count} kills in {families + 1} families of {len(whole)} networks: "
          f"{families + 1 - len(unlike)} families equal the uninterrupted one in every byte of "
          f"the weights; {time.perf_counter() - start:.0f} s")
    return len(unlike) > 0


def _weights(folder) -> dict[str, list[bytes]]:
    import tfprune

    return {one.name: [value.tobytes() for value in tfprune.load_model(one.path).get_weights()]
            for one in tfprune.Curve.load(folder).runs}


if __name__ == "__main__":
    sys.exit(main())
