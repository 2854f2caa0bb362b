# SPDX-License-Identifier: Apache-2.0
"""Corruptions by weather: snow, frost, fog, and drops or mud on the lens."""

from __future__ import annotations

import numpy as np

from tfprune.evaluation.corruption import corruption, gray, paint
from tfprune.evaluation.corruption_blurs import blurred, streaked
from tfprune.evaluation.draws import Draws
from tfprune.evaluation.frost_textures import COUNT, frost_textures
from tfprune.evaluation.optional import ndimage

_WATER, _MUD = (175, 238, 238), (63, 42, 20)
_GLASS, _ICE = (45, 62, 80), (236, 246, 255)


@corruption(
    small=(
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    large=(
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
)
def snow(images: np.ndarray, parameters: tuple, draws: Draws) -> np.ndarray:
    """A paler image behind flakes: enlarged normal noise above a threshold, drawn out downwards.

    The flakes are added twice, the second time turned by 180 degrees.
    """
    level, spread, zoom, threshold, radius, sigma, kept = parameters
    shape = images.shape[1:3]
    crop = [int(np.ceil(size / zoom)) for size in shape]
    flakes = np.float32(level) + np.float32(spread) * draws.normal(*crop)
    flakes = ndimage.zoom(flakes, (1, zoom, zoom), order=1)
    top, left = ((size - wish) // 2 for size, wish in zip(flakes.shape[1:], shape, strict=True))
    flakes = flakes[:, top : top + shape[0], left : left + shape[1], np.newaxis]
    flakes = np.where(flakes < threshold, 0, np.minimum(flakes, 1)).astype(np.float32)
    flakes = streaked(flakes, draws.uniform(-135, -45), radius=radius, sigma=sigma)
    pale = np.maximum(images, 1.5 * gray(images) + 0.5)
    kept = np.float32(kept)
    return kept * images + (1 - kept) * pale + flakes + flakes[:, ::-1, ::-1]


@corruption(
    small=((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    large=((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
)
def frost(images: np.ndarray, parameters: tuple, draws: Draws) -> np.ndarray:
    """A part of the image and a part of ice: a random cut of one of five made textures.

    The published sets cut five photographs; what those weigh is kept, not how they look.
    """
    kept, laid = map(np.float32, parameters)
    height, width, channels = images.shape[1:]
    textures = frost_textures(min(height, width))
    side = textures.shape[1]
    which, row, column = (draws.uniform(0, 1, 3) * [COUNT, side, side]).astype(int).T
    rows = (row[:, np.newaxis] + np.arange(height)) % side
    columns = (column[:, np.newaxis] + np.arange(width)) % side
    ice = textures[which[:, None, None], rows[:, :, None], columns[:, None], np.newaxis]
    glass, white = (paint(color, channels) for color in (_GLASS, _ICE))
    return kept * images + laid * (glass + ice / np.float32(255) * (white - glass))


@corruption(
    small=((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    large=((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
)
def fog(images: np.ndarray, parameters: tuple, draws: Draws) -> np.ndarray:
    """(x + amount clouds) m / (m + amount) with m the image's largest value.

    Clouds are a fractal between 0 and 1 of diamonds and squares.
    """
    amount, decay = parameters
    height, width = images.shape[1:3]
    side = max(2, 1 << (max(height, width) - 1).bit_length())
    clouds = _fractal(draws.uniform(-1, 1, side, side), decay)[:, :height, :width, np.newaxis]
    largest = images.max(axis=(1, 2, 3), keepdims=True)
    amount = np.float32(amount)
    return (images + amount * clouds) * (largest / (largest + amount))


def _fractal(wiggles: np.ndarray, decay: float) -> np.ndarray:
    """Heights 0..1 [n, side, side], each point the mean of four neighbors and of a wiggle.

    Wiggles fall by the square of `decay` at each halving of the step, as in the published code,
    where they are multiplied twice.
    """
    heights, step, size = np.zeros_like(wiggles), wiggles.shape[1], 100.0

    def settle(rows: slice, columns: slice, around: np.ndarray) -> np.ndarray:
        heights[:, rows, columns] = around / 4 + np.float32(size**2) * wiggles[:, rows, columns]
        return heights[:, rows, columns]

    while step >= 2:
        even, odd = slice(0, None, step), slice(step // 2, None, step)
        corners = heights[:, even, even]

        beside, below = np.roll(corners, -1, 2), np.roll(corners, -1, 1)
        middles = settle(odd, odd, corners + beside + below + np.roll(below, -1, 2))
        settle(even, odd, middles + np.roll(middles, 1, 1) + corners + beside)
        settle(odd, even, middles + np.roll(middles, 1, 2) + corners + below)
        step, size = step // 2, size / decay
    heights -= heights.min(axis=(1, 2), keepdims=True)
    return heights / heights.max(axis=(1, 2), keepdims=True)


@corruption(
    small=(
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    large=(
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ),
)
def spatter(images: np.ndarray, parameters: tuple, draws: Draws) -> np.ndarray:
    """Drops of water (severity 1 to 3) or mud (4 and 5) where smooth noise is above a threshold.

    The edges of drops are those of the noise above its threshold; the published sets took
    Canny's, which are nearly the same.
    """
    level, spread, smoothness, threshold, strength, is_mud = parameters
    noise = np.float32(level) + np.float32(spread) * draws.normal(*images.shape[1:3], 1)
    liquid = blurred(noise, smoothness)
    wet = liquid > threshold
    if is_mud:
        cover = blurred(wet.astype(np.float32), strength)
        cover[cover < 0.8] = 0
        return (1 - cover) * images + cover * paint(_MUD, images.shape[-1])
    light = np.stack([_light(*pair) for pair in zip(liquid[..., 0], wet[..., 0], strict=True)])[
        ..., np.newaxis
    ]
    return images + np.float32(strength) * light * paint(_WATER, images.shape[-1])


def _light(liquid: np.ndarray, wet: np.ndarray) -> np.ndarray:
    """How drops of water shine [height, width]: 1 at the brightest point, 0 where it is dry."""
    edges = wet ^ ndimage.binary_erosion(wet, border_value=1)
    if not edges.any():  # all dry, or under water
        return np.zeros_like(liquid)
    depths = np.minimum(ndimage.distance_transform_edt(~edges), 20)
    depths = _equalized(ndimage.uniform_filter(depths, 3, mode="mirror").astype(int))
    slope = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])  # light from one corner
    relief = np.clip(ndimage.correlate(depths, slope, mode="mirror"), 0, 255)
    light = np.where(wet, liquid, 0) * ndimage.uniform_filter(relief, 3, mode="mirror")
    return (light / max(light.max(), 1e-6)).astype(np.float32)


def _equalized(levels: np.ndarray) -> np.ndarray:
    """Levels whose histogram is flat from 0 to 255; the lowest becomes 0."""
    counts = np.bincount(levels.ravel())
    ranks = np.cumsum(counts) - counts[levels.min()]
    return np.rint(255 * ranks / max(ranks[-1], 1))[levels]
