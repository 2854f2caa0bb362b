"""A model as C sources for TFLite Micro: `c_package`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflite_export import c_sources, micro, vector
from tflite_export.aligned import aligned
from tflite_export.dense import densified
from tflite_export.graph import Graph, schema
from tflite_export.micro_operators import resolver_method, unknown, used
from tflite_export.report import ExportReport
from tfprune.atomic_write import reserved
from tfprune.report_forms import Table, as_dict, markdown, plain_text, rich_parts

__all__ = ["CPackage", "c_package"]

_SCRATCH_PER_WEIGHT, _KIB = 4, 1024


@dataclass(frozen=True)
class CPackage:
    """What `c_package` wrote.

    Fields: `folder` and `files`, names inside it; `operators` of the model; `arena_bytes` that the
    sources reserve, of which `measured_bytes` were measured and the rest is margin.

    Example:
        >>> CPackage("firmware", ("model.h",), ("ADD",), 2048, 1024).files
        ('model.h',)
    """

    folder: str
    files: tuple[str, ...]
    operators: tuple[str, ...]
    arena_bytes: int
    measured_bytes: int

    def parts(self) -> Iterable[str | tuple[str, ...] | Table]:
        """What is printed: where it is, the arena, operators and files."""
        yield (f"{self.folder}: a model for TFLite Micro, with an arena of {self.arena_bytes:,} "
               f"bytes, {self.measured_bytes:,} of them measured and the rest margin")
        yield f"operators: {', '.join(self.operators)}"
        yield f"files: {', '.join(self.files)}"

    __str__, __rich_console__ = plain_text, rich_parts
    to_dict, to_markdown = as_dict, markdown


def c_package(
    source: ExportReport | str | os.PathLike, folder: str | os.PathLike, *,
    inputs: dict[str, np.ndarray] | np.ndarray | None = None, name: str = "model",
) -> CPackage:
    """Write a .tflite file as C sources that TFLite Micro executes, with a test of its own.

    The model as an array aligned to 16 bytes, a resolver with just its operators, the size of the
    arena, one example with the output that TFLite Micro's interpreter gives for it here, a main
    that checks the example on the device, and a CMakeLists.txt.

    Args:
        source: what `export(..., target="tflm")` returned, or the path of such a file.
        folder: where to write; made if it is missing. Files of the same names are replaced.
        inputs: the example, {input name: array [1, ...]} of real values, or one array; the first
            is taken of more. Without: seeded random numbers over the inputs' whole range.
        name: of files and C identifiers.
    Returns:
        `CPackage`.
    Raises:
        ValueError: a damaged or sparse-encoded file, an operator that TFLite Micro does not have,
            state that a main cannot set up, wrong inputs, or a name that is no C identifier.
        RuntimeError: the interpreter is not installed, or it refuses the file.
        OSError: the file cannot be read, or the folder cannot be written.

    Example:
        >>> import keras, tempfile
        >>> from tflite_export import export
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> with tempfile.TemporaryDirectory() as made:
        ...     report = export(model, f"{made}/model.tflite", target="tflm")
        ...     package = c_package(report, f"{made}/firmware")
        >>> package.operators, package.files[0]
        (('FULLY_CONNECTED',), 'model.h')
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(
            f"name={name!r}: expected small letters, digits and _, as a C identifier and file name"
        )
    path = source.path if isinstance(source, ExportReport) else source
    content = _checked(Path(path).read_bytes())
    if not micro.installed():
        raise RuntimeError(f"a C package needs the arena and an expected output: {micro.MISSING}")
    given = vector.example(content, inputs)
    expected = micro.execute(content, given)
    measured = micro.arena_bytes(content)
    arena = measured + measured // 10 + _scratch(Graph(content))
    arena = -(-arena // _KIB) * _KIB
    operators = used(Graph(content))
    names = {
        "name": name, "guard": name.upper(), "camel": name.title().replace("_", ""),
        "origin": f"A model of {len(content):,} bytes, written by tflite_export.c_package.",
    }
    files = {
        f"{name}.h": c_sources.MODEL_H.substitute(
            names, measured=measured, margin=arena - measured, arena=arena
        ),
        f"{name}.c": c_sources.MODEL_C.substitute(names, bytes=c_sources.array(content)),
        f"{name}_operators.h": c_sources.OPERATORS_H.substitute(
            names, count=len(operators), adds="\n".join(
                f"  TF_LITE_ENSURE_STATUS(resolver.{resolver_method(operator)}());"
                for operator in operators
            )
        ),
        f"{name}_test_vector.h": c_sources.VECTOR_H.substitute(
            names, inputs=len(given), outputs=len(expected)
        ),
        f"{name}_test_vector.c": vector.written(names, given, expected),
        "main.cc": c_sources.MAIN.substitute(names),
        "CMakeLists.txt": c_sources.CMAKE.substitute(names),
    }
    os.makedirs(folder, exist_ok=True)
    with reserved(*(Path(folder) / file for file in files)) as place:
        place.commit(*(text.encode() for text in files.values()))
    return CPackage(os.fspath(folder), tuple(files), operators, arena, measured)


def _checked(content: bytes) -> bytes:
    """The file with aligned buffers."""
    _, sparse = densified(content)
    if sparse:
        raise ValueError(
            f"the file has sparse-encoded weights ({sparse[0]}), which TFLite Micro does not read; "
            "export the model with target='tflm'"
        )
    graph = Graph(content)
    missing = unknown(graph)
    if missing:
        raise ValueError(
            f"TFLite Micro has no operator {', '.join(missing)}; export the model with "
            "target='tflm'"
        )
    if "VAR_HANDLE" in used(graph):
        raise ValueError(
            "the model keeps state in resource variables, which the generated main does not set "
            "up; export a model without them"
        )
    return aligned(graph)


def _scratch(graph: Graph) -> int:
    """Bytes that optimised kernels take beside the tensors: columns of the largest filter."""
    ops = schema().BuiltinOperator
    largest = 0
    for number in range(len(graph.model.subgraphs)):
        for operator in graph.operators(number):
            code = graph.code(operator)
            if code in (ops.CONV_2D, ops.DEPTHWISE_CONV_2D, ops.TRANSPOSE_CONV):
                shape = [int(n) for n in graph.tensor(number, int(operator.inputs[1])).shape]
                largest = max(largest, int(np.prod(shape[1:])))
    return _SCRATCH_PER_WEIGHT * largest
