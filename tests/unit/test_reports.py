# SPDX-License-Identifier: Apache-2.0
"""Reports: counted by hand, as a dictionary and as a table."""

import json

import numpy as np
import pytest

from tfprune.masks import kernel_layout
from tfprune.masks.sites import Site, Skip
from tfprune.masks.structures import Element
from tfprune.training.report import of_sites


@pytest.fixture
def report():
    kernel = np.zeros((3, 3, 2, 4), np.float32)
    kernel[0, 0] = 1
    sites = [
        (
            Site("c/kernel", kernel.shape, kernel_layout.conv(2), "c", positions=49),
            kernel,
            Element(),
            0.9,
        ),
        (Site("d/kernel", (2, 5), kernel_layout.DENSE, "d"), np.eye(2, 5), None, None),
    ]
    return of_sites(sites, [Skip("bn", "normalization")], warnings=["cut short"])


def test_counts(report):
    first, second = report.sites
    assert (first.kept, first.size, first.macs) == (8, 72, 8 * 49)
    assert (second.kept, second.size, second.macs) == (2, 10, None)
    assert (report.kept, report.size) == (10, 82)
    assert report.sparsity == 1 - 10 / 82


def test_dictionary_is_json_and_complete(report):
    read = json.loads(json.dumps(report.to_dict()))
    assert read["sites"][0] == {
        "name": "c/kernel",
        "shape": [3, 3, 2, 4],
        "structure": "Element()",
        "target": 0.9,
        "kept": 8,
        "size": 72,
        "macs": 392,
        "notes": [],
        "stranded": None,
        "sparsity": 1 - 8 / 72,
    }
    assert read["skipped"] == [{"name": "bn", "reason": "normalization"}]
    assert read["warnings"] == ["cut short"]


def test_table_names_everything(report):
    text = str(report)
    for word in (
        "c/kernel",
        "3x3x2x4",
        "90.00 %",
        "88.89 %",
        "392",
        "d/kernel",
        "bn",
        "normalization",
        "cut short",
    ):
        assert word in text


def test_a_report_of_nothing():
    empty = of_sites([], [])
    assert empty.sparsity == 0 and empty.to_dict()["sites"] == []
