"""`python -m tflite_export model.keras model.tflite --quantize int8 --data x.npy`"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from tflite_export.exporter import export
from tflite_export.targets import QUANTIZE, TARGETS

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Export a saved model from the command line and print the report.

    Args:
        arguments: the command line without the program's name; `sys.argv` by default.
    Returns:
        The exit code: 0, or 1 after an error, which is printed in one line.

    Example:
        >>> main(["missing.keras", "out.tflite"])
        1
    """
    parser = argparse.ArgumentParser("python -m tflite_export", description=__doc__)
    parser.add_argument("model", help="a saved Keras 3 or tf_keras model (.keras, .h5)")
    parser.add_argument("path", help="the .tflite file to write")
    parser.add_argument("--target", choices=list(TARGETS), default="mobile")
    parser.add_argument("--quantize", choices=QUANTIZE, default="none")
    parser.add_argument("--sparse", choices=["auto", "yes", "no"], default="auto")
    parser.add_argument("--data", help="example inputs: a .npy file, or .npz with one array each")
    options = parser.parse_args(arguments)
    try:
        report = _export(options)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    from rich.console import Console

    Console().print(report)
    return 0


def _export(options):
    import tfprune

    data = None
    if options.data is not None:
        data = np.load(options.data)
        # An archive stays open until it is closed; its arrays go by the inputs' names.
        data = dict(data) if hasattr(data, "files") else data
    sparse = {"auto": "auto", "yes": True, "no": False}[options.sparse]
    return export(
        tfprune.load_model(options.model), options.path,
        target=options.target, quantize=options.quantize, sparse=sparse, data=data,
    )


if __name__ == "__main__":
    sys.exit(main())
