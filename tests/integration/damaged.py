# SPDX-License-Identifier: Apache-2.0
"""Small files of every encoding, and ways to damage them; all from seeds."""

import numpy as np

# What turns up in damaged counts, offsets and indices.
_NUMBERS = (0, 1, 2, 3, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1)


def files():
    """{name: bytes} of valid files: dense, CSR, blocks, int8, float16, bitmaps, a loop."""
    # Late: the processes that only read files need no Keras.
    import export_models as models

    from tflite_export import target
    from tflite_export.devices.target import ExportContext
    from tflite_export.sparsity.encode import encode

    mlp, cnn = models.mlp("keras", 0.9, blocks=True), models.cnn("tf_keras", 0.9)
    images = models.examples(20, 12, 12, 2)
    dense, convolutions = _dense(mlp, models.examples(1, 64)), _dense(cnn, images)
    int8 = _dense(cnn, images, "int8", "tflm")
    micro = target("tflm")
    return {
        "dense": dense,
        "blocks": encode(dense, "none").content,
        "csr": encode(convolutions, "none").content,
        "int8": encode(int8, "int8").content,
        "float16": _dense(mlp, models.examples(1, 64), "float16"),
        "bitmaps": micro.pack(int8, ExportContext("int8", {}, {}, options=micro.options)).content,
        "loop": _dense(models.recurrent("keras"), models.examples(1, 5, 8)),
    }


def _dense(model, data, quantize="none", name="mobile-sparse-f32"):
    from tflite_export import target
    from tflite_export.convert.converter import convert
    from tflite_export.convert.signature import signature

    known = signature(model)
    inputs = {known.names[0]: data}
    return convert(model, known, target=target(name), quantize=quantize, inputs=inputs).content


def damaged(content, seed):
    """One damaged copy: cut off, overwritten, flipped, moved, or with odd numbers in it."""
    generator = np.random.default_rng(seed)
    data = bytearray(content)
    kind = seed % 6
    if kind == 0:
        return bytes(data[: generator.integers(len(data))])
    if kind == 1:
        for _ in range(generator.integers(1, 9)):
            data[generator.integers(len(data))] ^= 1 << generator.integers(8)
        return bytes(data)
    if kind == 2:
        start = generator.integers(len(data))
        size = generator.integers(1, 65)
        data[start : start + size] = generator.bytes(len(data[start : start + size]))
        return bytes(data)
    if kind == 3:
        start, end = sorted(generator.integers(len(data), size=2))
        del data[start:end]
        return bytes(data)
    # Tables are near the ends of a file, weights in its middle: half of the damage goes there.
    for _ in range(generator.integers(1, 5)):
        reach = min(len(data) - 4, 2048 if kind == 4 else len(data))
        place = int(generator.integers(reach)) // 4 * 4
        place = place if generator.random() < 0.5 else len(data) - 4 - place
        number = _NUMBERS[generator.integers(len(_NUMBERS))]
        data[place : place + 4] = int(number).to_bytes(4, "little")
    return bytes(data)
