# SPDX-License-Identifier: Apache-2.0
"""`inspect`: what is in a .tflite file, and what each device would make of it."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflite_export.devices.registry import TARGETS
from tflite_export.devices.target import FileSummary
from tflite_export.flatbuffer.graph import TFLM_DECODE, Graph, read
from tflite_export.flatbuffer.signature_io import ports
from tflite_export.flatbuffer.validate import verified
from tflite_export.report.inspection_report import Inspection
from tflite_export.report.measurements import Compatibility
from tflite_export.report.messages import gzip_bytes
from tflite_export.report.tensor_stats import number_format, stored_tensors
from tflite_export.sparsity.densify import densified
from tflite_export.sparsity.tflm_decode import expanded
from tfprune.output import check_path

__all__ = ["Opened", "inspect", "opened"]

# Entries of a sparse weight for each byte of the file: expanding a damaged table must not take
# all memory.
_LARGEST_EXPANSION = 1024


def inspect(path: str | os.PathLike[str]) -> Inspection:
    """Read a .tflite file, whoever wrote it: tensors, encodings, zeros, bytes, operators.

    The file is checked from end to end first and never executed, so a damaged or foreign one does
    no harm.

    Args:
        path: the file.
    Returns:
        `Inspection`, with what stands against running the file on each of `targets()`.
    Raises:
        OSError: it cannot be read.
        ValueError: it is no .tflite file, or a damaged one.

    Example:
        >>> import keras, tempfile
        >>> from tflite_export import export
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = export(model, f"{folder}/model.tflite")
        ...     found = inspect(f"{folder}/model.tflite")
        >>> found.operators, found.tensors[0].shape, found.targets["mobile"].objections
        ({'FULLY_CONNECTED': 1}, (2, 4), ())
    """
    content = Path(check_path(path, "a .tflite file")).read_bytes()
    graph = verified(content)
    try:
        return _inspection(os.fsdecode(path), content, graph)
    except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError) as error:
        # Tables may contradict each other in more ways than are worth a check of their own.
        raise ValueError(
            f"the .tflite file is damaged: {type(error).__name__} while reading it ({error})"
        ) from error


@dataclass(frozen=True)
class Opened:
    """A file as a graph with every weight dense; `encoded` = {(subgraph, tensor): label} of those
    that were not, and `notes` on what could not be made dense."""

    dense: Graph
    encoded: dict[tuple[int, int], str]
    notes: tuple[str, ...] = ()


def opened(content: bytes) -> Opened:
    """Make every weight of a verified file dense.

    Raises:
        ValueError: sparsity tables that contradict their tensors.
    """
    graph, notes = read(content), []
    encoded = _sparse(graph, len(content))
    dense = densified(content)[0] if encoded else content
    try:
        dense = expanded(dense)
        encoded |= _decoded(graph)
    except ValueError as error:
        notes.append(f"weights that {TFLM_DECODE} expands are counted as they are stored: {error}")
    return Opened(Graph(dense), encoded, tuple(notes))


def _inspection(path: str, content: bytes, graph: Graph) -> Inspection:
    found = opened(content)
    graph_dense, encoded = found.dense, found.encoded
    form = number_format(graph_dense)
    inputs, outputs = ports(content)
    judged = FileSummary(graph_dense, form, encoded)
    return Inspection(
        path=path,
        bytes=len(content),
        gzip_bytes=gzip_bytes(content),
        quantize=form,
        tensors=stored_tensors(graph, graph_dense, encoded),
        operators=dict(
            Counter(
                graph.operator_name(operator) for _, operator in graph.all_operators()
            ).most_common()
        ),
        inputs=inputs,
        outputs=outputs,
        targets={name: _opinion(device, judged) for name, device in TARGETS.items()},
        notes=found.notes,
    )


def _sparse(graph: Graph, size: int) -> dict[tuple[int, int], str]:
    found = {}
    for number, subgraph in enumerate(graph.model.subgraphs):
        for index, tensor in enumerate(subgraph.tensors):
            if tensor.sparsity is None:
                continue
            shape = graph.shape(number, index)
            if np.prod(shape, dtype=float) > _LARGEST_EXPANSION * size:
                raise ValueError(f"tensor {index} has shape {list(shape)}, too large to expand")
            blocks = 0 if tensor.sparsity.blockMap is None else len(tensor.sparsity.blockMap)
            sizes = (
                []
                if not blocks
                else [str(m.denseSize) for m in tensor.sparsity.dimMetadata[-blocks:]]
            )
            sizes = ["1"] * (len(shape) - len(sizes)) + sizes
            found[number, index] = "block " + "x".join(sizes) if blocks else "csr"
    return found


def _decoded(graph: Graph) -> dict[tuple[int, int], str]:
    return {
        (number, int(index)): "bitmap"
        for number, operator in graph.all_operators()
        if graph.custom_name(operator) == TFLM_DECODE
        for index in operator.outputs
    }


def _opinion(device, found: FileSummary) -> Compatibility:
    opinion = device.judge(found)
    if found.quantize in device.quantize:
        return opinion
    executes = ", ".join(device.quantize)
    wrong = f"does not execute the number format {found.quantize}; it executes {executes}"
    return Compatibility((wrong, *opinion.objections), opinion.notes)
