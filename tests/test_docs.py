# SPDX-License-Identifier: Apache-2.0
"""What the README and the docstrings show runs as they show it."""

import copy
import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import tflite_export
import tfprune

ROOT = Path(__file__).parents[1]


def _modules():
    for package in (tfprune, tflite_export):
        yield package.__name__
        for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not info.name.endswith("__main__"):
                yield info.name


# What the blocks of each page write.
PAGES = {
    "README.md": {"pruned.keras", "pruned.tflite", "pruned_int8.tflite"},
    "docs/extending.md": {"kiosk.tflite"},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", PAGES)
def test_blocks_of_a_page_run_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tfprune.methods, "REGISTRY", copy.copy(tfprune.methods.REGISTRY))
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)
    assert len(blocks) >= 4
    space = {"__name__": "page"}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"{page} block {number}", "exec"), space)
    assert {path.name for path in tmp_path.iterdir()} >= PAGES[page]


@pytest.mark.parametrize("name", list(_modules()))
def test_docstring_examples_run(name):
    module = importlib.import_module(name)
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.testmod(module, optionflags=options)
    assert result.failed == 0


@pytest.mark.parametrize("package", [tfprune, tflite_export])
def test_every_public_name_is_documented_with_an_example(package):
    for name in package.__all__:
        value = getattr(package, name)
        assert value.__doc__, name
        if name not in {"Method", "TopKRule", "Score", "Report", "ExportReport"}:
            assert ">>>" in value.__doc__, f"{name} has no example"
