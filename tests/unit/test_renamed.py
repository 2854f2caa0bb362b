# SPDX-License-Identifier: Apache-2.0
"""Names of earlier versions: they still work, and warn at the line that has them."""

import importlib
import pickle
import subprocess
import sys
import types
import warnings

import pytest

import tfprune
from tfprune.masks.serialization import from_config, to_config


@pytest.mark.parametrize("old", tfprune._RENAMED)
def test_an_old_name_is_the_new_one_and_warns_where_it_stands(old):
    new = tfprune._RENAMED[old]
    with pytest.warns(DeprecationWarning, match=f"tfprune.{old} is called 'tfprune.{new}'") as seen:
        found = getattr(tfprune, old)
    assert found is getattr(tfprune, new) and seen[0].filename == __file__
    assert new in tfprune.__all__ and old not in tfprune.__all__


def test_a_place_warns_once_and_an_import_is_a_place(tmp_path):
    code = "from tfprune import Rank\nfor _ in range(3):\n    import tfprune; tfprune.Drawn\n"
    (tmp_path / "own.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "own.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    told = [line for line in done.stderr.splitlines() if "DeprecationWarning" in line]
    places = [line.split("/")[-1].split(": ")[0] for line in told]
    # Python forgets what it has said when TensorFlow sets a filter of its own.
    assert set(places) == {"own.py:1", "own.py:3"} and places.count("own.py:3") == 1


def test_classes_made_from_old_names_are_of_the_new_kind():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")

        class Own(tfprune.Fixed):
            pass

    assert issubclass(Own, tfprune.Gate) and isinstance(Own(), tfprune.MaskGate)


def test_old_arguments_and_attributes_warn_and_count():
    with pytest.warns(DeprecationWarning, match="argument 'floor' is called 'min_keep'") as seen:
        kept = tfprune.Global(floor=3)
    assert seen[0].filename == __file__ and kept == tfprune.Global(min_keep=3)
    with pytest.warns(DeprecationWarning, match="floor is called 'min_keep'"):
        assert kept.floor == 3
    once = tfprune.OneShot(0.5)
    with pytest.warns(DeprecationWarning, match="'timing' is called 'default_schedule'"):
        method = tfprune.get_method("magnitude", timing=once)
    with pytest.warns(DeprecationWarning, match="timing is called"):
        assert method.timing is method.default_schedule is once
    with pytest.warns(DeprecationWarning, match="is called 'keep_activation_quantizers'"):
        with pytest.raises(TypeError, match="Keras"):
            tfprune.strip_pruning(3, activations=True)
    with pytest.warns(DeprecationWarning, match=r"methods\(\) is called 'tfprune.list_methods"):
        assert tfprune.methods() == tfprune.list_methods()


def test_files_keep_the_names_that_they_had():
    config = to_config(tfprune.Global(min_keep=3))
    assert config == {"class_name": "Global", "config": {"floor": 3}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert from_config(config) == tfprune.Global(min_keep=3)
    method = tfprune.get_method("movement_soft")
    written = method.get_config()
    assert written["rule"]["class_name"] == "Threshold" and "timing" in written
    assert written["gate"]["class_name"] == "Moving"
    assert tfprune.Method.from_config(written) == method


@pytest.mark.parametrize("module", sorted(tfprune._MOVED))
def test_modules_of_earlier_versions_are_found(module):
    found = importlib.import_module(f"tfprune.{module}")
    assert not hasattr(found, "never_there")


def test_a_moved_module_has_what_it_had_and_warns_where_it_is_asked():
    with pytest.warns(DeprecationWarning, match="tfprune.gates.Fixed is called") as seen:
        from tfprune.gates import Fixed
    assert Fixed is tfprune.MaskGate and seen[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="'tfprune.masks.pattern_library.FIVE_OF_NINE'"):
        from tfprune.patterns import FIVE_OF_NINE
    assert len(FIVE_OF_NINE) == 13
    with pytest.warns(DeprecationWarning, match="tfprune.methods.get is called"):
        from tfprune.methods import get
    assert get is tfprune.get_method


def pickled_by_an_earlier_version(module, name, **state):
    """The bytes of an object without __reduce__ of its own."""
    home = types.ModuleType(module)
    setattr(home, name, type(name, (), {"__module__": module, "__qualname__": name}))
    value = getattr(home, name)()
    vars(value).update(state)
    now, sys.modules[module] = sys.modules.get(module), home
    try:
        return pickle.dumps(value)
    finally:
        sys.modules.pop(module) if now is None else sys.modules.update({module: now})


@pytest.mark.parametrize(
    "module, name, state, expected",
    [
        ("allocations.rankings", "Global", {"floor": 3}, tfprune.Global(min_keep=3)),
        ("schedules", "Held", {}, tfprune.FixedMask()),
        ("structures.slices", "Filter", {"coupled": True}, tfprune.Filter(coupled=True)),
        (
            "methods.base",
            "Rank",
            vars(tfprune.get_method("magnitude").rule),
            tfprune.get_method("magnitude").rule,
        ),
    ],
)
def test_pickles_of_earlier_versions_are_read(module, name, state, expected):
    content = pickled_by_an_earlier_version(f"tfprune.{module}", name, **state)
    with pytest.warns(DeprecationWarning, match=rf"tfprune.{module}.{name}"):
        assert pickle.loads(content) == expected
