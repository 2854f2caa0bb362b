# SPDX-License-Identifier: Apache-2.0
"""A Keras model of either kind -> the bytes of a dense .tflite file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from tflite_export.convert import int4, recurrent_steps
from tflite_export.convert.equivalent_layers import fused
from tflite_export.convert.file_io import in_order, integers_outside, signed, unsigned
from tflite_export.convert.integer_grids import widened
from tflite_export.convert.integer_loops import joined
from tflite_export.convert.representative_data import spread
from tflite_export.convert.signature import Signature, family, flattened, keys_of, layers_of
from tflite_export.convert.tracing import standing_in, unrolled
from tflite_export.devices.io_types import IOTypes
from tflite_export.devices.target import Target
from tflite_export.flatbuffer.graph import Graph
from tflite_export.flatbuffer.layer_origins import Origins, origins, with_layers
from tflite_export.runtime.suppress_stderr import suppress_stderr

__all__ = ["CALIBRATED", "Converted", "convert", "forward"]

CALIBRATED = ("int8", "int16x8", "int4")
_CALIBRATION = 200


@dataclass(frozen=True)
class Converted:
    """Bytes of the file, whether its batch axis is open ("dynamic") or fixed ("1"), names of its
    outputs in Keras' order, whether recurrent loops were unrolled, and the layers that its
    tensors' names speak of."""

    content: bytes
    batch: str
    outputs: tuple[str, ...]
    unrolled: bool = False
    origins: Origins = field(default_factory=Origins)


def forward(model, signature: Signature) -> Callable[[dict], dict]:
    """The model as a function {input name: tensor} -> {output name: tensor}, inference mode.

    The outputs come in Keras' order. A single one is named "output", several "output_0", ..., a
    dict keeps its keys.
    """
    import tensorflow as tf

    def run(tensors: dict) -> dict:
        result = model(signature.pack(tensors), training=False)
        flat, positions = flattened(model, result)
        names = keys_of(positions) or (
            ["output"] if len(flat) == 1 else [f"output_{i}" for i in range(len(flat))]
        )
        for name, y in zip(names, flat, strict=True):
            if not hasattr(y, "dtype"):
                error = ValueError(
                    f"{name!r} of the model {model.name!r} is {y!r}, expected a tensor; leave it "
                    "out of what the model returns"
                )
                # Else AutoGraph writes lines of code before it.
                vars(error)["ag_pass_through"] = True
                raise error
        # Outputs of a mixed precision model are half precision even where it computes in float32.
        return {
            name: tf.identity(tf.cast(y, tf.float32) if y.dtype.is_floating else y)
            for name, y in zip(names, flat, strict=True)
        }

    return run


def convert(
    model, signature: Signature, *, target: Target, quantize: str, inputs: dict[str, np.ndarray]
) -> Converted:
    """Convert with TensorFlow's converter, built-in operators only; then by ai-edge-quantizer what
    is to be int4.

    Inputs and outputs lie in the order of `model.inputs` and `model.outputs`; those of a subclassed
    model as Keras counts what it takes and returns (`flattened`). The batch axis stays open where
    the target and the graph allow it. Recurrent layers need a fixed batch of 1: the converter
    cannot lower their loops otherwise.

    Args:
        model: plain (stripped) model of either Keras.
        signature: its inputs.
        target, quantize: what the file is for, and its number format.
        inputs: examples; they calibrate int8, int16x8 and int4, and fix open axes where that is
            needed.
    Raises:
        RuntimeError: the converter or quantizer refused the model; its message is in the error.
        ValueError: types of inputs and outputs that the file cannot have.
    """
    made = _made(model, signature, target=target, quantize=quantize, inputs=inputs)
    content = in_order(made.content, signature.names, made.outputs)
    io_types = target.io_types.resolved(quantize, integer=target.integer_io)
    return replace(made, content=unsigned(content, io_types))


def _made(
    model, signature: Signature, *, target: Target, quantize: str, inputs: dict[str, np.ndarray]
) -> Converted:
    """The file in whatever order."""
    if quantize != "int4":
        return _converted(model, signature, target=target, quantize=quantize, inputs=inputs)
    try:
        return _four_bits(model, signature, target, inputs)
    except RuntimeError:
        if not target.dynamic_batch:
            raise
    # Its calibration cannot begin with every open axis.
    return _four_bits(model, signature, replace(target, dynamic_batch=False), inputs)


def _four_bits(
    model, signature: Signature, target: Target, inputs: dict[str, np.ndarray]
) -> Converted:
    made = _converted(model, signature, target=target, quantize="int4", inputs=inputs)
    io_types = target.io_types.resolved("int4", integer=target.integer_io)
    return replace(
        made,
        content=int4.quantized(
            made.content,
            target.four_bits,
            io_types=io_types,
            calibration=spread(inputs, _CALIBRATION),
        ),
    )


def _converted(
    model, signature: Signature, *, target: Target, quantize: str, inputs: dict[str, np.ndarray]
) -> Converted:
    """As TensorFlow's converter makes it: int4 as float32."""
    call = forward(model, signature)
    if target.dynamic_batch:
        with suppress_stderr(), standing_in(model):
            traced = _trace(call, signature, None)
        if not _has_loop(traced):
            try:
                return replace(
                    _run(traced, target, quantize, inputs), origins=_origins(model, traced)
                )
            except Exception:
                pass  # If that fails as well, its error is the one to show.
    # Float32 files keep a loop, which has no state between calls; of int16 there is no fused LSTM.
    ways = (fused,) if quantize == "int8" else ()
    with suppress_stderr(), standing_in(model, *ways):
        traced = _trace(call, signature, inputs)
    try:
        if quantize in CALIBRATED and _has_loop(traced) and _keeps_loop(traced, target):
            if target.loops and quantize == "int8":  # TFLite Micro gathers no rows of int16
                made = _looped(
                    model, call, signature, target=target, quantize=quantize, inputs=inputs
                )
                if made is not None:
                    return replace(made, batch="1", origins=_origins(model, traced))
            with suppress_stderr(), standing_in(model), unrolled(model):
                traced = _trace(call, signature, inputs)
            if _has_loop(traced):
                raise ValueError("error: a loop cannot be calibrated, and it cannot be unrolled")
            return replace(
                _run(traced, target, quantize, inputs),
                batch="1",
                unrolled=True,
                origins=_origins(model, traced),
            )
        return replace(
            _run(traced, target, quantize, inputs), batch="1", origins=_origins(model, traced)
        )
    except Exception as error:
        raise RuntimeError(
            f"TensorFlow's converter refused {model.name!r} with quantize={quantize!r}: "
            f"{_summary(error).rstrip(': ')}{_refused_layers(error, model, traced, target)}"
        ) from error


def _origins(model, traced) -> Origins:
    ends = {}
    for name, tensor in traced.structured_outputs.items():
        node = tensor.op
        while node.type in ("Identity", "Cast"):
            node = node.inputs[0].op
        ends[name] = node.name
    return origins(layers_of(model), ends, numbered=family(model) == "keras")


def _refused_layers(error: Exception, model, traced, target: Target) -> str:
    """The layers of the operators that a converter's error names."""
    known = _origins(model, traced)
    found = [
        "LiteRT has no operator "
        + with_layers(name, (known.named(node.name) for node in _nodes(traced) if node.op == name))
        for name in dict.fromkeys(re.findall(r"'tf\.(\w+)' op", str(error)))
    ]
    lacking = dict.fromkeys(re.findall(r"not yet supported for op: '(\w+)'", str(error)))
    if lacking:
        found.append(known.blamed(Graph(_run(traced, target, "none", {}).content), lacking))
    return "".join(f"; {text}" for text in found)


def _looped(
    model, call, signature: Signature, *, target: Target, quantize: str, inputs: dict
) -> Converted | None:
    """The file with loops of integers: the model without its recurrent layers, and one step of
    each, are calibrated and converted by themselves. None where a layer cannot be cut out."""
    import tensorflow as tf

    specs = _specs(signature, inputs)
    rows = spread(inputs, _CALIBRATION)
    try:
        with suppress_stderr():
            cuts, watched = recurrent_steps.recorded(model, call, specs)
            main = recurrent_steps.cut_out(model, call, specs, cuts)
            if _has_loop(main):
                return None
            rowwise = [
                {
                    name: y.numpy()
                    for name, y in watched(
                        **{name: tf.constant(array[row : row + 1]) for name, array in rows.items()}
                    ).items()
                }
                for row in range(len(next(iter(rows.values()))))
            ]
    except recurrent_steps.Uncut:
        return None
    seen = {name: np.concatenate([found[name] for found in rowwise]) for name in rowwise[0]}
    given = {name: array for name, array in seen.items() if name.startswith("given")}
    # What only passes to a loop, or comes from one, the converter leaves in float32.
    floats = replace(target, io_types=IOTypes("float32", "float32"))
    made = _run(main, floats, quantize, {**rows, **given})
    integers = replace(target, integer_io=True, io_types=IOTypes())
    files = [
        _run(
            recurrent_steps.step_of(cut),
            integers,
            quantize,
            recurrent_steps.visited(cut, seen[f"taken_{n}"]),
        ).content
        for n, cut in enumerate(cuts)
    ]
    names = tuple(name for name in made.outputs if not name.startswith("taken"))
    content = joined(made.content, files, [cut.name for cut in cuts])
    io_types = target.io_types.resolved(quantize, integer=target.integer_io)
    return replace(made, content=integers_outside(content, io_types), outputs=names)


def _trace(
    call: Callable[[dict], dict], signature: Signature, inputs: dict[str, np.ndarray] | None
):
    """A concrete function: open batch without `inputs`, else batch 1 and the inputs' shape."""
    import tensorflow as tf

    specs = _specs(signature, inputs)
    return tf.function(lambda **tensors: call(tensors)).get_concrete_function(**specs)


def _specs(signature: Signature, inputs: dict[str, np.ndarray] | None) -> dict:
    import tensorflow as tf

    specs = {}
    for name, shape, dtype in zip(signature.names, signature.shapes, signature.dtypes, strict=True):
        if inputs is not None:
            shape = (1, *inputs[name].shape[1:])
        half = dtype in ("float16", "bfloat16")
        specs[name] = tf.TensorSpec(shape, "float32" if half else dtype, name=name)
    return specs


def _nodes(traced) -> list:
    graph = traced.graph.as_graph_def()
    return [*graph.node, *(n for function in graph.library.function for n in function.node_def)]


def _has_loop(traced) -> bool:
    return any(node.op == "TensorListReserve" for node in _nodes(traced))


def _keeps_loop(traced, target: Target) -> bool:
    """Whether the file would have a loop (some are fused to one operator): TensorFlow 2.21's
    calibrator dies of a segmentation fault on those, which nobody can catch."""
    graph = Graph(_run(traced, target, "none", {}).content)
    return len(graph.model.subgraphs) > 1


def _run(traced, target: Target, quantize: str, inputs: dict[str, np.ndarray]) -> Converted:
    import tensorflow as tf

    # The module holds the variables and nothing else. Holding the model instead, Keras 3 would
    # leave its variables unfrozen (the file computes with garbage), and tf_keras would trace
    # every layer again.
    module = tf.Module()
    module.variables_of_the_model = list(traced.graph.variables)
    with suppress_stderr():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], module)
        _configure(converter, target, quantize, inputs)
        content = widened(bytes(converter.convert()))
    return Converted(content, "dynamic", tuple(traced.structured_outputs))


def _configure(converter, target: Target, quantize: str, inputs: dict[str, np.ndarray]) -> None:
    import tensorflow as tf

    sets = tf.lite.OpsSet
    if quantize in ("none", "int4"):
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize not in CALIBRATED:
        return
    calibration = spread(inputs, _CALIBRATION)

    def representative():
        for row in range(len(next(iter(calibration.values())))):
            yield {name: array[row : row + 1] for name, array in calibration.items()}

    converter.representative_dataset = representative
    # There is no public switch.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = (
        not target.dense_per_channel
    )
    integer = (
        sets.TFLITE_BUILTINS_INT8
        if quantize == "int8"
        else sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    )
    # On a phone an operator without an integer kernel may stay in float; on the others not.
    converter.target_spec.supported_ops = (
        [integer] if target.integer_io else [integer, sets.TFLITE_BUILTINS]
    )
    io_types = target.io_types.resolved(quantize, integer=target.integer_io)
    converter.inference_input_type = tf.as_dtype(signed(io_types.input_type))
    converter.inference_output_type = tf.as_dtype(signed(io_types.output_type))


def _summary(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "error:" in line] or lines or [type(error).__name__]
    return " ".join(telling[:3])[:600]
