# SPDX-License-Identifier: Apache-2.0
"""A file imports from its own room or one before it, and importing tfprune has no side effects."""

import importlib
import os
import re
import subprocess
import sys

import pytest
from rooms import ORDERS, ROOT, drawing, files_of, floors_of, imports_of, name_of, path_of, room_of

AGAINST, INSIDE, CIRCLES = 0, 0, 0  # these stay
LAZY_DOORS = {"tfprune", "tfprune.methods", "tfprune.backend"}
"""Where a name is looked up when it is first used."""


def _against(package: str) -> list[str]:
    """The imports that run against the order of the rooms."""
    place, files = floors_of(package), files_of(package)
    return [
        f"{name} imports {imported}"
        for name in files
        for imported, _ in imports_of(name, files)
        if imported in files
        and room_of(imported) != room_of(name)
        and place[room_of(imported)] >= place[room_of(name)]
    ]


def _inside(package: str, doors: set[str]) -> list[str]:
    """The imports of the package's own files inside of functions."""
    files = files_of(package)
    return [
        f"{name} imports {imported}"
        for name in files
        for imported, is_inside in imports_of(name, files)
        if is_inside and imported in files and name not in doors
    ]


def _circles(package: str) -> list[list[str]]:
    """The files that import one another, by all imports."""
    files = files_of(package)
    edges = {
        name: {one for one, _ in imports_of(name, files) if one in files and one != package}
        for name in files
    }
    reach: dict[str, set[str]] = {}
    for name in files:
        seen, pending = set(), list(edges[name])
        while pending:
            one = pending.pop()
            if one not in seen:
                seen.add(one)
                pending.extend(edges[one])
        reach[name] = seen
    circles = {
        frozenset(one for one in files if one in reach[name] and name in reach[one])
        for name in files
        if name in reach[name]
    }
    return sorted(map(sorted, circles))


def test_a_file_imports_from_its_own_room_or_one_before_it():
    against = _against("tfprune")
    assert len(against) <= AGAINST, against


def test_only_the_lazy_doors_import_inside_functions():
    inside = _inside("tfprune", LAZY_DOORS)
    assert len(inside) <= INSIDE, inside


def test_no_files_import_one_another():
    circles = _circles("tfprune")
    assert sum(map(len, circles)) <= CIRCLES, circles


def test_the_rooms_of_tflite_export_have_one_order_and_no_circle():
    assert _against("tflite_export") == []
    assert _inside("tflite_export", set()) == []
    assert _circles("tflite_export") == []


def test_tflite_export_imports_public_names_of_tfprune_only():
    files = files_of("tflite_export")
    known = {
        one for name in files for one, _ in imports_of(name, files) if one.startswith("tfprune")
    }
    assert known == {"tfprune", "tfprune.output"}


@pytest.mark.parametrize("package", ORDERS)
def test_the_drawing_shows_the_imports_of_today(package):
    assert path_of(package).read_text() == drawing(package), "run python tests/rooms.py"


def test_only_files_of_one_keras_import_it_when_they_are_loaded():
    files = files_of("tfprune")
    for name, path in files.items():
        packages = {
            one.split(".")[0] for one, is_inside in imports_of(name, files) if not is_inside
        }
        if not path.name.startswith(("keras3", "tf_keras", "tfmot")):
            assert not packages & {"keras", "tf_keras", "tensorflow_model_optimization"}, name


@pytest.mark.parametrize(
    "path", [*files_of("tfprune").values(), *files_of("tflite_export").values()], ids=name_of
)
def test_no_file_is_longer_than_400_lines(path):
    assert len(path.read_text().splitlines()) <= 400


def _python(code: str, **environment: str) -> str:
    variables = {**os.environ, **environment, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    variables.pop("TF_USE_LEGACY_KERAS", None)
    variables.update({k: v for k, v in environment.items() if k == "TF_USE_LEGACY_KERAS"})
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip().splitlines()[-1]


def test_importing_and_asking_for_help_imports_no_keras_and_changes_no_variable():
    loaded = _python(
        "import contextlib, os, sys; before = dict(os.environ); import tfprune, tflite_export\n"
        "assert dir(tfprune) and dir(tflite_export)\n"
        "from tflite_export.__main__ import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "assert dict(os.environ) == before\n"
        "print([m for m in ('keras', 'tf_keras', 'tensorflow_model_optimization', 'tensorflow')"
        " if m in sys.modules])"
    )
    assert loaded == "[]"


# What the processes below do between imports.
_TOOLS = """
def prune(keras):
    model = keras.Sequential([keras.layers.Dense(3)])
    model.build((None, 4))
    assert tfprune.sparsify(model, "magnitude", 0.5).kept == 6

def load(home, path):
    assert home.load_model(path).layers[-1].method.name == "magnitude"

def home_of_keras():
    import os, tensorflow as tf
    module = tf.keras.layers.Layer.__module__
    print(module.split(".")[0], os.environ.get("TF_USE_LEGACY_KERAS"))
"""
# Every order in a process of its own: what is loaded, pruned or registered first matters.
_ORDERS = {
    "tfprune keras tf_keras": """
import tfprune
import keras
load(tfprune, keras_file)
prune(keras)
import tf_keras
prune(tf_keras)
""",
    "keras tfprune tf_keras": """
import keras
import tfprune
load(keras.models, keras_file)
import tf_keras
prune(tf_keras)
prune(keras)
""",
    "tf_keras tfprune keras": """
import tf_keras
import tfprune
load(tf_keras.models, tf_keras_file)
prune(tf_keras)
import keras
prune(keras)
""",
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Python code that names the files of a wrapped model of each Keras."""
    import tfprune

    names = []
    for package in ("keras", "tf_keras"):
        path, keras = tmp_path_factory.mktemp(package), importlib.import_module(package)
        model = keras.Sequential([keras.layers.Dense(3)])
        model.build((None, 4))
        tfprune.prune(model, "magnitude", 0.5).save(path / "model.keras")
        names.append(f"{package}_file = {str(path / 'model.keras')!r}\n")
    return "".join(names)


@pytest.mark.parametrize("order", _ORDERS)
def test_every_import_order_loads_and_prunes_and_leaves_tf_keras_alone(order, saved):
    assert _python(saved + _TOOLS + _ORDERS[order] + "home_of_keras()") == "keras None"


def test_tf_keras_stays_the_users_own_where_it_is_the_legacy_one():
    code = _TOOLS + "import tfprune, tf_keras\nprune(tf_keras)\nhome_of_keras()"
    assert _python(code, TF_USE_LEGACY_KERAS="1") == "tf_keras 1"


def test_the_interpreters_are_found_where_they_always_were():
    code = (
        "import tflite_export.runtime, tflite_export as package;"
        "from tflite_export.runtime import latency_ms, predict;"
        "print(package.runtime.predict is predict, package.runtime.latency_ms is latency_ms)"
    )
    assert _python(code) == "True True"


def test_a_file_may_name_any_setting_first():
    configs = (ROOT / "tests/saved/configs.json").read_text()
    names = sorted(set(re.findall(r'"class_name": "(\w+)"', configs)))
    code = (
        "from tfprune.masks.serialization import class_named, from_config\n"
        "first = from_config({'class_name': 'FakeQuantization', 'config': {}})\n"
        f"print(type(first).__name__, len([class_named(name) for name in {names}]))"
    )
    assert len(names) > 40 and _python(code) == f"QuantizationConfig {len(names)}"


def test_after_tfmot_models_are_pruned():
    code = "import tensorflow_model_optimization, tfprune, tf_keras\nprune(tf_keras)\nprint('done')"
    assert _python(_TOOLS + code) == "done"
