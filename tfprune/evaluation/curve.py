# SPDX-License-Identifier: Apache-2.0
"""Families of pruned networks: trained at several sparsities, each in a file of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass
from typing import Any, Callable

from tfprune.caller_warning import warn
from tfprune.evaluation.job import DENSE, Job, Plan, callbacks_of, is_real, run, settings_of
from tfprune.evaluation.processes import Processes, cores, dumps
from tfprune.evaluation.run_store import Run, RunStore, name_of
from tfprune.progress import Progress
from tfprune.report_forms import Table, as_dict, markdown, plain_text, rich_parts

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
        runs, notes = RunStore.existing(folder).all()
        return cls(runs, notes)

    def dense(self, seed: int) -> Run:
        """The dense network of a seed.

        Raises:
            KeyError: there is none.
        """
        for one in self.runs:
            if one.method == DENSE and one.seed == seed and one.path is not None:
                return one
        raise KeyError(f"seed={seed}: this curve has no dense network of it; it has those of "
                       f"{[one.seed for one in self.runs if one.method == DENSE]}.")

    def families(self) -> dict[str, dict[int, tuple[Run, ...]]]:
        """{method: {seed: its pruned networks, from the smallest sparsity to the largest}}, without
        those that failed."""
        found: dict[str, dict[int, list[Run]]] = {}
        for one in sorted(self.runs, key=lambda one: one.sparsity):
            if one.method != DENSE and one.path is not None:
                found.setdefault(one.method, {}).setdefault(one.seed, []).append(one)
        return {method: {seed: tuple(found[method][seed]) for seed in sorted(found[method])}
                for method in dict.fromkeys(one.method for one in self.runs) if method in found}

    @property
    def failed(self) -> tuple[Run, ...]:
        """The runs without a network."""
        return tuple(one for one in self.runs if one.path is None)

    def parts(self) -> Iterable[str | tuple[str, ...] | Table]:
        """What is printed: the runs, and what is to be said of them."""
        done = [one for one in self.runs if one.path is not None]
        yield f"{len(done)} of {len(self.runs)} networks" + (
            f" in {done[0].path.parent}" if done else "")
        yield Table(("network", "asked", "reached", "kept", "of", "seconds"), tuple(
            (one.name, f"{one.sparsity:.1%}", f"{one.reached:.2%}", f"{one.kept:,}",
             f"{one.size:,}", f"{one.seconds:.1f}") for one in done))
        yield (*(f"failed: {one.name}: {one.error}" for one in self.failed),
               *(f"note: {note}" for note in self.notes))

    __str__, __rich_console__, to_markdown = plain_text, rich_parts, markdown

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        return as_dict(self)

    def __repr__(self) -> str:
        return f"<curve: {len(self.runs) - len(self.failed)} of {len(self.runs)} networks>"


def curve(make: Callable[[int], Any], methods: Any, sparsities: Sequence[float],
          seeds: int | Sequence[int], fit: Callable[[Any, list, int], Any], data: Any = None, *,
          folder: Any, executor: Executor | None = None, attempts: int = 2,
          threads: int = 1) -> Curve:
    """Train one network for each method, sparsity and seed, and a dense one for each seed.

        seed -> make(seed) -> fit(model, callbacks, seed) -> stripped -> <folder>/<run>.keras

    Every training is a job of its own, with its random state set by the seed and one thread, so
    that the same seed gives the same weights bit for bit, in whatever order jobs run. What is in
    the folder already is read, not trained: a call that was ended, however, goes on where it
    was. A job that dies is tried again, reported, and never stops the others; the next call tries
    it once more. Beside the networks and their records (`<run>.json`) the folder holds all runs
    as `curve.jsonl` and `curve.csv`.

    Args:
        make: seed -> a model of keras or tf_keras.
        methods: a name out of `tfprune.methods()` or a `tfprune.Method`, or several of them; or
            {name: one of these, or a function}: a function of the sparsity returns a
            `PruningCallback` (or a list of callbacks) with a structure, an allocation or a
            schedule of its own. The schedule of a Method ends at the sparsity of the run.
        sparsities: fractions to remove, each in (0, 1).
        seeds: of the trainings: integers, each once.
        fit: trains a model with callbacks, an empty list for the dense one. A model that it
            returns takes the place of the first one. Functions of a notebook or a script need
            cloudpickle (extra `evaluation`).
        data: for scores that look at data: what `PruningCallback(data=...)` takes.
        folder: for the results; made if it is not there.
        executor: any `concurrent.futures.Executor`, for example `client.get_executor()` of Dask;
            files are written by this process alone. None: a process of its own for each job, as
            many at once as cores and free memory allow. Jobs that share a process run one after
            another, with the threads that it has. A pool that breaks is replaced by processes of
            their own.
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
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as executor:
        ...     done = curve(make, "magnitude", (0.5, 0.8), 0, fit, folder=folder,
        ...                  executor=executor)
        >>> [(one.method, one.kept) for one in done.runs]
        [('dense', 40), ('magnitude', 20), ('magnitude', 8)]
    """
    for name, function in (("make", make), ("fit", fit)):
        if not callable(function):
            raise TypeError(f"{name}={function!r}: expected a function, got "
                            f"{type(function).__name__}.")
    for name, value in (("attempts", attempts), ("threads", threads)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name}={value!r}: expected an integer of at least 1.")
    plan = Plan(make, fit, _named(methods), data)
    jobs = _jobs(plan, sparsities, seeds, threads)
    store = RunStore.made(folder)
    settings = {job: settings_of([] if job.method == DENSE else callbacks_of(
        plan.methods[job.method], job.sparsity, data)) for job in jobs}
    missing = [job for job in jobs if not store.has(job, settings[job])]
    if missing:
        trainings = _Trainings(store, dumps(plan), settings, attempts)
        trainings.run(missing, executor, max(cores() // threads, 1))
    store.write_tables()
    return Curve(tuple(store.run(job) for job in jobs), tuple(store.notes))


def _named(methods: Any) -> dict[str, Any]:
    if isinstance(methods, Mapping):
        named = dict(methods)
    else:
        several = methods if isinstance(methods, (list, tuple)) else [methods]
        named = {getattr(one, "name", one): one for one in several}
        if len(named) < len(several):
            raise ValueError(f"methods={list(named)}: a name stands for two methods: pass {{name: "
                             "method}.")
    for name in named:
        if not isinstance(name, str) or not name or len(name) > 100 or name == DENSE:
            raise ValueError(
                f"methods: {name!r}: expected a name of a method, at most 100 characters, other "
                f"than {DENSE!r} (dense networks are always trained); functions get their names "
                "by {name: function}.")
    if not named:
        raise ValueError("methods is empty: pass at least one, such as 'magnitude'.")
    return named


def _jobs(plan: Plan, sparsities: Any, seeds: Any, threads: int) -> list[Job]:
    """All jobs, in their order: dense networks, then seed by seed."""
    sparsities = [sparsities] if is_real(sparsities) else list(sparsities)
    seeds = [seeds] if is_real(seeds) else list(seeds)
    if not sparsities or len({*sparsities}) < len(sparsities) or not all(
            is_real(one) and 0 < one < 1 for one in sparsities):
        raise ValueError(f"sparsities={sparsities!r}: expected numbers above 0 and below 1, each "
                         "once; the dense network comes by itself.")
    if not seeds or len({*seeds}) < len(seeds) or not all(
            is_real(one) and one == int(one) >= 0 for one in seeds):
        raise ValueError(f"seeds={seeds!r}: expected integers of at least 0, each once.")
    seeds = [int(seed) for seed in seeds]
    return [*(Job(DENSE, 0.0, seed, threads) for seed in seeds),
            *(Job(method, float(sparsity), seed, threads) for seed in seeds
              for method in plan.methods for sparsity in sparsities)]


@dataclass
class _Trainings:
    """The jobs of one call, and what becomes of them."""

    store: RunStore
    plan: bytes
    settings: dict[Job, Any]
    attempts: int

    def run(self, jobs: Sequence[Job], executor: Executor | None, workers: int) -> None:
        begun = dict.fromkeys(jobs, 0)
        own = None
        pending: dict[Future, Job] = {}
        left = list(jobs)
        try:
            if executor is None:
                executor = own = Processes(workers)
            with Progress("curve", len(jobs), label="last: ") as progress:
                while left or pending:
                    try:
                        while left:
                            pending[executor.submit(run, left[0], self.plan)] = left[0]
                            begun[left.pop(0)] += 1
                        done = next(iter(wait(pending, return_when=FIRST_COMPLETED).done))
                        job = pending.pop(done)
                        error = self._take(job, done)
                    except BrokenExecutor as broken:
                        job, error = None, broken
                    if isinstance(error, BrokenExecutor) and executor is not own:
                        # Nobody knows whose fault it was: each goes on in a process of its own.
                        again = [one for one in (job, *pending.values()) if one is not None]
                        for one in again:
                            begun[one] -= 1
                        self.store.note(f"the executor broke ({error}): {len(again) + len(left)} "
                                        "jobs go on in processes of their own")
                        warn(self.store.notes[-1], RuntimeWarning)
                        left, pending = again + left, {}
                        executor = own = Processes(workers)
                    elif error is None:
                        progress.advance(name_of(job), name=f"{len(pending)} left")
                    elif self._again(job, error, begun[job]):
                        left.append(job)
                    else:
                        progress.advance(f"{name_of(job)} failed", name=f"{len(pending)} left")
        except BaseException:
            for future in pending:
                future.cancel()
            if own is not None:
                own.kill()
            raise
        if own is not None:
            own.shutdown()

    def _take(self, job: Job, done: Future) -> BaseException | None:
        error = done.exception()
        if error is None:
            record, content = done.result()
            self.store.put(job, {**record, "settings": self.settings[job]}, content)
        return error

    def _again(self, job: Job, error: BaseException, begun: int) -> bool:
        """Say why a job died; whether it is tried again."""
        text = f"{type(error).__name__}: {error}"
        again = begun < self.attempts
        self.store.note(f"{name_of(job)}: attempt {begun} of {self.attempts}: {text}")
        if not again:
            self.store.fail(job, text, self.settings[job])
        warn(f"{name_of(job)}: {text}{': it is tried again' if again else ''}", RuntimeWarning)
        return again
