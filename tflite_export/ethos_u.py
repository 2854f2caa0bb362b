"""Arm's Ethos-U accelerators: dense int8 files, compiled by Vela."""

from __future__ import annotations

from tflite_export.device import Case, Measured, Packed, Quantity, Target
from tflite_export.runtime import predict

__all__ = ["ACCELERATORS", "ethos_u", "measure", "pack"]

ACCELERATORS = (
    "ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256", "ethos-u65-256",
    "ethos-u65-512", "ethos-u85-128", "ethos-u85-256", "ethos-u85-512", "ethos-u85-1024",
    "ethos-u85-2048",
)
# DENSIFY is an error in Vela, and a sparse FULLY_CONNECTED is compiled to garbage.
_NO_SPARSE = (
    "Vela takes dense int8 weights only; it packs the zeros itself, so they reduce flash traffic "
    "there"
)


def ethos_u(accelerator: str) -> Target:
    """The target of one accelerator configuration.

    Args:
        accelerator: one of `ACCELERATORS`, as Vela names them.

    Example:
        >>> ethos_u("ethos-u55-128").quantize
        ('int8',)
    """
    return Target(
        name=accelerator, runtime="Ethos-U through Vela", quantize=("int8",), integer_io=True,
        no_sparse=_NO_SPARSE, pack=pack, run=predict, measure=measure,
    )


def pack(dense: bytes, case: Case) -> Packed:
    """The dense file: Vela packs the zeros."""
    return Packed(dense, {}, (_NO_SPARSE,))


def measure(content: bytes, options=None) -> Measured:
    """The size of a file.

    Example:
        >>> measure(b"abc").to_dict()
        {'file': (3, 'bytes')}
    """
    return Measured((Quantity("file", len(content), "bytes"),))
