# SPDX-License-Identifier: Apache-2.0
"""Files that earlier versions wrote are read as they were then, and go on in the same way."""

import gzip
import json
import shutil
from collections import Counter

import numpy as np
import pytest
from saved import measure

EXPECTED = json.loads(measure.EXPECTED.read_text())


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The folder of the saved files, those that are packed under their own names."""
    folder = tmp_path_factory.mktemp("saved")
    for path in measure.HERE.iterdir():
        if path.suffix == ".gz":
            (folder / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        elif path.suffix == ".json":
            shutil.copy(path, folder)
    return folder


def test_every_file_has_its_numbers(unpacked):
    held = {path.name for path in unpacked.iterdir() if ".data-" not in path.name}
    assert held == {*EXPECTED, measure.EXPECTED.name} and len(EXPECTED) >= 50


@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
@pytest.mark.parametrize("name", EXPECTED)
def test_a_saved_file_gives_the_numbers_of_its_day(name, unpacked):
    found = measure.measured(unpacked / name)
    if name == "configs.json":
        assert found.keys() == EXPECTED[name].keys()
        for key, values in EXPECTED[name].items():  # of fields that came later, more
            assert Counter(values) <= Counter(found[key]), key
    else:
        same(json.loads(json.dumps(found)), EXPECTED[name], name)


def same(found, expected, place):
    """Floats nearly, all else exactly."""
    assert type(found) is type(expected), place
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for key, value in expected.items():
            same(found[key], value, f"{place}, {key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), place
        for index, value in enumerate(expected):
            same(found[index], value, f"{place}, {index}")
    elif isinstance(expected, float):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=place)
    else:
        assert found == expected, place
