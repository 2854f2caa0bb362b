# SPDX-License-Identifier: Apache-2.0
"""A model as C sources for TFLite Micro: `c_package`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflite_export.api import c_sources, c_test_vector
from tflite_export.api.c_arena import reserved_arena
from tflite_export.devices.registry import TARGETS
from tflite_export.devices.tflm_operators import installed_month, needed, resolver_method, unknown
from tflite_export.flatbuffer.aligned_buffers import aligned
from tflite_export.flatbuffer.graph import ETHOS_U, Graph, read, used
from tflite_export.flatbuffer.signature_io import ports
from tflite_export.report.export_report import ExportReport
from tflite_export.runtime import tflm_interpreter
from tflite_export.sparsity.densify import densified
from tfprune.output import Table, as_dict, check_path, markdown, plain_text, reserved, rich_parts

__all__ = ["CPackage", "c_package"]

_RUN = "Run with the interpreter of TFLite Micro of %s, which has every operator of it."
_ONLY_THERE = (
    "Compiled by Vela for an Ethos-U, which alone can run it: there is no expected output, and the "
    "arena is not measured but taken from Vela's plan."
)
# What differs in the sources when an interpreter runs the file here, and when nothing does.
_MEASURED = {
    "expected": "what TFLite Micro's reference kernels make of it",
    "passing": "as expected",
    "passed": "passed",
    "settings": "",
}
_COMPILED = {
    "expected": "no expected output: only the Ethos-U runs the model",
    "passing": "there (none is expected: only the Ethos-U runs the model)",
    "passed": "ran; there is no expected output to compare with",
    "settings": " \\\n#     OPTIMIZED_KERNEL_DIR=cmsis_nn CO_PROCESSOR=ethos_u\n"
    "# Your board's code starts the driver of the Ethos-U before main runs the model.",
}


@dataclass(frozen=True)
class CPackage:
    """The result of `c_package`.

    Fields: `folder` and `files`, names inside it; `operators` of the model; `arena_bytes` that the
    sources reserve on 64 bits, of which `measured_bytes` were measured and the rest is margin;
    `cortex_m_bytes` that they reserve on 32 bits; `notes` on what the package has not.

    Example:
        >>> CPackage("firmware", ("model.h",), ("ADD",), 2048, 1024).files
        ('model.h',)
    """

    folder: str
    files: tuple[str, ...]
    operators: tuple[str, ...]
    arena_bytes: int
    measured_bytes: int
    cortex_m_bytes: int = 0
    notes: tuple[str, ...] = ()

    def parts(self) -> Iterable[str | tuple[str, ...] | Table]:
        """The printed parts: where it is, the arena, operators and files."""
        measured = (
            f", {self.measured_bytes:,} of them measured and the rest margin"
            if self.measured_bytes
            else ""
        )
        yield (
            f"{self.folder}: a model for TFLite Micro, with an arena of {self.cortex_m_bytes:,} "
            f"bytes on a Cortex-M, and of {self.arena_bytes:,} on 64 bits{measured}"
        )
        yield f"operators: {', '.join(self.operators)}"
        yield f"files: {', '.join(self.files)}"
        yield self.notes

    __str__, __rich_console__ = plain_text, rich_parts
    to_dict, to_markdown = as_dict, markdown


def c_package(
    source: ExportReport | str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    inputs: dict[str, np.ndarray] | list[np.ndarray] | np.ndarray | None = None,
    name: str = "model",
) -> CPackage:
    """Write a .tflite file as C sources that TFLite Micro executes, with a test of its own.

    The model as an array aligned to 16 bytes, a resolver with just its operators, the size of the
    arena, one example with the output that TFLite Micro's interpreter gives for it here, a main
    that checks the example on the device, and a CMakeLists.txt. A file that Vela compiled has no
    expected output: only the Ethos-U runs it, and the sources say so. All files are written, or
    none.

    Args:
        source: what `export(..., target="tflm")` returned, or the path of such a file; of an
            Ethos-U, Vela's file (`target("ethos-u55-128", compiled=path)`).
        folder: where to write; made if it is missing. Files of the same names are replaced.
        inputs: the example of real values: an array [1, ...], or a list or dict of arrays for
            several inputs; the first is taken of more. Without: seeded random numbers over the
            inputs' whole range.
        name: of files and C identifiers.
    Returns:
        `CPackage`.
    Raises:
        ValueError: a damaged or sparse-encoded file, an operator that TFLite Micro does not have,
            state that a main cannot set up, wrong or non-finite inputs or outputs, or a name that
            is no C identifier.
        RuntimeError: the interpreter is not installed, or it refuses the file.
        OSError: the file cannot be read, or the folder cannot be written.
        TypeError: `source` or `folder` is no path.

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
    folder = Path(check_path(folder, "the folder to write"))
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"cannot write {folder}: it is a file; pass the name of a folder")
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(
            f"name={name!r}: expected small letters, digits and _, as a C identifier and file name"
        )
    file = Path(check_path(_path(source), "a .tflite file")).read_bytes()
    content = _checked(file)
    graph = read(content)
    taken, given_back = ports(content)
    given = c_test_vector.example(content, inputs)
    kind, expected = _COMPILED, None
    notes: tuple[str, ...] = (_ONLY_THERE,)
    if ETHOS_U not in used(graph):
        if not tflm_interpreter.installed():
            raise RuntimeError(
                f"a C package needs the arena and an expected output: {tflm_interpreter.MISSING}"
            )
        kind, expected, notes = _MEASURED, tflm_interpreter.execute(content, given), ()
    arena = reserved_arena(content)
    operators = used(graph)
    before = "" if len(file) == len(content) else f" ({len(file):,} before buffers were aligned)"
    names = {
        "name": name,
        "guard": name.upper(),
        "camel": name.title().replace("_", ""),
        "origin": f"A model of {len(content):,} bytes{before}, written by tflite_export.c_package.",
        **kind,
    }
    told = [*map(str, (*taken, *given_back)), "", *(notes or [_RUN % installed_month()])]
    if graph.keeps_state():
        told.append("Keeps state between calls: interpreter.Reset() before each sequence.")
    if lately := needed(graph):
        told.append(f"Older TFLite Micro lacks what came in these months: {'; '.join(lately)}.")
    does = (
        "Runs the test vector through the model. Returns 0 if every output is "
        f"{kind['passing']}; else a message is printed and the number says which step failed."
    )
    files = {
        f"{name}.h": c_sources.MODEL_H.substitute(
            names,
            told=c_sources.comment(told),
            arena=arena.here,
            cortex_m=arena.cortex_m,
            arenas=c_sources.comment([arena.told]),
        ),
        f"{name}.c": c_sources.MODEL_C.substitute(names, bytes=c_sources.array(content)),
        f"{name}_operators.h": c_sources.OPERATORS_H.substitute(
            names,
            count=len(operators),
            adds="\n".join(
                f"  TF_LITE_ENSURE_STATUS(resolver.{resolver_method(operator)}());"
                for operator in operators
            ),
        ),
        f"{name}_test_vector.h": c_sources.VECTOR_H.substitute(
            names, inputs=len(taken), outputs=len(given_back)
        ),
        f"{name}_test_vector.c": c_test_vector.written(names, given, given_back, expected),
        "main.cc": c_sources.MAIN.substitute(names, does=c_sources.comment([does])),
        "CMakeLists.txt": c_sources.CMAKE.substitute(names),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(
            error.errno, f"cannot write {folder}: {error.strerror}; pass a folder that can be made"
        ) from error
    with reserved(*(folder / file for file in files)) as place:
        place.commit(*(text.encode() for text in files.values()))
    return CPackage(
        os.fspath(folder),
        tuple(files),
        operators,
        arena.here,
        arena.measured,
        arena.cortex_m,
        notes,
    )


def _path(source: ExportReport | str | os.PathLike[str]) -> str | os.PathLike[str]:
    if not isinstance(source, ExportReport):
        return source
    if not source.compiled and hasattr(TARGETS[source.target].options, "compiled"):
        raise ValueError(
            f"the file for {source.target} is not compiled yet, so its processor would not run it; "
            f"export it with target({source.target!r}, compiled=path), or pass the path of the "
            "file to run it on the CPU"
        )
    return source.compiled or source.path


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
