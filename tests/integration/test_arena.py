# SPDX-License-Identifier: Apache-2.0
"""The tensor arena of TFLite Micro: the least that works, on this computer and on a Cortex-M."""

import re

import arena_models
import export_models as models
import pytest

from tflite_export import c_package, export
from tflite_export.devices import cortex_m_arena, tflm
from tflite_export.devices.registry import target
from tflite_export.devices.target import ExportContext
from tflite_export.runtime import tflm_interpreter

pytestmark = pytest.mark.skipif(
    not tflm_interpreter.installed(), reason="tflite-micro has wheels for Linux on x86-64 only"
)


def _exported(model, path, data, quantize="int8", **options):
    report = export(model, path, target=target("tflm", **options), quantize=quantize, data=data)
    return report, {found.name: found.value for found in report.measured}


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_the_stated_arena_loads_and_runs_and_less_does_not(seed, tmp_path):
    """All thirty: benchmarks/arena.py."""
    _, quantize, model, data = arena_models.drawn(seed)
    report, measured = _exported(model, tmp_path / "m.tflite", data, quantize)
    content, least = (tmp_path / "m.tflite").read_bytes(), measured["arena"]
    assert tflm_interpreter.fits(content, least, run=True)
    assert not tflm_interpreter.fits(content, 95 * least // 100)
    package = c_package(report, tmp_path / "c")
    assert package.measured_bytes == least < package.arena_bytes
    assert tflm_interpreter.fits(content, package.arena_bytes, run=True)
    assert package.cortex_m_bytes == measured["Cortex-M arena"]


def test_memory_that_loading_gives_back_counts(tmp_path):
    """On a Cortex-M4 with CMSIS-NN 7,648 bytes are the least for this network."""
    path = tmp_path / "m.tflite"
    _, measured = _exported(arena_models.chain(24), path, models.examples(40, 8))
    content = path.read_bytes()
    found = tflm_interpreter.allocations(content)
    assert measured["arena"] > 1.3 * (found.head + found.tail)
    assert 7648 <= measured["Cortex-M arena"] == cortex_m_arena.arena_bytes(content) <= 1.1 * 7648
    # The budget is compared with what is needed, not with what is used.
    with pytest.raises(ValueError, match=f"an arena of {measured['arena']:,} bytes"):
        tflm.pack(content, ExportContext("int8", {}, {}, True, tflm.Micro(measured["arena"] - 16)))


def test_what_decoding_and_scales_by_channel_cost_is_said(tmp_path):
    model = models.mlp("keras")
    data, path = models.examples(40, 64), tmp_path / "m.tflite"
    report, measured = _exported(model, path, data)
    before = {found.name: found.value for found in report.dense_measured}
    told = " ".join(report.remarks)
    assert (
        f"an arena of {measured['arena']:,} bytes, where the dense file takes "
        f"{before['arena']:,}" in told
    )
    bound = int(re.search(r"ram_bytes=(\d+)", told)[1])
    bounded, kept = _exported(model, path, data, ram_bytes=bound + 64)
    assert "ram_bytes=" not in " ".join(bounded.remarks)
    _, kept = _exported(model, path, data, ram_bytes=bound)
    assert kept["arena"] <= bound == before["arena"]
    said = re.search(
        r"([\d,]+) bytes and an arena of ([\d,]+)\. .* about ([\d,]+) and ([\d,]+),", told
    )
    assert [int(text.replace(",", "")) for text in said.groups()[:2]] == [
        before["flash"],
        before["arena"],
    ]
    one, _ = _exported(model, path, data, dense_per_channel=False)
    fewer = {found.name: found.value for found in one.dense_measured}
    assert [int(text.replace(",", "")) for text in said.groups()[2:]] == [
        fewer["flash"],
        fewer["arena"],
    ]
    assert "scale for each channel" not in " ".join(one.remarks)
    assert fewer["arena"] < before["arena"] and fewer["flash"] < before["flash"]


@pytest.mark.parametrize(
    "options, quantize, said",
    [
        ({"dense_per_channel": 1}, "int8", "dense_per_channel=1: expected True or False"),
        ({"dense_per_channel": False}, "none", "not possible with quantize='none', .* no scales"),
    ],
)
def test_scales_that_no_layer_can_have(options, quantize, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        _exported(
            models.mlp("keras"), tmp_path / "m.tflite", models.examples(40, 64), quantize, **options
        )
