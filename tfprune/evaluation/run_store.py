# SPDX-License-Identifier: Apache-2.0
"""The folder of a curve: a network and a record for each run, and tables of all."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tfprune.evaluation.job import DENSE, Job
from tfprune.evaluation.tidy_rows import write_rows
from tfprune.output import atomic_write
from tfprune.output.argument_checks import check_path
from tfprune.output.version import VERSION

_LONGEST = 1 << 24  # bytes of a record


@dataclass(frozen=True)
class Run:
    """One network of a curve.

    Attributes:
        method: its name; "dense": nothing was pruned.
        sparsity: asked; 0.0 for "dense".
        seed: of the training.
        path: of the .keras file; None: there is none, and `error` says why.
        kept, size: non-zero weights and all weights of the prunable layers, counted.
        seconds: of making, training and saving.
        peak_bytes: the most memory that its process had held; None where that is not known.
        threads: of TensorFlow.
        version: of tfprune.
        error: why there is no network.
    """

    method: str
    sparsity: float
    seed: int
    path: Path | None = None
    kept: int | None = None
    size: int | None = None
    seconds: float | None = None
    peak_bytes: int | None = None
    threads: int | None = None
    version: str | None = None
    error: str | None = None

    @property
    def name(self) -> str:
        """The file's, without its ending."""
        return name_of(self)

    @property
    def reached(self) -> float | None:
        """Fraction of the weights that are zero."""
        if self.size is None or self.kept is None:
            return None
        return (self.size - self.kept) / max(self.size, 1)

    def row(self) -> dict[str, Any]:
        """What a table of runs says of it."""
        row = {"run": self.name, **vars(self), "reached": self.reached}
        return {**row, "path": None if self.path is None else self.path.name}


@dataclass
class RunStore:
    """The runs of a folder.

    Attributes:
        folder: where they are.
        notes: what was found to be damaged, and what else is to be said.
    """

    folder: Path
    notes: list[str] = field(default_factory=list)

    @classmethod
    def made(cls, folder: Any) -> "RunStore":
        """Of a folder that is made where there is none, and can be written."""
        path = Path(check_path(folder, "a folder"))
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"folder={str(path)!r}: a file is there; pass another folder.")
        path.mkdir(parents=True, exist_ok=True)
        store = cls(path)
        store.write_tables()
        return store

    @classmethod
    def existing(cls, folder: Any) -> "RunStore":
        """Of a folder with runs.

        Raises:
            FileNotFoundError: there are none.
        """
        path = Path(check_path(folder, "a folder"))
        if not any(path.glob("*.json")):
            raise FileNotFoundError(
                f"{path}: expected the folder of a tfprune.curve, with a .json file for each run."
            )
        return cls(path)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def has(self, job: Job, settings: Any) -> bool:
        """Whether the network of a job is there, whole.

        Raises:
            ValueError: it was trained with other settings.
        """
        name = name_of(job)
        record = self._record(name)
        if record is None:
            return False
        if record["error"] is not None:
            self.note(f"{name} had failed ({record['error']}): trained again")
            return False
        asked = [json.loads(json.dumps(settings)), job.threads]
        if [record["settings"], record["threads"]] != asked:
            raise ValueError(
                f"{self.folder}: {name} was trained with other settings: threads="
                f"{record['threads']}, {_short(record['settings'])}; asked are threads="
                f"{job.threads}, {_short(settings)}. Pass another folder, or another name of the "
                "method: methods={name: ...}."
            )
        return self._is_whole(name, record)

    def run(self, job: Job) -> Run:
        """The run of a job that is done or has failed.

        Raises:
            FileNotFoundError: nothing says which.
        """
        record = self._record(name_of(job))
        if record is None:
            raise FileNotFoundError(f"{self.folder}: no record of {name_of(job)} can be read.")
        return self._run(record)

    def all(self, *, deep: bool = True) -> tuple[Run, ...]:
        """Every run, the dense ones first, without what is damaged.

        Args:
            deep: whether files are read to find out, not only their sizes.
        """
        found = []
        for path in self.folder.glob("*.json"):
            record = self._record(path.stem)
            if record is not None and (record["error"] or self._is_whole(path.stem, record, deep)):
                found.append(self._run(record))
        return tuple(
            sorted(found, key=lambda one: (one.method != DENSE, one.method, one.seed, one.sparsity))
        )

    def put(self, job: Job, record: dict[str, Any], content: bytes) -> None:
        """Write a network and its record, both or none."""
        name = name_of(job)
        path = self.folder / f"{name}.keras"
        with atomic_write.reserved(path, path.with_suffix(".json")) as place:
            place.commit(content, _json({**_EMPTY, **record, "version": VERSION}))
        self.write_tables()

    def fail(self, job: Job, error: str, settings: Any) -> None:
        """Write why there is no network."""
        name = name_of(job)
        atomic_write.write(
            self.folder / f"{name}.json",
            _json(
                {
                    **_EMPTY,
                    "method": job.method,
                    "sparsity": job.sparsity,
                    "seed": job.seed,
                    "settings": settings,
                    "threads": job.threads,
                    "error": error,
                    "version": VERSION,
                }
            ),
        )
        self.write_tables()

    def write_tables(self) -> None:
        """Write curve.jsonl and curve.csv of all runs."""
        rows = [run.row() for run in RunStore(self.folder).all(deep=False)]
        write_rows(self.folder / "curve", rows, list(Run("", 0.0, 0).row()))

    def _run(self, record: dict[str, Any]) -> Run:
        held = {name: record[name] for name in Run.__dataclass_fields__ if name != "path"}
        name = _name(record["method"], record["sparsity"], record["seed"])
        path = None if record["error"] else self.folder / f"{name}.keras"
        return Run(**held, path=path)

    def _record(self, name: str) -> dict[str, Any] | None:
        """What a record says; None: there is none that can be read."""
        path = self.folder / f"{name}.json"
        try:
            with open(path, "rb") as file:
                record = json.loads(file.read(_LONGEST))
            if not isinstance(record, dict) or not _EMPTY.keys() <= record.keys():
                raise ValueError("it is no record of a run")
            if _name(record["method"], record["sparsity"], record["seed"]) != name:
                raise ValueError("it is the record of another run")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, RecursionError) as error:
            self.note(f"{path.name} cannot be read ({error}): not taken for a run")
            return None
        return record

    def _is_whole(self, name: str, record: dict[str, Any], deep: bool = True) -> bool:
        path = self.folder / f"{name}.keras"
        try:
            whole = os.path.getsize(path) == record["bytes"] and (
                not deep or hashlib.sha256(path.read_bytes()).hexdigest() == record["sha256"]
            )
        except OSError as error:
            self.note(f"{path.name} cannot be read ({error.strerror}): not taken for a network")
            return False
        if not whole:
            self.note(f"{path.name} is damaged: not taken for a network")
        return whole


_EMPTY = {
    name: None
    for name in (*Run.__dataclass_fields__, "settings", "bytes", "sha256")
    if name != "path"
}


def name_of(one: Job | Run) -> str:
    """The name of a job's run, and of its files without their endings."""
    return _name(one.method, one.sparsity, one.seed)


def _name(method: str, sparsity: float, seed: int) -> str:
    """A file's name: unlike for unlike runs."""
    ratio = "" if method == DENSE else f"-{sparsity!r}"
    return f"{quote(method, safe=' =,+()')}{ratio}-seed{seed}"


def _json(record: dict[str, Any]) -> bytes:
    return (json.dumps(record, indent=1) + "\n").encode()


def _short(settings: Any) -> str:
    text = json.dumps(settings)
    return text if len(text) < 1000 else f"{text[:1000]}..."
