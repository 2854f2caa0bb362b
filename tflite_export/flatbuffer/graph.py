# SPDX-License-Identifier: Apache-2.0
"""A .tflite file as editable objects: constants, operators, and who reads what."""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ai_edge_litert.schema_py_generated import OperatorT, TensorT

__all__ = [
    "ETHOS_U",
    "Graph",
    "TFLM_DECODE",
    "number_type",
    "operands",
    "read",
    "schema",
    "text",
    "type_name",
    "used",
]

# Custom operators: what Vela compiles, and what TFLite Micro decodes pruned weights by.
ETHOS_U, TFLM_DECODE = "ethos-u", "TFLM_DECODE"


@functools.cache
def schema() -> ModuleType:
    """The generated flatbuffer classes; imported late because they are large."""
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


@functools.cache
def _dtypes() -> dict[int, np.dtype]:
    kinds = schema().TensorType
    return {
        kinds.FLOAT32: np.dtype("<f4"),
        kinds.FLOAT16: np.dtype("<f2"),
        kinds.INT8: np.dtype("i1"),
        kinds.INT16: np.dtype("<i2"),
        kinds.INT32: np.dtype("<i4"),
        kinds.INT64: np.dtype("<i8"),
    }


@functools.cache
def _builtin_names() -> dict[int, str]:
    return {
        code: name for name, code in vars(schema().BuiltinOperator).items() if isinstance(code, int)
    }


def number_type(kind: int) -> np.dtype:
    """The NumPy type of a TFLite tensor type.

    Raises:
        ValueError: a type that holds no plain numbers.
    """
    if kind not in _dtypes():
        raise ValueError(f"tensor type {kind} is no number type that is known here")
    return _dtypes()[kind]


def type_name(kind: int) -> str:
    """Name of a tensor type in small letters, such as "int8"."""
    names = {number: name for name, number in vars(schema().TensorType).items()}
    return str(names.get(kind, f"type {kind}")).lower()


class Graph:
    """Reads and edits the bytes of a .tflite file. Tensors are named by (subgraph, index)."""

    def __init__(self, content: bytes):
        from ai_edge_litert.tools import flatbuffer_utils

        try:
            self.model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
            _check_references(self.model)
        except (AttributeError, IndexError, TypeError, ValueError, struct.error) as error:
            raise ValueError(
                f"{len(content):,} bytes that are no .tflite file, or a damaged one ({error})"
            ) from error

    def content(self) -> bytes:
        """The file's bytes."""
        from ai_edge_litert.tools import flatbuffer_utils

        return bytes(flatbuffer_utils.convert_object_to_bytearray(self.model))

    def tensor(self, subgraph: int, index: int) -> TensorT:
        """The flatbuffer object of a tensor."""
        return self.model.subgraphs[subgraph].tensors[index]

    def name(self, subgraph: int, index: int) -> str:
        """The tensor's name, as text."""
        return text(self.tensor(subgraph, index).name)

    def shape(self, subgraph: int, index: int) -> tuple[int, ...]:
        """The tensor's shape, an open batch as 1; () where the file gives none."""
        shape = self.tensor(subgraph, int(index)).shape
        return () if shape is None else tuple(int(size) for size in shape)

    def constants(self) -> dict[tuple[int, int], np.ndarray]:
        """`numbers` of every tensor that has some."""
        found = {}
        for number, subgraph in enumerate(self.model.subgraphs):
            for index in range(len(subgraph.tensors)):
                array = self.numbers(number, index)
                if array is not None:
                    found[number, index] = array
        return found

    def numbers(self, subgraph: int, index: int) -> np.ndarray | None:
        """A stored dense tensor as it is stored (not dequantized), numbers of 4 bits as int8; None
        if it is computed, sparse-encoded, or of a type that is not known."""
        tensor, four = self.tensor(subgraph, index), schema().TensorType.INT4
        data = self.model.buffers[tensor.buffer].data
        dtype = np.dtype("i1") if tensor.type == four else _dtypes().get(tensor.type)
        if dtype is None or data is None or not len(data) or tensor.sparsity is not None:
            return None
        shape, array = self.shape(subgraph, index), np.frombuffer(bytes(data), dtype)
        return (_halves(array)[: math.prod(shape)] if tensor.type == four else array).reshape(shape)

    def constant(self, subgraph: int, index: int) -> np.ndarray:
        """`numbers` of a tensor that has some.

        Raises:
            ValueError: it has none.
        """
        array = self.numbers(subgraph, index)
        if array is None:
            raise ValueError(
                f"tensor {index} of graph {subgraph}, {self.name(subgraph, index)!r}, has no "
                "stored dense numbers"
            )
        return array

    def dequantized(self, subgraph: int, index: int, stored: np.ndarray) -> np.ndarray:
        """Real values of a stored constant: (stored - zero point) * scale, as float32."""
        scales = self.scales(subgraph, index)
        if not len(scales):
            return stored.astype(np.float32)
        table = self.tensor(subgraph, index).quantization
        scale = _along_channels(scales, table, stored.ndim)
        zero = self.zero_points(subgraph, index, stored.ndim)
        return ((stored.astype(np.float64) - zero) * scale).astype(np.float32)

    def scales(self, subgraph: int, index: int) -> np.ndarray:
        """The scales of a tensor, float32: one, one for each channel, or none."""
        table = self.tensor(subgraph, index).quantization
        known = None if table is None else table.scale
        return np.asarray([] if known is None else known, np.float32)

    def zero_points(self, subgraph: int, index: int, rank: int) -> np.ndarray | int:
        """The stored numbers that mean 0: one, or one for each channel, of a shape that broadcasts
        to the tensor's, which has `rank` axes."""
        table = self.tensor(subgraph, index).quantization
        if table is None or table.zeroPoint is None or not len(table.zeroPoint):
            return 0
        points = _along_channels(np.asarray(table.zeroPoint), table, rank)
        return int(points[0]) if len(table.zeroPoint) == 1 else points

    def operators(self, subgraph: int = 0) -> list[OperatorT]:
        """The operators of a subgraph, in order of execution."""
        return self.model.subgraphs[subgraph].operators or []

    def all_operators(self) -> Iterator[tuple[int, OperatorT]]:
        """(subgraph, operator) of every operator of the file."""
        for number in range(len(self.model.subgraphs)):
            yield from ((number, operator) for operator in self.operators(number))

    def code(self, operator) -> int:
        """The builtin code of an operator (old files keep it in a second, narrower field)."""
        entry = self.model.operatorCodes[operator.opcodeIndex]
        return max(entry.builtinCode, entry.deprecatedBuiltinCode)

    def readers(self, index: int, subgraph: int = 0) -> list[tuple[OperatorT, int]]:
        """(operator, input position) of every use of a tensor inside its subgraph."""
        return [
            (operator, position)
            for operator in self.operators(subgraph)
            for position, used in enumerate(operands(operator))
            if used == index
        ]

    def reading(self, kind: int) -> set[str]:
        """Names of the operators that read a stored tensor of a type."""
        return {
            self.operator_name(operator)
            for number, operator in self.all_operators()
            for index in operands(operator)
            if index >= 0
            and self.tensor(number, index).type == kind
            and self.bytes_of(number, index)
        }

    def shared(self, at: tuple[int, int]) -> bool:
        """Whether another tensor has its bytes in the same buffer."""
        buffer = self.tensor(*at).buffer
        tensors = (tensor for subgraph in self.model.subgraphs for tensor in subgraph.tensors)
        return sum(tensor.buffer == buffer for tensor in tensors) > 1

    def bytes_of(self, subgraph: int, index: int) -> bytes:
        """The stored bytes of a tensor; empty if it has no constant value."""
        data = self.model.buffers[self.tensor(subgraph, index).buffer].data
        return b"" if data is None else bytes(data)

    def new_buffer(self, content: bytes) -> int:
        """Index of a new buffer."""
        buffer = schema().BufferT()
        buffer.data = np.frombuffer(content, np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def new_tensor(
        self, subgraph: int, shape, kind: int, *, quantization=None, content: bytes | None = None
    ) -> int:
        """Index of a new tensor, a constant if it has content.

        Args:
            subgraph: where it is added.
            shape, kind, quantization: as in the file's own tensors.
            content: its bytes.
        """
        tensor = schema().TensorT()
        tensor.shape, tensor.type, tensor.quantization = list(shape), kind, quantization
        tensor.buffer = 0 if content is None else self.new_buffer(content)
        tensors = self.model.subgraphs[subgraph].tensors
        tensors.append(tensor)
        return len(tensors) - 1

    def new_operator(
        self, name: str, inputs, outputs, *, version: int = 1, like: OperatorT | None = None
    ) -> OperatorT:
        """An operator that is in no subgraph yet.

        Args:
            name: of a builtin operator, e.g. "QUANTIZE".
            inputs, outputs: indices of tensors.
            version: of the operator.
            like: has the options, else it gets none.
        """
        made = schema().OperatorT()
        made.opcodeIndex = self.operator_code(getattr(schema().BuiltinOperator, name), version)
        made.inputs, made.outputs = [int(i) for i in inputs], [int(i) for i in outputs]
        if like is not None:
            made.builtinOptionsType, made.builtinOptions = (
                like.builtinOptionsType,
                like.builtinOptions,
            )
        return made

    def custom_name(self, operator) -> str:
        """The name of a custom operator, "" for a builtin one."""
        return text(self.model.operatorCodes[operator.opcodeIndex].customCode)

    def operator_name(self, operator) -> str:
        """The name of an operator, e.g. "CONV_2D", or that of a custom one."""
        code = self.code(operator)
        return self.custom_name(operator) or _builtin_names().get(code, f"operator {code}")

    def keeps_state(self) -> bool:
        """Whether a tensor keeps its value from one call to the next."""
        return any(tensor.isVariable for graph in self.model.subgraphs for tensor in graph.tensors)

    def custom_code(self, name: str) -> int:
        """Index of the table entry for a custom operator, added if it is not there."""
        fb = schema()
        for index, entry in enumerate(self.model.operatorCodes):
            if text(entry.customCode) == name:
                return index
        entry = fb.OperatorCodeT()
        entry.builtinCode = entry.deprecatedBuiltinCode = fb.BuiltinOperator.CUSTOM
        entry.customCode, entry.version = name, 1
        self.model.operatorCodes.append(entry)
        return len(self.model.operatorCodes) - 1

    def operator_code(self, builtin: int, version: int) -> int:
        """Index of the table entry for (builtin, version), added if it is not there."""
        for index, entry in enumerate(self.model.operatorCodes):
            same = max(entry.builtinCode, entry.deprecatedBuiltinCode) == builtin
            if same and entry.version == version:
                return index
        entry = schema().OperatorCodeT()
        entry.builtinCode = builtin
        entry.deprecatedBuiltinCode = min(builtin, 127)
        entry.version = version
        self.model.operatorCodes.append(entry)
        return len(self.model.operatorCodes) - 1


@functools.lru_cache(maxsize=2)
def read(content: bytes) -> Graph:
    """A `Graph` to look at: whoever asks for the same file gets the same one. What is to be edited
    is made by `Graph(content)`."""
    return Graph(content)


def used(graph: Graph) -> tuple[str, ...]:
    """Names of the operators of a file, each once, in alphabetical order."""
    return tuple(sorted({graph.operator_name(operator) for _, operator in graph.all_operators()}))


def operands(operator: OperatorT) -> list[int]:
    """Indices of the tensors that an operator reads; -1 stands for one that is not given."""
    return [] if operator.inputs is None else [int(index) for index in operator.inputs]


def _along_channels(numbers: np.ndarray, table, rank: int) -> np.ndarray:
    """Numbers of a quantization table, in the shape in which they meet a tensor of `rank` axes."""
    if numbers.size == 1:
        return numbers
    side = [1] * rank
    # Some writers give a bias the axis of its kernel. A vector has only one.
    side[0 if rank == 1 else table.quantizedDimension or 0] = -1
    return numbers.reshape(side)


def _halves(pairs: np.ndarray) -> np.ndarray:
    """Two numbers of 4 bits in each byte, the first in the lower bits -> int8."""
    return np.stack([pairs << 4, pairs], axis=1).reshape(-1) >> 4


def _check_references(model) -> None:
    """Raise IndexError where something refers to what is not there."""
    if not model.subgraphs:
        raise IndexError("no subgraph")
    for subgraph in model.subgraphs:
        tensors, operators = subgraph.tensors or [], subgraph.operators or []
        used = [
            *(subgraph.inputs if subgraph.inputs is not None else []),
            *(subgraph.outputs if subgraph.outputs is not None else []),
        ]
        for operator in operators:
            model.operatorCodes[operator.opcodeIndex]
            for indices in (operator.inputs, operator.outputs):
                # -1 stands for an optional input that is not given.
                used += [] if indices is None else [i for i in indices if i != -1]
        if any(not 0 <= index < len(tensors) for index in used):
            raise IndexError("an operator refers to a tensor that is not there")
        for tensor in tensors:
            model.buffers[tensor.buffer]


def text(name: bytes | str | None) -> str:
    """A string of a file, which may be missing or hold bytes that are no text."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name or "")
