# SPDX-License-Identifier: Apache-2.0
"""Layers import only layers below them, and importing tfprune has no side effects."""

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LAYERS = {
    0: {"admm", "admm.settings", "allocations", "allocations.base", "allocations.erdos_renyi",
        "allocations.per_site", "allocations.priced", "allocations.provable",
        "allocations.rankings", "arrays", "atomic_write", "caller_warning", "checks", "configs",
        "coresets", "coresets.caratheodory", "coresets.cloud", "coresets.ellipsoid",
        "coresets.linf", "coresets.mussay", "coresets.sampling", "coresets.sensitivities", "costs",
        "couplings", "diversity", "layouts", "patterns", "plain_numbers", "progress",
        "report_forms", "schedules", "select", "sites", "sizes", "structures", "structures.base",
        "structures.blocks", "structures.entries", "structures.pattern", "structures.rows",
        "structures.slices", "timetable", "views"},
    1: {"batches", "bottleneck", "gates", "gates.adam", "gates.base", "gates.course",
        "gates.decaying", "gates.drawn", "gates.fixed", "gates.growing", "gates.moving",
        "gates.sampled", "gates.soft", "gates.turns", "guard", "patches", "quantized",
        "quantized.grids", "quantizers", "relaxed", "select_tensor",
        "sensitivity", "standing", "statistics", "statistics.resting"},
    2: {"joint", "joint.settings", "methods.base", "methods.memory", "quantized.settings"},
    3: {"following", "foreign", "kernels", "methods", "methods.admm", "methods.chances",
        "methods.coreset", "methods.coreset_caratheodory", "methods.coreset_draws",
        "methods.coreset_mussay",
        "methods.djpq", "methods.dpf", "methods.dpp", "methods.draws", "methods.filter_threshold",
        "methods.fisher", "methods.grasp", "methods.logits", "methods.magnitude",
        "methods.movement", "methods.pfp", "methods.random", "methods.regrowth", "methods.rigl",
        "methods.set", "methods.sipp", "methods.snip", "methods.spp", "methods.srste",
        "methods.st3", "methods.synflow", "methods.taylor", "methods.thresholds", "methods.told",
        "settle", "training"},
    4: {"adapters", "adapters.common", "adapters.graphs", "adapters.keras3",
        "adapters.keras3_graph", "adapters.replace", "adapters.tf_keras",
        "adapters.tf_keras_graph", "adapters.walk", "cautions", "drop_in", "files",
        "foreign_timetable", "hooks", "latency_policy", "memory", "registration"},
    5: {"adapters.tf_keras_in_call", "admm.problem", "admm.projection", "admm.solver",
        "admm.stations", "admm.student", "admm.synthetic", "driver", "fits",
        "joint.before", "joint.core",
        "joint.insertion", "joint.nodes", "joint.notes", "joint.places", "joint.plain",
        "joint.price", "joint.run", "optimizer_hook", "paths", "plans", "quantized.core",
        "quantized.kinds", "quantized.notes", "reports", "reweighting", "runs",
        "statistics.coresets", "statistics.curvatures", "statistics.cuts", "statistics.flow",
        "statistics.gates", "statistics.inputs", "statistics.linear",
        "statistics.linear_sequences", "statistics.losses", "statistics.measuring",
        "statistics.slopes", "statistics.softened", "statistics.squares", "statistics.subject",
        "statistics.sweep", "strip", "surgery", "surgery.absent", "surgery.agreement",
        "surgery.budget",
        "surgery.budget_report", "surgery.channels", "surgery.constants", "surgery.counterparts",
        "surgery.coupling", "surgery.cutting", "surgery.dead", "surgery.family",
        "surgery.finite", "surgery.fitting", "surgery.folding", "surgery.fresh", "surgery.grouping",
        "surgery.groups", "surgery.memory", "surgery.observing", "surgery.obstacles",
        "surgery.operations", "surgery.outlets", "surgery.prices", "surgery.readers",
        "surgery.reading", "surgery.rebuild", "surgery.record", "surgery.resizing",
        "surgery.resizing_operations", "surgery.rules", "surgery.rules_attention",
        "surgery.rules_recurrent", "surgery.rules_shapes", "surgery.rules_weights",
        "surgery.scoring", "surgery.shrink_report", "surgery.shrinking", "surgery.shrinking_to",
        "surgery.slots", "surgery.survey", "surgery.tensors", "surgery.ties", "surgery.trace",
        "surgery.trading", "surgery.tuning", "updates"},
    6: {"adapters.keras3_joint", "adapters.keras3_quantized", "adapters.keras3_wrapper",
        "adapters.tf_keras_joint", "adapters.tf_keras_quantized", "adapters.tf_keras_saved",
        "adapters.tf_keras_wrapper", "callbacks", "sparsity_log"},
    7: {"api", "data", "quantized.wrapping", "rewinding"},
    8: {"", "evaluation"},  # with every module of it
}
LAYER = {name: layer for layer, names in LAYERS.items() for name in names}


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT / "tfprune").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def _layer(name: str) -> int | None:
    return LAYER.get("evaluation" if name.startswith("evaluation.") else name)


def _imports_at_load(path: Path):
    """Names of tfprune's modules and of other packages that a module imports when it is loaded."""
    pending = list(ast.parse(path.read_text()).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, (ast.If, ast.Try, ast.With)):
            pending.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                place = ROOT / inner.replace(".", "/")
                exists = place.with_suffix(".py").exists() or (place / "__init__.py").exists()
                yield inner if node.module.startswith("tfprune") and exists else node.module


@pytest.mark.parametrize("path", sorted((ROOT / "tfprune").rglob("*.py")), ids=_name)
def test_a_module_imports_only_layers_below_or_its_own(path):
    name = _name(path)
    layer = _layer(name)
    assert layer is not None, f"{name} has no layer: add it to LAYERS"
    for imported in _imports_at_load(path):
        if imported.split(".")[0] == "tfprune":
            below = imported.partition(".")[2]
            assert _layer(below) <= layer, f"{name} imports {imported} from a layer above"
        if layer == 0:
            assert imported.split(".")[0] not in {"tensorflow", "keras", "tf_keras"}, imported


def test_nothing_imports_from_the_room_of_evaluation():
    """Inside functions neither; only the names of the package are looked up there."""
    for path in [one for package in ("tfprune", "tflite_export")
                 for one in (ROOT / package).rglob("*.py")]:
        if "evaluation" not in path.parts and path != ROOT / "tfprune" / "__init__.py":
            found = re.search(r"^\s*(from|import) tfprune\.evaluation", path.read_text(), re.M)
            assert found is None, path


@pytest.mark.parametrize("path", sorted((ROOT / "tfprune").rglob("*.py")), ids=_name)
def test_only_adapters_import_a_keras(path):
    if "adapters" not in path.parts:
        packages = {imported.split(".")[0] for imported in _imports_at_load(path)}
        assert not packages & {"keras", "tf_keras", "tensorflow_model_optimization"}


@pytest.mark.parametrize("path", sorted((ROOT / "tfprune").rglob("*.py"))
                         + sorted((ROOT / "tflite_export").rglob("*.py")), ids=str)
def test_no_file_is_longer_than_400_lines(path):
    assert len(path.read_text().splitlines()) <= 400


def _python(code: str, **environment: str) -> str:
    variables = {**os.environ, **environment, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    variables.pop("TF_USE_LEGACY_KERAS", None)
    variables.update({k: v for k, v in environment.items() if k == "TF_USE_LEGACY_KERAS"})
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True,
                          text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip().splitlines()[-1]


def test_importing_tfprune_imports_no_keras_and_changes_no_variable():
    loaded = _python(
        "import os, sys; before = dict(os.environ); import tfprune, tflite_export;"
        "assert dict(os.environ) == before;"
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


def test_after_tfmot_models_are_pruned():
    code = "import tensorflow_model_optimization, tfprune, tf_keras\nprune(tf_keras)\nprint('done')"
    assert _python(_TOOLS + code) == "done"
