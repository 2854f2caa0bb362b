# SPDX-License-Identifier: Apache-2.0
"""The types of a file's inputs and outputs that are asked for."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["IOTypes", "IO_TYPES"]

IO_TYPES = ("float32", "int8", "uint8", "int16")
_EIGHT = ("float32", "int8", "uint8")
# By number format; the others leave inputs and outputs in float32.
_POSSIBLE = {"int8": _EIGHT, "int4": _EIGHT, "int16x8": ("float32", "int16")}


@dataclass(frozen=True)
class IOTypes:
    """The types of a file's inputs and outputs where the Keras model has real numbers.

    Fields: `input_type`, `output_type` = "float32", "int8", "uint8" (what cameras give) or "int16",
    or None for what the target takes by default: float32 on phones, the integers of the number
    format on the others. Integers are converted exactly: uint8 is int8 plus 128.

    Example:
        >>> IOTypes(input_type="uint8").resolved("int8", integer=True)
        IOTypes(input_type='uint8', output_type='int8')
        >>> IOTypes("uint8").resolved("int16x8", integer=True)
        Traceback (most recent call last):
        ValueError: input_type='uint8' needs quantize='int8' or 'int4'; 'int16x8' has float32, int16
    """

    input_type: str | None = None
    output_type: str | None = None

    def __post_init__(self):
        for name, value in self.chosen().items():
            # TensorFlow's and NumPy's types are equal to their names, but no text.
            if not isinstance(value, str) or value not in IO_TYPES:
                raise ValueError(
                    f"{name}={value!r}: expected one of {', '.join(map(repr, IO_TYPES))}, or None"
                )

    def chosen(self) -> dict[str, str]:
        """{"input_type" or "output_type": type} of what is not left to the target."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def resolved(self, quantize: str, *, integer: bool) -> IOTypes:
        """With the types of a number format where they were left to the target.

        Args:
            quantize: the number format.
            integer: whether the target takes and returns integers by default.
        Raises:
            ValueError: a type that files of this format cannot have.
        """
        possible = _POSSIBLE.get(quantize, ("float32",))
        for name, value in self.chosen().items():
            if value not in possible:
                others = [repr(form) for form, types in _POSSIBLE.items() if value in types]
                raise ValueError(
                    f"{name}={value!r} needs quantize={' or '.join(others)}; {quantize!r} has "
                    f"{', '.join(possible)}"
                )
        usual = "float32"
        if integer and quantize in _POSSIBLE:
            usual = "int16" if quantize == "int16x8" else "int8"
        return IOTypes(self.input_type or usual, self.output_type or usual)
