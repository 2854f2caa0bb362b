# SPDX-License-Identifier: Apache-2.0
"""Families of pruned networks: trained at several sparsities, each in a file of its own."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, field
from typing import Any, Callable

from tflite_export.devices.litert_latency import cores
from tfprune.evaluation.job import DENSE, Job, Plan, run, settings_of
from tfprune.evaluation.processes import Processes, apart, dumps
from tfprune.evaluation.run_store import Run, RunStore, name_of
from tfprune.output.argument_checks import is_integer, is_real, plain
from tfprune.output.caller_warning import warn
from tfprune.output.progress import Progress
from tfprune.output.report_forms import Table, as_dict, markdown, plain_text, rich_parts

__all__ = ["Curve", "Run", "curve"]


@dataclass(frozen=True)
class Curve:
    """The networks of `curve`, and where they are.

    Attributes:
        runs: one for each network, the dense ones first.
        notes: what was done again, and why; which trainings died.

    Example:
        >>> Curve((Run("dense", 0.0, seed=0, error="out of memory"),)).failed[0].name
        'dense-seed0'
    """

    runs: tuple[Run, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def load(cls, folder: Any) -> "Curve":
        """What a folder holds, without any training.

        Args:
            folder: of `curve`.

        Raises:
            FileNotFoundError: no such folder, or one without a run.
        """
        store = RunStore.existing(folder)
        return cls(store.all(), tuple(store.notes))

    def dense(self, seed: int) -> Run:
        """The dense network of a seed.

        Raises:
            KeyError: there is none.
        """
        for one in self.runs:
            if one.method == DENSE and one.seed == seed and one.path is not None:
                return one
        raise KeyError(
            f"seed={seed}: this curve has no dense network of it; it has those of "
            f"{[run.seed for run in self.runs if run.method == DENSE and run.path]}."
        )

    def families(self) -> dict[str, dict[int, tuple[Run, ...]]]:
        """{method: {seed: its pruned networks, from the smallest sparsity to the largest}}, without
        those that failed."""
        found: dict[str, dict[int, list[Run]]] = {}
        for one in sorted(self.runs, key=lambda one: one.sparsity):
            if one.method != DENSE and one.path is not None:
                found.setdefault(one.method, {}).setdefault(one.seed, []).append(one)
        return {
            method: {seed: tuple(found[method][seed]) for seed in sorted(found[method])}
            for method in dict.fromkeys(one.method for one in self.runs)
            if method in found
        }

    @property
    def failed(self) -> tuple[Run, ...]:
        """The runs without a network."""
        return tuple(one for one in self.runs if one.path is None)

    def parts(self) -> Iterable[str | tuple[str, ...] | Table]:
        """What is printed: the runs, and what is to be said of them."""
        done = [one for one in self.runs if one.path is not None]
        folder = next((one.path.parent for one in self.runs if one.path is not None), None)
        yield f"{len(done)} of {len(self.runs)} networks" + (f" in {folder}" if folder else "")
        yield Table(
            ("network", "asked", "reached", "kept", "of", "seconds"),
            tuple(
                (
                    one.name,
                    f"{one.sparsity:.1%}",
                    f"{one.reached:.2%}",
                    f"{one.kept:,}",
                    f"{one.size:,}",
                    "-" if one.seconds is None else f"{one.seconds:.1f}",
                )
                for one in done
            ),
        )
        yield (
            *(f"failed: {one.name}: {one.error}" for one in self.failed),
            *(f"note: {note}" for note in self.notes),
        )

    __str__, __rich_console__, to_markdown = plain_text, rich_parts, markdown

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        return as_dict(self)

    def __repr__(self) -> str:
        return f"<curve: {len(self.runs) - len(self.failed)} of {len(self.runs)} networks>"


def curve(
    make: Callable[[int], Any],
    methods: Any,
    sparsities: Sequence[float],
    seeds: int | Sequence[int],
    fit: Callable[[Any, list, int], Any],
    data: Any = None,
    *,
    folder: Any,
    executor: Executor | None = None,
    attempts: int = 2,
    threads: int = 1,
) -> Curve:
    """Train one network for each method, sparsity and seed, and a dense one for each seed.

        seed -> make(seed) -> fit(model, callbacks, seed) -> stripped -> <folder>/<run>.keras

    Every training is a process of its own, with its random state set by the seed and one thread:
    the same seed gives the same weights bit for bit, in whatever order and wherever it runs. What
    is in the folder already is read, not trained: a call that was ended, however, goes on where it
    was. Settings of methods and `threads` have to be the same; `make`, `fit` and `data` cannot be
    compared: another training needs another folder. A job that dies is tried again, reported, and
    never stops the others; the next call tries it once more. Beside the networks and their records
    (`<run>.json`) the folder holds all runs as `curve.jsonl` and `curve.csv`.

    Args:
        make: seed -> a model of keras or tf_keras.
        methods: a name out of `tfprune.list_methods()` or a `tfprune.Method`, or several of them;
            or {name: one of these, or a function}: a function of the sparsity returns a
            `PruningCallback` (or a list of callbacks) with a structure, an allocation or a
            schedule of its own. The schedule of a Method ends at the sparsity of the run.
        sparsities: fractions to remove, each in (0, 1).
        seeds: of the trainings: integers, each once.
        fit: trains a model with callbacks, an empty list for the dense one. A model that it
            returns takes the place of the first one. Functions of a notebook or a script need
            cloudpickle (extra `evaluation`).
        data: for scores that look at data: what `PruningCallback(data=...)` takes.
        folder: for the results; made if it is not there.
        executor: any `concurrent.futures.Executor`, for example `client.get_executor()` of Dask: it
            says where and when a training's process is started; files are written by this process
            alone. A pool that breaks is replaced. None: as many processes at once as cores and
            free memory allow.
        attempts: how often a job is begun at most in this call.
        threads: of TensorFlow in each process. With more than one, sums may be rounded otherwise.

    Returns:
        The networks asked for.

    Raises:
        ValueError: an argument out of range; a run of the folder has other settings.
        TypeError: an argument of another type; something that cannot be sent to another process.
        OSError: the folder cannot be written, by a full disk for example: what is in it is whole.

    Example:
        >>> def make(seed):
        ...     import keras
        ...     model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(10)])
        ...     model.compile("sgd", "mse")
        ...     return model
        >>> def fit(model, callbacks, seed):
        ...     import numpy as np
        ...     x = np.ones((8, 4), "float32")
        ...     model.fit(x, x @ np.ones((4, 10)), callbacks=callbacks, verbose=0)
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     done = curve(make, "magnitude", 0.8, seeds=0, fit=fit, folder=folder)
        >>> [(one.method, one.kept) for one in done.runs]
        [('dense', 40), ('magnitude', 8)]
    """
    for name, function in (("make", make), ("fit", fit)):
        if not callable(function):
            raise TypeError(
                f"{name}={function!r}: expected a function, got {type(function).__name__}."
            )
    for name, value in (("attempts", attempts), ("threads", threads)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name}={value!r}: expected an integer of at least 1.")
    plan = Plan(make, fit, _named(methods), data)
    jobs = _jobs(plan, sparsities, seeds, threads)
    store = RunStore.made(folder)
    settings = {job: settings_of(plan.callbacks(job)) for job in jobs}
    missing = [job for job in jobs if not store.has(job, settings[job])]
    for note in store.notes:
        warn(note, RuntimeWarning)
    if missing:
        workers = max(cores() // threads, 1)
        _Trainings(store, dumps(plan), settings, attempts, workers, missing).run(executor)
    store.write_tables()
    return Curve(tuple(store.run(job) for job in jobs), tuple(store.notes))


def _named(methods: Any) -> dict[str, Any]:
    if isinstance(methods, Mapping):
        named = dict(methods)
    else:
        several = methods if isinstance(methods, (list, tuple)) else [methods]
        named = {getattr(one, "name", one): one for one in several}
        if len(named) < len(several):
            raise ValueError(
                f"methods={list(named)}: a name stands for two methods: pass {{name: method}}."
            )
    for name in named:
        if not isinstance(name, str) or not name or len(name) > 100 or name == DENSE:
            raise ValueError(
                f"methods: {name!r}: expected a name of a method, at most 100 characters, other "
                f"than {DENSE!r} (dense networks are always trained); functions get their names "
                "by {name: function}."
            )
    if not named:
        raise ValueError("methods is empty: pass at least one, such as 'magnitude'.")
    return named


def _jobs(plan: Plan, sparsities: Any, seeds: Any, threads: int) -> list[Job]:
    """All jobs, in their order: dense networks, then seed by seed."""
    sparsities, seeds = _several(sparsities), _several(seeds)
    if (
        not sparsities
        or len({*sparsities}) < len(sparsities)
        or not all(is_real(one) and 0 < one < 1 for one in sparsities)
    ):
        raise ValueError(
            f"sparsities={sparsities!r}: expected numbers above 0 and below 1, each "
            "once; the dense network comes by itself."
        )
    if (
        not seeds
        or len({*seeds}) < len(seeds)
        or not all(is_integer(one) and one >= 0 for one in seeds)
    ):
        raise ValueError(f"seeds={seeds!r}: expected integers of at least 0, each once.")
    return [
        *(Job(DENSE, 0.0, int(seed), threads) for seed in seeds),
        *(
            Job(method, float(sparsity), int(seed), threads)
            for seed in seeds
            for method in plan.methods
            for sparsity in sparsities
        ),
    ]


def _several(value: Any) -> list[Any]:
    value = plain(value)
    return [value] if is_real(value) else [plain(one) for one in value]


def _is_failed(done: Future) -> bool:
    return done.cancelled() or done.exception() is not None


@dataclass
class _Trainings:
    """The jobs of one call, and what becomes of them.

    Attributes:
        store: where results go.
        plan: the pickled Plan.
        settings: of each job, for its record.
        attempts: how often a job is begun at most.
        workers: how many processes of their own there may be.
        left: jobs to begin.
        begun: how often each was.
        pending: what runs, or waits in the executor.
        own: the executor if it is made here.
    """

    store: RunStore
    plan: bytes
    settings: dict[Job, Any]
    attempts: int
    workers: int
    left: list[Job]
    begun: Counter[Job] = field(default_factory=Counter)
    pending: dict[Future, Job] = field(default_factory=dict)
    own: Processes | None = None

    def run(self, executor: Executor | None) -> None:
        """Go through all jobs; end what runs if that fails."""
        try:
            executor = self._own_processes() if executor is None else executor
            with Progress("curve", len(self.left), label="last: ") as progress:
                while self.left or self.pending:
                    try:
                        self._submit(executor)
                        job = self._next()
                    except BrokenExecutor as error:
                        if self.own is not None:
                            raise
                        executor = self._replace(error)
                        continue
                    if job is not None:
                        progress.advance(name_of(job), name=f"{len(self.pending)} left")
        except BaseException:
            for future in self.pending:
                future.cancel()
            if self.own is not None:
                self.own.kill()
            raise
        if self.own is not None:
            self.own.shutdown()

    def _own_processes(self) -> Processes:
        self.own = Processes(self.workers)
        return self.own

    def _submit(self, executor: Executor) -> None:
        while self.left:
            job = self.left[0]
            # A worker of another executor has other threads, which take random numbers, too.
            what = run if executor is self.own else functools.partial(apart, run)
            attempt = self.begun[job] + 1
            self.pending[executor.submit(what, job, self.plan, attempt)] = job
            self.begun[job] = attempt
            del self.left[0]

    def _next(self) -> Job | None:
        """Wait for a job, and keep what it made; None: it goes on.

        Raises:
            BrokenExecutor: the executor has ended, whatever its jobs did.
        """
        done = min(wait(self.pending, return_when=FIRST_COMPLETED).done, key=_is_failed)
        try:
            record, content = done.result()
        except (BrokenExecutor, KeyboardInterrupt):
            raise
        except BaseException as error:  # SystemExit of a job, too
            return self._died(self.pending.pop(done), error)
        job = self.pending.pop(done)
        self.store.put(job, {**record, "settings": self.settings[job]}, content)
        return job

    def _died(self, job: Job, error: BaseException) -> Job | None:
        """Say why, and begin the job again; itself if that has been done often enough."""
        text = f"{type(error).__name__}: {error}"
        more = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
        last = self.begun[job] >= self.attempts
        said = f"{name_of(job)}, attempt {self.begun[job]} of {self.attempts}: {text}"
        self.store.note(said)
        warn(f"{said}{more}", RuntimeWarning)
        if last:
            self.store.fail(job, text, self.settings[job])
            return job
        self.left.append(job)
        return None

    def _replace(self, error: BrokenExecutor) -> Processes:
        """Nobody knows whose fault it was: each job goes on in a process of its own."""
        again = list(self.pending.values())
        self.begun.subtract(again)
        self.left, self.pending = again + self.left, {}
        said = (
            f"the executor broke ({type(error).__name__}: {error}): {len(self.left)} jobs go "
            "on in processes of their own"
        )
        self.store.note(said)
        warn(said, RuntimeWarning)
        return self._own_processes()
