# SPDX-License-Identifier: Apache-2.0
"""Damaged .tflite files, thousands of them, read by `tflite_export.inspect`.

    python benchmarks/fuzz.py                   # 10,500 files, the seeds from 0
    python benchmarks/fuzz.py --files 70000 --first 100000

Seven files (dense, CSR, blocks, int8, float16, bitmaps, a loop) are damaged in six ways: cut off,
bits flipped, overwritten with noise, a piece taken out, odd numbers in the tables, odd numbers
anywhere. Each batch is read in a child process with a time limit. A file may be read (not all
damage shows) or refused by a ValueError; any other exception, a process that dies, or one that
takes too long is a fault, and the exit code says so. The counts go to
benchmarks/results/fuzz.jsonl.
"""

import argparse
import multiprocessing
import queue
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from ledger import Ledger

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "integration"))

LEDGER = Ledger("fuzz")
BATCH, SECONDS_PER_FILE = 250, 2.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_500)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    options = parser.parse_args()
    start, counts = time.perf_counter(), Counter()
    valid = _valid()
    for first in range(options.first, options.first + options.files, BATCH):
        seeds = range(first, min(first + BATCH, options.first + options.files))
        counts.update(_batch(valid, seeds))
        print(f"\r{seeds.stop - options.first:,} files: {dict(counts)}", end="", flush=True)
    counts["files"] = sum(counts.values())
    row = {name: counts[name] for name in ("files", "errors", "read", "faults", "crashes", "hangs")}
    row |= {"first": options.first, "seconds": round(time.perf_counter() - start)}
    print()
    LEDGER.append(row)
    return 1 if row["faults"] or row["crashes"] or row["hangs"] else 0


def _valid() -> list[bytes]:
    """The files to damage, made in a child: this process stays small for the others."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_made)


def _made() -> list[bytes]:
    import damaged

    return list(damaged.files().values())


def _batch(valid: list[bytes], seeds: range) -> Counter:
    """Counts of one batch, by what the child says after each file; after a crash or a hang the
    rest of the batch is not tried, and not counted."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    child = context.Process(target=_read_all, args=(valid, seeds, results))
    child.start()
    counts, done = Counter(), 0
    while done < len(seeds):
        try:
            # The first answer also waits for the imports.
            kind, text = results.get(timeout=SECONDS_PER_FILE + (0 if done else 60))
        except queue.Empty:
            kind, text = ("hangs", "") if child.is_alive() else ("crashes", str(child.exitcode))
            done = len(seeds) - 1
        counts[kind] += 1
        done += 1
        if kind in ("faults", "crashes", "hangs"):
            print(f"\nseed {seeds.start + done - 1}: {kind} {text}", file=sys.stderr)
    child.kill()
    child.join()
    return counts


def _read_all(valid: list[bytes], seeds: range, results) -> None:
    import damaged

    from tflite_export import inspect

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.tflite"
        for seed in seeds:
            path.write_bytes(damaged.damaged(valid[seed % len(valid)], seed))
            try:
                inspect(path)
                results.put(("read", ""))
            except ValueError:
                results.put(("errors", ""))
            except Exception as error:
                results.put(("faults", repr(error)))


if __name__ == "__main__":
    sys.exit(main())
