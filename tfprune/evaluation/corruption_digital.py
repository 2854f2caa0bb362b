# SPDX-License-Identifier: Apache-2.0
"""Corruptions by processing: light and color, distortion, coarse pixels, JPEG."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tfprune.evaluation.corruption import corruption
from tfprune.evaluation.draws import Draws
from tfprune.evaluation.optional import Image, ndimage

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


@corruption(small=(0.05, 0.10, 0.15, 0.20, 0.30), large=(0.1, 0.2, 0.3, 0.4, 0.5))
def brightness(images: np.ndarray, parameters: tuple, draws: Draws) -> np.ndarray:
    """More value at the same hue and saturation: x (v + shift) / v with v the largest channel."""
    (shift,) = parameters
    value = images.max(axis=-1, keepdims=True)
    lighter = np.minimum(value + np.float32(shift), 1)
    return np.where(value > 0, images * (lighter / np.where(value > 0, value, 1)), lighter)


@corruption(small=(0.75, 0.50, 0.40, 0.30, 0.15), large=(0.40, 0.30, 0.20, 0.10, 0.05))
def contrast(images: np.ndarray, parameters: tuple, draws: Draws) -> np.ndarray:
    """mean + factor (x - mean), with the mean of each channel of each image."""
    (factor,) = parameters
    # Each image by itself: how a sum is ordered must not depend on the images beside it.
    means = np.stack([image.mean(axis=(0, 1), keepdims=True) for image in images])
    return means + np.float32(factor) * (images - means)


@corruption(
    small=(
        (0, 0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    ),
    large=tuple(
        tuple(244 / 224 * part for part in row)
        for row in (
            (2, 0.7, 0.1),
            (2, 0.08, 0.2),
            (0.05, 0.01, 0.02),
            (0.07, 0.01, 0.02),
            (0.12, 0.01, 0.02),
        )
    ),
    least=3,
)
def elastic_transform(images: np.ndarray, parameters: tuple, draws: Draws) -> np.ndarray:
    """An affine distortion drawn from three points, then a smooth field of displacements.

    Parameters are parts of the shorter side: the size of the field, its smoothness, and how far
    a point moves. The published large set took them of 244 pixels for images of 224.
    """
    side = min(images.shape[1:3])
    size, smoothness, move = (part * side for part in parameters)
    grid = np.indices(images.shape[1:3], dtype=np.float32)
    images = _sampled(images, *_affine(grid, draws.uniform(-move, move, 3, 2)))
    field = ndimage.gaussian_filter(
        draws.uniform(-1, 1, 2, *images.shape[1:3]), (0, 0, smoothness, smoothness), truncate=3
    )
    return _sampled(images, *np.moveaxis(grid + np.float32(size) * field, 1, 0))


def _affine(grid: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Where each pixel comes from [rows or columns, n, height, width] if three points move."""
    height, width = grid.shape[1:]
    reach = min(height, width) // 3
    middle = np.array([height // 2, width // 2])
    points = middle + reach * np.array([[1, 1], [-1, 1], [-1, -1]])
    moved = np.concatenate([points + moves.astype(np.float64), np.ones((len(moves), 3, 1))], 2)
    back = np.linalg.solve(moved, np.broadcast_to(points.astype(float), (len(moves), 3, 2)))
    down, right, start = back.astype(np.float32)[..., np.newaxis, np.newaxis].swapaxes(0, 1)
    return np.moveaxis(down * grid[0] + right * grid[1] + start, 1, 0)


def _sampled(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Values between the pixels [n, height, width], linear; mirrored beyond the edges."""
    count, height, width, channels = images.shape
    pixels, image = images.reshape(count, -1, channels), np.arange(count)[:, None, None]
    (top, bottom, down), (left, right, across) = _between(rows, height), _between(columns, width)
    upper, lower = (
        (1 - across) * pixels[image, row * width + left]
        + across * pixels[image, row * width + right]
        for row in (top, bottom)
    )
    return (1 - down) * upper + down * lower


def _between(places: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two pixels beside each place, and the part [..., 1] of the second."""
    last = np.float32(size - 1)
    folded = last - np.abs(np.mod(places, 2 * last) - last)
    low = np.clip(folded.astype(np.int64), 0, size - 2)
    return low, low + 1, (folded - low).astype(np.float32)[..., np.newaxis]


@corruption(small=(0.95, 0.90, 0.85, 0.75, 0.65), large=(0.60, 0.50, 0.40, 0.30, 0.25), least=2)
def pixelate(images: np.ndarray, parameters: tuple, draws: Draws) -> np.ndarray:
    """Made smaller by that factor and large again, by the mean of the pixels that a box meets."""
    (factor,) = parameters
    height, width = images.shape[1:3]
    small = int(width * factor), int(height * factor)
    return _by_pillow(
        images,
        lambda picture: picture.resize(small, Image.Resampling.BOX).resize(
            (width, height), Image.Resampling.BOX
        ),
    )


@corruption(small=(80, 65, 58, 50, 40), large=(25, 18, 15, 10, 7))
def jpeg_compression(images: np.ndarray, parameters: tuple, draws: Draws) -> np.ndarray:
    """Through a JPEG file of that quality."""
    (quality,) = parameters

    def compressed(picture: Picture) -> Picture:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=round(quality))
        return Image.open(file)

    return _by_pillow(images, compressed)


def _by_pillow(images: np.ndarray, change: Callable[[Picture], Picture]) -> np.ndarray:
    result = np.empty_like(images)
    for image, pixels in zip(result, np.rint(images * 255).astype(np.uint8), strict=True):
        picture = Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])
        image[...] = np.asarray(change(picture), np.float32).reshape(image.shape)
    return result / 255


@corruption(
    small=((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    large=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
)
def saturate(images: np.ndarray, parameters: tuple, draws: Draws) -> np.ndarray:
    """Saturation times a factor plus a shift, at the same hue and value.

    A gray pixel has no hue: where the shift is not 0 it turns red, as in the published sets.
    Images of one channel have no saturation and stay as they are.
    """
    if images.shape[-1] == 1:
        return images
    factor, shift = map(np.float32, parameters)
    value = images.max(axis=-1, keepdims=True)
    gap = value - images
    width = gap.max(axis=-1, keepdims=True)  # value times saturation
    colored = width > 0
    wished = np.clip(factor * width + shift * value, 0, value)
    red = np.array([0, 1, 1], np.float32)
    return value - wished * np.where(colored, gap / np.where(colored, width, 1), red)
