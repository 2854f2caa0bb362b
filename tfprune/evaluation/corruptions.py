# SPDX-License-Identifier: Apache-2.0
"""Images as a camera, the weather or a file might have spoiled them: the door to corruptions."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from numbers import Integral

import numpy as np

from tfprune.evaluation import corruption_blurs as blurs
from tfprune.evaluation import corruption_digital as digital
from tfprune.evaluation import corruption_noises as noises
from tfprune.evaluation import corruption_weather as weather
from tfprune.evaluation.corruption import Corruption
from tfprune.evaluation.draws import Draws
from tfprune.evaluation.optional import Image, ndimage
from tfprune.output.argument_checks import check_kind

REGISTRY = {
    one.name: one
    for one in (
        noises.gaussian_noise,
        noises.shot_noise,
        noises.impulse_noise,
        blurs.defocus_blur,
        blurs.glass_blur,
        blurs.motion_blur,
        blurs.zoom_blur,
        weather.snow,
        weather.frost,
        weather.fog,
        digital.brightness,
        digital.contrast,
        digital.elastic_transform,
        digital.pixelate,
        digital.jpeg_compression,
        noises.speckle_noise,
        blurs.gaussian_blur,
        weather.spatter,
        digital.saturate,
    )
}
CORRUPTIONS: tuple[str, ...] = tuple(REGISTRY)

_BLOCK = 1 << 19
"""How many values are worked on at a time; the result does not depend on it."""


def corrupt(
    images: np.ndarray,
    name: str,
    severity: int = 3,
    *,
    seed: int = 0,
    indices: Sequence[int] | np.ndarray | None = None,
) -> np.ndarray:
    """The images under one of ImageNet-C's corruptions.

    Parameters are CIFAR-10-C's where the shorter side is at most 32 pixels, ImageNet-C's from 224
    on, and between them linear in the logarithm of the side. Results are rounded, where the
    published sets were cut off (half a level darker); the texture of frost is made, where those
    cut photographs. What else differs is said in the docstring of each corruption, in
    `tfprune.evaluation.corruption_noises`, `_blurs`, `_weather` and `_digital`.
    Gray images keep their one channel; "saturate" leaves them as they are.

    Args:
        images: uint8 [n, height, width, 1 or 3], 0 black and 255 white.
        name: one of `tfprune.evaluation.corruptions.CORRUPTIONS`: the 15 of the benchmark, and
            "speckle_noise", "gaussian_blur", "spatter" and "saturate".
        severity: 1 (weak) to 5 (strong).
        seed: fixes the random numbers, with the name, the severity and an image's index.
        indices: the images' places in the data set, [n]; None: 0 to n - 1. So a part of a data
            set, in any order, gets the same pixels as it has in the whole.

    Returns:
        New images, uint8 of the same shape.

    Raises:
        TypeError: images that are not uint8; a severity, seed or index that is no integer.
        ValueError: another shape, too few pixels, an unknown name, a severity out of 1 to 5.
        ImportError: SciPy or Pillow is missing: `pip install "tfprune[evaluation]"`.

    Paper: Hendrycks and Dietterich 2019, Benchmarking Neural Network Robustness to Common
    Corruptions and Perturbations.

    Example:
        >>> images = np.full((2, 32, 32, 3), 128, np.uint8)
        >>> foggy = corrupt(images, "fog", 5)
        >>> foggy.shape, foggy.dtype
        ((2, 32, 32, 3), dtype('uint8'))
        >>> bool((corrupt(images[1:], "fog", 5, indices=[1]) == foggy[1:]).all())
        True
    """
    ndimage.load(), Image.load()  # before hours of work
    images = _checked_images(images)
    one = _checked_corruption(name, severity, images.shape)
    check_kind("seed", seed, Integral, "an integer")
    places = _checked_indices(indices, len(images))
    parameters = one.parameters(severity, min(images.shape[1:3]))
    result = np.empty(images.shape, np.uint8)
    count = max(1, _BLOCK // math.prod(images.shape[1:]))
    for start in range(0, len(images), count):
        block = slice(start, start + count)
        draws = Draws(f"{seed} {name} {severity}", places[block])
        spoiled = one.apply(images[block].astype(np.float32) / 255, parameters, draws)
        result[block] = np.rint(np.clip(spoiled, 0, 1) * 255)
    return result


def _checked_images(images: np.ndarray) -> np.ndarray:
    images = np.asarray(images)
    told = f"images of {images.dtype} {list(images.shape)}"
    if images.dtype != np.uint8:
        raise TypeError(
            f"{told}: expected uint8 from 0 to 255. Where white is 1.0, pass "
            "np.rint(images * 255).astype('uint8'), and divide the result by 255."
        )
    if images.ndim != 4:
        raise ValueError(
            f"{told}: expected [n, height, width, channels]. One image is images[None]"
            ", gray ones without an axis for the channel are images[..., None]."
        )
    if images.shape[-1] not in (1, 3):
        raise ValueError(
            f"{told}: expected 1 channel (gray) or 3 (red, green, blue) as the last "
            "axis. Take those channels, and move their axis to the end."
        )
    return images


def _checked_corruption(name: str, severity: int, shape: tuple[int, ...]) -> Corruption:
    check_kind("name", name, str, "the name of a corruption, such as 'fog'")
    if name not in REGISTRY:
        near = (
            [one for one in REGISTRY if name.lower() in one]
            or difflib.get_close_matches(name, REGISTRY)
            or REGISTRY
        )
        raise ValueError(
            f"No corruption {name!r}; there {'is' if len(near) == 1 else 'are'} {', '.join(near)}."
        )
    check_kind("severity", severity, Integral, "an integer from 1 to 5")
    if not 1 <= severity <= 5:
        raise ValueError(f"severity={severity!r} of {name!r}: expected 1 (weak) to 5 (strong).")
    least = REGISTRY[name].least
    if min(shape[1:3]) < least:
        raise ValueError(
            f"images of {shape[1]}x{shape[2]} pixels: {name!r} needs at least "
            f"{least}x{least}. Leave it out, or make the images larger."
        )
    return REGISTRY[name]


def _checked_indices(indices: Sequence[int] | np.ndarray | None, count: int) -> np.ndarray:
    places = np.arange(count) if indices is None else np.asarray(indices)
    if places.dtype.kind not in "iu" and places.size:
        raise TypeError(
            f"indices of {places.dtype}: expected integers, an image's place in the data set each."
        )
    if places.shape != (count,) or count and places.min() < 0:
        raise ValueError(
            f"indices of shape {list(places.shape)} for {count} images: expected one "
            "for each, from 0 on."
        )
    return places
