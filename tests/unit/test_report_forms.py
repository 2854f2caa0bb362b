# SPDX-License-Identifier: Apache-2.0
"""Every report of the two packages reads in each of its forms, and says the same in all."""

import ast
import json
import re
import types
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tflite_export import Advice, CPackage, ExportReport, Inspection
from tflite_export.api.advise import Change
from tflite_export.flatbuffer.signature_io import Port
from tflite_export.report.export_report import TensorReport
from tflite_export.report.inspection_report import Stored
from tflite_export.report.measurements import Compatibility, Measurement
from tfprune import ChannelGroup, Comparison, Curve, PotentialReport, PruningRecord, Report
from tfprune.channels.groups import Member
from tfprune.evaluation.calibration import calibrate
from tfprune.evaluation.costs import Costs
from tfprune.evaluation.exemplars import class_changes, exemplars
from tfprune.evaluation.network_result import NetworkResult, NoiseDistance
from tfprune.evaluation.potential_rows import FamilyPotential, Growth, PrunedRow
from tfprune.evaluation.run_store import Run
from tfprune.evaluation.sensitivity_report import Rest, SensitivityReport, SiteSensitivity
from tfprune.evaluation.shift_losses import ShiftLoss
from tfprune.layers.channel_graph import Role
from tfprune.masks.sites import Skip
from tfprune.reconstruction.recalibration_report import LayerRecalibration, RecalibrationReport
from tfprune.reconstruction.refit_report import LayerRefit, RefitReport
from tfprune.surgery.budget_report import BudgetReport, Cost
from tfprune.surgery.constant_folding import Folded
from tfprune.surgery.scaled_models import Relative
from tfprune.surgery.shrink_report import GroupChange, ShrinkReport
from tfprune.training.lottery_ticket import Level
from tfprune.training.report import SiteReport

ROOT = Path(__file__).parents[2]
LONG = "a sentence that is longer than the eighty columns which a terminal has where none is known"
FOLDER = "/a/folder/whose/path/is/so/long/that/it/does/not/fit/into/eighty/columns/at/all/firmware"
SITES = Report(
    (
        SiteReport(
            "stack_1/block_12_expand[a]/kernel",
            (3, 3, 512, 1024),
            "Block(2, 1)",
            0.8,
            943_718,
            4_718_592,
            46_242_182,
            ("rests on ADMM",),
        ),
        SiteReport("head/kernel", (64, 10), None, None, 640, 640, 640, ()),
    ),
    (Skip("bn", "normalization"),),
    (LONG,),
    "every kept weight lies on one",
    ("rounded",),
)
RECORD = PruningRecord({"conv1": 16, "conv2": 8}, ({"conv1": (0, 3)}, {"conv1": (5,)}))
NOISE = (NoiseDistance(0.0, 0.95, 0.04), NoiseDistance(0.1, 0.9, 0.07))
COMPARISON = Comparison(
    (
        NetworkResult(
            "dense",
            1,
            Costs(1000, 1000, 5000, 5000, 4000),
            16.0,
            0.0,
            0.0,
            (ShiftLoss("fog", 20.0, 4.0, 0.0, 0.0),),
            calibration=calibrate(np.array([0, 1]), np.eye(2)),
        ),
        NetworkResult(
            "80 %",
            3,
            Costs(1000, 200, 5000, 1000, 1200),
            19.2,
            3.2,
            0.4,
            (ShiftLoss("fog", 28.4, 9.2, 5.2, 0.6),),
            noise=NOISE,
            classes=class_changes(np.array([[0.5, 0.9]]), np.array([[0.9, 0.9]])),
            exemplars=exemplars(np.array([[0, 1]]), np.array([[0, 0]])),
        ),
    ),
    "points",
    10_000,
    2000,
    class_names=("a|cat", "dog"),
    notes=(LONG,),
    skipped=("fog: none",),
)
POTENTIAL = PotentialReport(
    (
        PrunedRow("magnitude", 0, 0.8, 0.8001, "nominal", 16.4, agreement=0.9, distance=0.1),
        PrunedRow("magnitude", 0, 0.8, 0.8001, "fog 3", 24.0, 7.6, 1.5),
    ),
    (
        FamilyPotential("magnitude", 0, "nominal", 0.8001, 0.9),
        FamilyPotential("magnitude", 0, "fog 3", 0.0, 0.0),
    ),
    (Growth("magnitude", "fog 3", 3.5, 1.0, 5.0),),
    {0: {"nominal": 16.0, "fog 3": 22.0}},
    NOISE,
    "points",
    0.5,
    10_000,
    2000,
    (LONG,),
)
# Each with words that all of its forms have.
REPORTS = [
    (
        SITES,
        [
            "block_12_expand[a]",
            "3x3x512x1024",
            "Block(2, 1)",
            "943,718",
            "80.00 %",
            "normalization",
            "every kept weight lies on one",
            "rests on ADMM",
            LONG,
        ],
    ),
    (
        Level(1, {"a": np.array([True, False])}, SITES, None),
        ["level 1: 50.00% of the weights kept", "943,718"],
    ),
    (
        ShrinkReport(
            (GroupChange("conv1", 16, 12, 5, ("it is *read*",), (1, 2, 3, 4)),),
            (Folded("conv2/kernel", 9, "bias", True),),
            (1000, 900),
            (5000, 4000),
            notes=(LONG,),
        ),
        ["4 channels removed", "1,000 -> 900", "conv1: 16 -> 12", "exact but for the border", LONG],
    ),
    (
        BudgetReport((Cost("parameters", 1000, 600, 590),), {"conv1": (16, 13)}, RECORD, (LONG,)),
        ["1,000 -> 590, limit 600", "conv1: 16 -> 13 channels", LONG],
    ),
    (RECORD, ["3 of 24 channels removed in 2 steps", "conv1", "13"]),
    (
        Relative(types.SimpleNamespace(count_params=lambda: 1234), 0.5, {"conv1": 8}, {"macs": 99}),
        ["scale 0.500: 1,234 parameters, macs 99"],
    ),
    (
        ChannelGroup(
            "conv1",
            16,
            (Member("conv1/kernel", 3, Role.PRODUCER, np.arange(16)[:, None]),),
            "model output",
            ("conv1 out",),
        ),
        ["conv1: 16 channels", "stays whole"],
    ),
    (
        ExportReport(
            path="pruned_int8.tflite",
            bytes=31_000,
            gzip_bytes=20_000,
            dense_bytes=92_000,
            dense_gzip_bytes=60_000,
            error=1e-8,
            agreement=1.0,
            tensors=(
                TensorReport(
                    "stack_1/block_12_expand/a|b[c]",
                    (64, 3, 3, 64),
                    "int8",
                    31_000,
                    36_864,
                    "bitmap",
                ),
            ),
            measured=(Measurement("arena", 107_680, "bytes"),),
            missing=("no time: no device",),
            remarks=(LONG, "kept *dense*"),
        ),
        [
            "31,000 bytes",
            "block_12_expand/a|b[c]",
            "31,000 (84%)",
            "107,680",
            "no time: no device",
            "kept *dense*",
            LONG,
        ],
    ),
    (
        Inspection(
            path="foreign.tflite",
            bytes=9000,
            gzip_bytes=8000,
            quantize="int8",
            outputs=(),
            tensors=(Stored("weights[1]", (8, 9), "int8", 70, 72, "dense", 72),),
            inputs=(Port("input", 0, "frame", (1, 96, None, 3), "int8", 1 / 255, -128),),
            operators={"CONV_2D": 12},
            targets={"mobile": Compatibility(), "tflm": Compatibility((LONG,), ("a note",))},
            notes=("foreign",),
        ),
        [
            "9,000 bytes",
            "CONV_2D",
            "weights[1]",
            "70 (97%)",
            "input 0",
            "1x96x?x3",
            "tflm",
            LONG,
            "foreign",
        ],
    ),
    (
        Advice((Change("stem", "it has a kernel of 5x5", "Use 3x3"),), False, ("a/kernel",), {}),
        ["stem: it has a kernel of 5x5. Use 3x3.", "- a/kernel", "Block(2, 1)"],
    ),
    (
        Curve(
            (
                Run(
                    "magnitude",
                    0.8,
                    0,
                    Path("curve") / "magnitude-0.8-seed0.keras",
                    200,
                    1000,
                    12.5,
                ),
                Run("magnitude", 0.9, 0, error="SIGKILL"),
            ),
            (LONG,),
        ),
        [
            "1 of 2 networks",
            "magnitude-0.8-seed0",
            "80.00%",
            "failed: magnitude-0.9-seed0: SIGKILL",
            LONG,
        ],
    ),
    (
        COMPARISON,
        [
            "80 %: 3.2 +- 0.4 points lost (error 16.0 -> 19.2)",
            "1,200 bytes instead of 4,000",
            "worst class a|cat (recall -40.0 points)",
            "worst corruption fog (5.2 points more than it costs dense)",
            "mean of 3",
            "5.2 *",
            "95.0 %",
            LONG,
            "fog: none",
        ],
    ),
    (
        POTENTIAL,
        [
            "magnitude: prune potential 80 % on clean data",
            "lower for 1",
            "80 / 90",
            "0.35 *",
            "95.0 %",
            LONG,
        ],
    ),
    (
        RefitReport(
            (LayerRefit("conv1/kernel", 1234, 0.25, 0.125, (LONG,)),),
            (Skip("lstm/kernel", "step by step"),),
            1024,
            (1.5, 0.25),
        ),
        ["150.00%", "conv1/kernel", "1,234", "12.50%", LONG, "lstm/kernel stays as it is"],
    ),
    (
        RecalibrationReport(
            (LayerRecalibration("bn1", True, 0.5, 0.25), LayerRecalibration("bn2", False)),
            (Skip("bn3", "it renormalizes batches by further averages"),),
            1024,
            (0.5, 0.75),
            undone=True,
        ),
        ["0 of 2 batch normalizations", "75.00%", "the old ones again", "bn1", "bn3 stays"],
    ),
    (
        SensitivityReport(
            "magnitude",
            "loss",
            0.5123,
            "points",
            16.0,
            (0.5, 0.9),
            (0.0, 0.5, 0.9),
            (
                SiteSensitivity(
                    "block_1/conv[a]/kernel", 1000, 64, (1000, 500, 100), (0.52, 0.75), (16.5, 20.0)
                ),
                SiteSensitivity("head/kernel", 200, 1, (200, 100, 20), (0.6, 2.25), (18.0, 41.0)),
            ),
            Rest(30, 0, 10, 0),
            1024,
            (Skip("bn", "normalization"),),
        ),
        [
            "magnitude on 1,024 examples",
            "as it is 0.5123",
            "block_1/conv[a]/kernel",
            "2.25",
            "41.0",
            "'head/kernel': 0.5",
            "bn stays dense: normalization",
        ],
    ),
    (
        CPackage(FOLDER, ("model.h", "main.cc"), ("ADD", "CONV_2D"), 2048, 1024),
        [FOLDER, "2,048", "main.cc", "ADD, CONV_2D"],
    ),
]
NAMES = [type(report).__name__ for report, _ in REPORTS]


def joined(text):
    """Without line breaks, and without what Markdown escapes."""
    return re.sub(r"\s+", " ", text.replace("\\", ""))


def by_rich(report, width):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))
    console.print(report)
    return console.export_text()


@pytest.mark.parametrize("report, words", REPORTS, ids=NAMES)
def test_each_form_says_everything(report, words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for text in (str(report), by_rich(report, 200), report.to_markdown()):
        for word in words:
            assert word in joined(text)


@pytest.mark.parametrize("report, words", REPORTS, ids=NAMES)
def test_plain_text_keeps_to_eighty_columns_and_to_ascii(report, words, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    text = str(report)
    assert text.isascii() and "\n\n\n" not in text and text == text.strip("\n")
    for line in text.splitlines():
        assert line == line.rstrip() and (len(line) <= 80 or FOLDER in line)
    whole = re.sub(r"\s", "", text)
    assert all(re.sub(r"\s", "", word) in whole for word in words if word[0] == "/")


@pytest.mark.parametrize("report, words", REPORTS, ids=NAMES)
def test_a_dictionary_is_json(report, words):
    read = report.to_dict()
    assert json.loads(json.dumps(read, allow_nan=False)) == read and read


@pytest.mark.parametrize("report, words", REPORTS, ids=NAMES)
def test_rows_of_markdown_tables_have_as_many_cells_as_their_head(report, words):
    widths = []
    for line in report.to_markdown().splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not cells or not widths or not widths[-1] or widths[-1] == cells
        widths.append(cells)


def test_lists_of_reports_read_well():
    shown = repr([report for report, _ in REPORTS if type(report) in (Level, Relative)])
    assert "\n" not in shown and len(shown) < 200 and "array" not in shown
    assert "% of the weights kept>" in shown and "parameters" in shown


def test_every_class_with_one_form_has_all_and_is_drawn_here():
    found = set()
    for package in ("tfprune", "tflite_export"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    names = {
                        name.id if isinstance(name, ast.Name) else name
                        for one in node.body
                        for name in (
                            [one.name]
                            if isinstance(one, ast.FunctionDef)
                            else getattr(getattr(one, "targets", [None])[0], "elts", [])
                            if isinstance(one, ast.Assign)
                            else []
                        )
                    }
                    if names & {"to_markdown", "__rich__", "__rich_console__"}:
                        found.add(node.name)
                        assert names >= {
                            "parts",
                            "to_markdown",
                            "to_dict",
                            "__str__",
                            "__rich_console__",
                        }, node.name
    assert found == set(NAMES)
