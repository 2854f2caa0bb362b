# SPDX-License-Identifier: Apache-2.0
"""What benchmarks with many runs have in common: commands, and one JSON line for each run."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Sequence

RESULTS = Path(__file__).resolve().parent / "results"
WHOLE = {"held_out": False, "steps": 390}
"""In a line that is no trial: judged by the test images, after epochs of all steps."""


def commands(doc: str) -> tuple[argparse.ArgumentParser, ...]:
    """The parser of a benchmark with the commands `run`, `all` and `table`, and the parsers of
    these three.

    Args:
        doc: of the benchmark, whose first line is shown.
    """
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    found = parser.add_subparsers(dest="command", required=True)
    return (
        parser,
        found.add_parser("run", help="one run, one JSON line"),
        found.add_parser("all", help="run what is missing"),
        found.add_parser("table", help="print the results"),
    )


def add_training(
    one: argparse.ArgumentParser,
    every: argparse.ArgumentParser,
    shown: argparse.ArgumentParser,
    *,
    epochs: int = 8,
) -> None:
    """Give `run`, `all` and `table` the options of runs that train by the recipe.

    Args:
        one, every, shown: the parsers of the three.
        epochs: how many by default.
    """
    for command in (one, every):
        command.add_argument("--threads", type=int, default=1, help="intra-op threads, 0: all")
    for command in (one, every, shown):
        command.add_argument("--epochs", type=int, default=epochs)


def add_trials(one: argparse.ArgumentParser) -> None:
    """Give `run` the options of trials, which `WHOLE` leaves out of a table."""
    one.add_argument("--held-out", action="store_true", help="judge by 5,000 training images")
    one.add_argument("--steps", type=int, help="of each epoch, fewer than all for a trial")


class Ledger:
    """The lines of one benchmark, in the order in which they were run.

    Args:
        name: of the benchmark; the file is results/<name>.jsonl.
    """

    def __init__(self, name: str):
        self._path = RESULTS / f"{name}.jsonl"

    def append(self, line: dict[str, Any]) -> None:
        """Write a line, and print it."""
        self._path.parent.mkdir(exist_ok=True)
        text = json.dumps(line)
        with self._path.open("a") as file:
            file.write(text + "\n")
        print(text, flush=True)

    def lines(self) -> list[dict[str, Any]]:
        """All lines, the oldest first."""
        if not self._path.exists():
            return []
        return [json.loads(text) for text in self._path.read_text().splitlines() if text.strip()]

    def matching(self, wanted: dict[str, Any]) -> list[dict[str, Any]]:
        """The lines that have all these values."""
        return [line for line in self.lines() if matches(line, wanted)]

    def latest(self, wanted: dict[str, Any]) -> dict[str, Any] | None:
        """The last line that has all these values, None if there is none."""
        return next(reversed(self.matching(wanted)), None)

    def missing(self, wanted: Sequence[dict[str, Any]], runs: int) -> Iterator[dict[str, Any]]:
        """What has fewer lines than runs, in rounds: each once in a round."""
        for number in range(1, runs + 1):
            yield from (one for one in wanted if len(self.matching(one)) < number)


def matches(line: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether a line has all these values."""
    return wanted.items() <= line.items()


def run_each(script: str, wanted: Iterable[Any], arguments: Callable[[Any], list[str]]) -> int:
    """Run `script run <arguments>` for each of `wanted`, one process each.

    Returns:
        the worst exit code of them.
    """
    codes = [
        subprocess.run([sys.executable, script, "run", *arguments(one)]).returncode
        for one in wanted
    ]
    return max(map(abs, codes), default=0)
