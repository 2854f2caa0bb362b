# SPDX-License-Identifier: Apache-2.0
"""`python -m tflite_export model.keras model.tflite --target tflm --data x.npy` exports;
`python -m tflite_export inspect model.tflite` shows what is in a file."""

from __future__ import annotations

import argparse
import ast
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tflite_export
import tfprune
from tflite_export.devices.io_types import IO_TYPES
from tflite_export.devices.registry import target, targets
from tflite_export.devices.target import QUANTIZE

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Export a saved model, or inspect a file, from the command line and print the report.

    Args:
        arguments: the command line without the program's name; `sys.argv` by default.
    Returns:
        The exit code: 0, or 1 after an error, which is printed in one line.

    Example:
        >>> main(["missing.keras", "out.tflite"])
        1
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["inspect"]:
        return _inspect(arguments[1:])
    parser = argparse.ArgumentParser("python -m tflite_export", description=__doc__)
    parser.add_argument("model", help="a saved Keras 3 or tf_keras model (.keras, .h5)")
    parser.add_argument(
        "path",
        nargs="?",
        help="the .tflite file to write; the model's name with this ending by default",
    )
    parser.add_argument("--target", choices=targets(), default="mobile")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the target; may be given several times",
    )
    for side in ("input", "output"):
        parser.add_argument(
            f"--{side}-type",
            choices=IO_TYPES,
            help=f"of quantized files; the same as --option {side}_type=...",
        )
    parser.add_argument(
        "--latency",
        action="store_true",
        help="measure LiteRT's latency on this computer; the same as --option latency=True",
    )
    parser.add_argument("--quantize", choices=QUANTIZE, default="none")
    parser.add_argument("--sparse", choices=["auto", "yes", "no"], default="auto")
    parser.add_argument("--data", help="example inputs: a .npy file, or .npz with one array each")
    _add_format(parser)
    # Left out or not, the path may stand behind options.
    options = parser.parse_intermixed_args(arguments)
    return _reported(lambda: _export(options), options.format)


def _inspect(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m tflite_export inspect", description=__doc__)
    parser.add_argument("file", help="a .tflite file, whoever wrote it")
    _add_format(parser)
    options = parser.parse_args(arguments)
    return _reported(lambda: tflite_export.inspect(options.file), options.format)


def _add_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format", choices=["table", "json", "markdown"], default="table", help="of the report"
    )


def _reported(make: Callable[[], Any], form: str) -> int:
    try:
        report = make()
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _print(report, form)
    return 0


def _print(report, form: str) -> None:
    if form == "json":
        print(json.dumps(report.to_dict(), indent=2))
    elif form == "markdown":
        print(report.to_markdown(), end="")
    else:
        from rich.console import Console

        Console().print(report)


def _export(options):
    settings = [*options.option, *(["latency=True"] if options.latency else [])]
    for name in ("input_type", "output_type"):
        settings += [f"{name}={kind}"] if (kind := getattr(options, name)) else []
    chosen = target(options.target, **dict(map(_setting, settings)))
    data = None if options.data is None else _arrays(options.data)
    sparse: str | bool = "auto" if options.sparse == "auto" else options.sparse == "yes"
    path = options.path or Path(options.model).with_suffix(".tflite")
    return tflite_export.export(
        tfprune.load_model(options.model),
        path,
        target=chosen,
        quantize=options.quantize,
        sparse=sparse,
        data=data,
    )


def _arrays(path: str) -> np.ndarray | dict[str, np.ndarray]:
    try:
        data = np.load(path)
        # An archive stays open until it is closed; its arrays go by the inputs' names.
        return dict(data) if hasattr(data, "files") else data
    except (EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"--data {path}: expected a .npy file of numbers, or an .npz of such ({error})"
        ) from error


def _setting(text: str) -> tuple[str, object]:
    """ "ram_bytes=65536" -> ("ram_bytes", 65536); what is no number or literal stays text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--option {text!r}: expected NAME=VALUE, such as ram_bytes=65536")
    try:
        return name, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return name, value


if __name__ == "__main__":
    sys.exit(main())
