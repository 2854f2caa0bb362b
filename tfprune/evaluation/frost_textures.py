# SPDX-License-Identifier: Apache-2.0
"""Frost on glass, made: ferns of ice whose branches leave at sixty degrees."""

from __future__ import annotations

import functools

import numpy as np

from tfprune.evaluation.optional import Image, ImageDraw, ndimage

COUNT = 5
_SIDE = 448
"""Pixels of a texture where an image has 224."""


@functools.lru_cache(maxsize=2)
def frost_textures(side: int) -> np.ndarray:
    """How much ice there is for images of that shorter side, uint8 [5, 2 side, 2 side].

    The textures are the same everywhere and always: drawn from seeds of their own. Each continues
    at its other edge where it ends.
    """
    sizes = 2 * side, 2 * side
    return np.stack(
        [
            np.asarray(Image.fromarray(one).resize(sizes, Image.Resampling.BICUBIC))
            for one in _drawn()
        ]
    )


@functools.cache
def _drawn() -> list[np.ndarray]:
    """The same for images of 224 pixels, five times uint8 [448, 448]."""
    return [_texture(np.random.default_rng(seed)) for seed in range(COUNT)]


def _texture(generator: np.random.Generator) -> np.ndarray:
    count = 32
    stems = _Lines(
        generator.uniform(_SIDE, 2 * _SIDE, (count, 2)),
        generator.uniform(0, 2 * np.pi, count),
        generator.uniform(0.2, 0.6, count) * _SIDE,
    )
    branches = stems.branches(generator, 36, 0.3)
    twigs = branches.branches(generator, 9, 0.4)
    canvas = Image.new("L", (3 * _SIDE, 3 * _SIDE))
    pen = ImageDraw.Draw(canvas)
    for lines, width, light in ((twigs, 1, 120), (branches, 1, 190), (stems, 2, 255)):
        for line in lines.ends():
            pen.line(line, fill=light, width=width)
    # What was drawn beyond the middle comes in again from the other side.
    lines = np.asarray(canvas, np.float32).reshape(3, _SIDE, 3, _SIDE).max(axis=(0, 2)) / 255
    fine, glow = (ndimage.gaussian_filter(lines, sigma, mode="wrap") for sigma in (0.6, 6))
    haze = sum(_cloud(generator, cells) for cells in (4, 8, 16, 32))
    ice = np.clip(0.85 * fine + 0.75 * glow + 0.08 * haze, 0, 1)
    return np.rint(ice * 255).astype(np.uint8)


def _cloud(generator: np.random.Generator, cells: int) -> np.ndarray:
    return ndimage.zoom(
        generator.standard_normal((cells, cells)),
        _SIDE // cells,
        order=3,
        mode="grid-wrap",
        grid_mode=True,
    )


class _Lines:
    """Straight lines: where they start [n, 2], their angles [n] and lengths [n] in pixels."""

    def __init__(self, starts: np.ndarray, angles: np.ndarray, lengths: np.ndarray):
        self.starts, self.angles, self.lengths = starts, angles, lengths

    def ends(self) -> list[list[float]]:
        ways = np.stack([np.cos(self.angles), np.sin(self.angles)], 1)
        return np.concatenate([self.starts, self.starts + self.lengths[:, None] * ways], 1).tolist()

    def branches(self, generator: np.random.Generator, count: int, part: float) -> _Lines:
        """That many on both sides of each line, shorter towards its tip."""
        shape = len(self.angles), count, 2
        along = np.sort(generator.uniform(0.05, 1, shape), axis=1)
        ways = np.stack([np.cos(self.angles), np.sin(self.angles)], 1)[:, None, None]
        lengths = self.lengths[:, None, None]
        starts = self.starts[:, None, None] + (along * lengths)[..., None] * ways
        turns = np.pi / 3 * np.array([-1, 1]) + generator.normal(0, 0.05, shape)
        sizes = part * lengths * (1 - along) * generator.uniform(0.4, 1, shape)
        return _Lines(
            starts.reshape(-1, 2),
            (self.angles[:, None, None] + turns).reshape(-1),
            sizes.reshape(-1),
        )
