# SPDX-License-Identifier: Apache-2.0
"""Families of pruned networks: what is there is kept, what died is done again, bit for bit."""

import csv
import json
import os
import re
import resource
import signal
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import tfprune
from tfprune.evaluation import curve as module
from tfprune.evaluation import job
from tfprune.evaluation.curve import Curve, Run, RunStore

SPARSITIES = (0.5, 0.9)
MADE = []  # seeds of this process's trainings


def make(seed):
    import keras

    MADE.append(seed)
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(10, activation="relu"), keras.layers.Dense(4)]
    )
    model.compile("adam", "mse", run_eagerly=True)
    return model


def fit(model, callbacks, seed):
    inputs = np.random.default_rng(seed).normal(size=(24, 6)).astype("float32")
    model.fit(inputs, inputs[:, :4], batch_size=8, callbacks=callbacks, verbose=0)


def filters(sparsity):
    return tfprune.PruningCallback("magnitude", sparsity, structure=tfprune.Filter())


METHODS = {"magnitude": "magnitude", "whole filters": filters}


def call(run, *arguments):
    return run(*arguments)


def train_here(patch):
    """Let jobs run in this process, without a process of their own each."""
    patch.setattr(module, "apart", call)
    patch.setattr(module, "Processes", ThreadPoolExecutor)
    patch.setattr(job, "_fix_threads", lambda threads: None)


@pytest.fixture
def here(monkeypatch):
    train_here(monkeypatch)


def trained(folder, *, methods="magnitude", sparsities=SPARSITIES, seeds=0, fit=fit, **others):
    """A curve whose jobs run in this process, and the warnings."""
    with ThreadPoolExecutor(1) as executor, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = tfprune.curve(
            make,
            methods,
            sparsities,
            seeds,
            fit,
            folder=folder,
            executor=others.pop("executor", executor),
            **others,
        )
    return done, [str(one.message) for one in caught if one.category is RuntimeWarning]


def weights(done):
    return {
        one.name: [value.tobytes() for value in tfprune.load_model(one.path).get_weights()]
        for one in done.runs
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A curve of two methods and two seeds, which no test may change."""
    with pytest.MonkeyPatch.context() as patch:
        train_here(patch)
        return trained(tmp_path_factory.mktemp("whole"), methods=METHODS, seeds=(0, 7))[0]


def test_every_method_sparsity_and_seed_has_a_network_and_a_row(whole):
    folder = whole.runs[0].path.parent
    assert [one.name for one in whole.runs] == [
        "dense-seed0",
        "dense-seed7",
        *(
            f"{method}-{sparsity}-seed{seed}"
            for seed in (0, 7)
            for method in METHODS
            for sparsity in SPARSITIES
        ),
    ]
    assert whole.dense(7).reached == 0 and whole.dense(7).kept == 100
    families = whole.families()
    assert list(families) == list(METHODS) and list(families["magnitude"]) == [0, 7]
    assert [one.kept for one in families["magnitude"][7]] == [50, 10]
    # 5 and 9 of 10 columns of 6, 2 and 3 of 4 columns of 10
    assert [one.kept for one in families["whole filters"][0]] == [5 * 6 + 2 * 10, 6 + 10]
    lines = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
    with open(folder / "curve.csv") as file:
        rows = list(csv.DictReader(file))
    assert [line["run"] for line in lines] == [row["run"] for row in rows]
    assert sorted(row["run"] for row in rows) == sorted(one.name for one in whole.runs)
    assert {float(row["reached"]) for row in rows if row["method"] == "magnitude"} == {*SPARSITIES}
    loaded = Curve.load(folder)
    assert {one.name: one for one in loaded.runs} == {one.name: one for one in whole.runs}
    assert re.search(r"\nmagnitude-0.9-seed7 +90.0% +90.00% +10 +100 ", str(loaded))
    assert weights(whole)["dense-seed0"] != weights(whole)["dense-seed7"]
    with pytest.raises(KeyError, match="no dense network"):
        whole.dense(3)
    with pytest.raises(FileNotFoundError, match="expected the folder of a tfprune.curve"):
        Curve.load(folder.parent)


def test_what_is_whole_is_read_and_what_is_damaged_is_done_again(tmp_path, here):
    first, _ = trained(tmp_path)
    before = weights(first)
    MADE.clear()
    assert trained(tmp_path) == (first, []) and not MADE
    for name, damage in (
        ("dense-seed0.json", _cut),
        ("magnitude-0.5-seed0.keras", Path.unlink),
        ("magnitude-0.9-seed0.keras", _flip),
        ("curve.jsonl", _cut),
    ):
        damage(tmp_path / name)
    assert [one.name for one in Curve.load(tmp_path).runs] == []
    again, said = trained(tmp_path)
    assert len(MADE) == 3 and weights(again) == before
    for name in (
        "dense-seed0.json cannot be read",
        "magnitude-0.5-seed0.keras cannot be read",
        "magnitude-0.9-seed0.keras is damaged",
    ):
        assert any(name in text for text in said) and any(name in text for text in again.notes)
    assert len((tmp_path / "curve.jsonl").read_text().splitlines()) == 3


def _cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_run_of_other_settings_is_refused_and_left(whole):
    folder = whole.runs[0].path.parent
    before = weights(whole)
    MADE.clear()
    with pytest.raises(ValueError, match="magnitude-0.5-seed0 was trained with other settings"):
        trained(folder, methods={"magnitude": filters})
    assert not MADE and weights(whole) == before


def fit_but_not_pruned(model, callbacks, seed):
    if callbacks and not Path(os.environ["TFPRUNE_TEST_MENDED"]).exists():
        raise ArithmeticError("these weights are bad")
    fit(model, callbacks, seed)


def fit_without_callbacks(model, callbacks, seed):
    fit(model, [], seed)


def test_a_job_that_raises_is_reported_and_tried_again_in_this_call_and_the_next(
    tmp_path, monkeypatch, here
):
    monkeypatch.setenv("TFPRUNE_TEST_MENDED", str(tmp_path / "mended"))
    MADE.clear()
    done, said = trained(tmp_path, sparsities=0.5, fit=fit_but_not_pruned, attempts=3)
    assert len(MADE) == 4 and [one.name for one in done.failed] == ["magnitude-0.5-seed0"]
    assert done.failed[0].error == "ArithmeticError: these weights are bad"
    assert len(said) == 3 and "attempt 3 of 3" in said[2] and "in fit_but_not_pruned" in said[2]
    assert "failed: magnitude-0.5-seed0: ArithmeticError" in str(done)
    assert done.families() == {} and Curve.load(tmp_path).failed == done.failed
    (tmp_path / "mended").touch()
    done, said = trained(tmp_path, sparsities=0.5, fit=fit_but_not_pruned)
    assert not done.failed and len(MADE) == 5 and "had failed" in said[0]
    done, _ = trained(tmp_path / "other", sparsities=0.5, fit=fit_without_callbacks, attempts=1)
    assert "fit did not hand its callbacks on" in done.failed[0].error


def test_a_full_disk_ends_the_call_and_damages_nothing(tmp_path, monkeypatch, here):
    first, _ = trained(tmp_path, sparsities=0.5)
    before = weights(first)
    limit, put = resource.getrlimit(resource.RLIMIT_FSIZE), RunStore.put

    def put_on_a_full_disk(*arguments):
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, limit[1]))
        try:
            put(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="File too large"):
        patch.setattr(RunStore, "put", put_on_a_full_disk)
        trained(tmp_path)
    assert weights(Curve.load(tmp_path)) == before
    assert weights(trained(tmp_path)[0]).items() > before.items()


@pytest.mark.parametrize(
    "error, said, changes",
    [
        (TypeError, "fit=None: expected a function", {"fit": None}),
        (ValueError, "each once", {"sparsities": (0.5, 0.5)}),
        (ValueError, "the dense network comes by itself", {"sparsities": (0.0, 0.5)}),
        (ValueError, "expected integers of at least 0", {"seeds": (0.5,)}),
        (ValueError, "dense networks are always trained", {"methods": {"dense": "magnitude"}}),
        (ValueError, "get their names by", {"methods": filters}),
        (
            ValueError,
            "a name stands for two",
            {"methods": ("snip", tfprune.get_method("snip", seed=1))},
        ),
        (ValueError, "No method 'magnitute'", {"methods": "magnitute"}),
        (TypeError, "expected the name of a method", {"methods": {"mine": lambda sparsity: 3}}),
        (ValueError, "attempts=0", {"attempts": 0}),
        (TypeError, "cannot be sent to another process", {"data": (one for one in ())}),
    ],
)
def test_bad_arguments_are_named_before_anything_is_trained(tmp_path, error, said, changes):
    MADE.clear()
    with pytest.raises(error, match=said):
        trained(tmp_path, **changes)
    assert not MADE


def test_a_schedule_ends_at_the_sparsity_of_the_run_and_a_model_that_fit_returns_is_taken(
    tmp_path, here
):
    method = tfprune.get_method("magnitude", schedule=tfprune.Polynomial(0.1, end=0.9, frequency=1))

    def fit_smaller(model, callbacks, seed):
        fit(model, callbacks, seed)
        return tfprune.shrink(model)[0] if callbacks else None

    done, _ = trained(tmp_path, methods=[method], sparsities=0.9, fit=fit_smaller)
    assert not done.failed, done
    settings = json.loads(done.runs[1].path.with_suffix(".json").read_text())["settings"][0]
    assert settings["config"]["schedule"]["config"]["sparsity"] == 0.9
    assert done.runs[1].size < done.runs[0].size == 100


def test_jobs_of_a_broken_pool_go_on(tmp_path, here):
    with ProcessPoolExecutor(1, initializer=os._exit, initargs=(1,)) as pool:
        done, said = trained(tmp_path, executor=pool)
    assert len(said) == 1 and "3 jobs go on in processes of their own" in said[0]
    assert [one.kept for one in done.runs] == [100, 50, 10]


class MakeAfterDeath:
    """Kills the process that reads it, where there is a file."""

    def __init__(self, path):
        self.path = path

    def __setstate__(self, state):
        if state["path"].exists():
            state["path"].unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    __call__ = staticmethod(make)


def test_on_dask_a_job_that_dies_is_done_again_and_trains_the_same_bits(whole, tmp_path):
    distributed = pytest.importorskip("distributed")
    (tmp_path / "death").touch()
    cluster = distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=":0")
    with cluster, distributed.Client(cluster) as client, pytest.warns(RuntimeWarning) as caught:
        done = tfprune.curve(
            MakeAfterDeath(tmp_path / "death"),
            "magnitude",
            0.5,
            0,
            fit,
            folder=tmp_path,
            executor=client.get_executor(),
        )
    assert [
        one
        for one in caught
        if "attempt 1 of 2: ProcessDied: its process was ended by SIGKILL" in str(one.message)
    ]
    assert [(one.kept, one.threads) for one in done.runs] == [(100, 1), (50, 1)]
    assert weights(done).items() <= weights(whole).items()


def test_a_run_names_its_files_safely():
    assert Run("a/b: c", 0.5, 1).name == "a%2Fb%3A c-0.5-seed1"
