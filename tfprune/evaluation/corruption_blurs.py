# SPDX-License-Identifier: Apache-2.0
"""Corruptions by blur: of a lens, of frosted glass, of a moving camera."""

from __future__ import annotations

import numpy as np

from tfprune.evaluation.corruption import corruption
from tfprune.evaluation.draws import Draws
from tfprune.evaluation.optional import ndimage, signal


def blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    """Each image under a Gaussian of that standard deviation in pixels; edges are repeated."""
    return ndimage.gaussian_filter(images, (0, sigma, sigma, 0), mode="nearest")


def streaked(images: np.ndarray, angles: np.ndarray, *, radius: float, sigma: float) -> np.ndarray:
    """Each image drawn out to one side: half a Gaussian along a line at its angle.

    The taps are whole pixels, 2 ceil(radius) + 1 of them, as in ImageMagick's motion blur.

    Args:
        images: float32 [n, height, width, channels].
        angles: degrees [n], 0 to the right, 90 downwards.
        radius, sigma: in pixels.
    """
    reach = 2 * int(np.ceil(radius))
    height, width = images.shape[1:3]
    steps = np.arange(reach + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights = (weights / weights.sum()).astype(np.float32)
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)), "edge")
    result = np.zeros_like(images)
    for image, source, angle in zip(
        result, padded, np.deg2rad(angles.astype(np.float64)), strict=True
    ):
        columns = reach + np.ceil(steps * np.cos(angle) - 0.5).astype(int)
        rows = reach + np.ceil(steps * np.sin(angle) - 0.5).astype(int)
        for weight, row, column in zip(weights, rows, columns, strict=True):
            image += weight * source[row : row + height, column : column + width]
    return result


@corruption(
    small=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    large=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
)
def defocus_blur(images: np.ndarray, parameters: tuple, draws: Draws) -> np.ndarray:
    """A disk of pixels whose edge is softened by a small Gaussian.

    A disk of less than one pixel is one pixel: there the softening alone blurs.
    """
    kernel = disk(*parameters)
    reach, (height, width) = len(kernel) // 2, images.shape[1:3]
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)), "reflect")
    result = np.zeros_like(images)
    for row, column in np.argwhere(kernel):
        result += kernel[row, column] * padded[:, row : row + height, column : column + width]
    return result


def disk(radius: float, softness: float) -> np.ndarray:
    """The kernel of an open lens, float32 [side, side], of sum 1."""
    edge = 1 if radius <= 8 else 2
    places = np.arange(-int(radius) - edge, int(radius) + edge + 1)
    inside = (places**2 + places[:, np.newaxis] ** 2 <= radius**2).astype(float)
    taps = np.exp(-(np.arange(-edge, edge + 1) ** 2) / (2 * softness**2))
    kernel = signal.convolve2d(inside, np.outer(taps, taps), mode="same")
    kernel[kernel < 1e-6 * kernel.max()] = 0
    return (kernel / kernel.sum()).astype(np.float32)


@corruption(
    small=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    large=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    least=3,
)
def glass_blur(images: np.ndarray, parameters: tuple, draws: Draws) -> np.ndarray:
    """Each pixel takes the value of one nearby, between two Gaussian blurs.

    Made as the published sets were: pixels are visited from the last to the first, each takes
    what its partner holds by then, and nothing is given back (their exchange was a copy); the
    partner is up to `reach` pixels above or left, but one less below or right.
    """
    sigma, reach, rounds = parameters[0], round(parameters[1]), round(parameters[2])
    count, height, width, channels = images.shape
    pixels = blurred(images, sigma).reshape(count, height * width, channels)
    own = np.arange(height * width).reshape(height, width)
    image = np.arange(count)[:, np.newaxis]
    for _ in range(rounds):
        moves = np.floor(draws.uniform(-reach, reach, 2, height, width)).astype(np.int64)
        partners = np.broadcast_to(own, (count, height, width)).copy()
        inner = (..., slice(reach + 1, height - reach + 1), slice(reach + 1, width - reach + 1))
        partners[inner] += moves[:, 0][inner] * width + moves[:, 1][inner]
        partners = partners.reshape(count, -1)
        visitors, sources = own.reshape(1, -1), partners
        ahead = sources > visitors
        while ahead.any():  # such a partner was visited before: it holds what its own one held
            following = np.take_along_axis(partners, sources, 1)
            visitors, sources = sources, np.where(ahead, following, sources)
            ahead &= sources > visitors
        pixels = pixels[image, sources]
    return blurred(pixels.reshape(images.shape), sigma)


@corruption(
    small=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    large=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
)
def motion_blur(images: np.ndarray, parameters: tuple, draws: Draws) -> np.ndarray:
    """A streak within 45 degrees of the horizontal, its angle drawn for each image."""
    radius, sigma = parameters
    return streaked(images, draws.uniform(-45, 45), radius=radius, sigma=sigma)


@corruption(
    small=((1.06, 0.01), (1.11, 0.01), (1.15, 0.01), (1.20, 0.01), (1.25, 0.01)),
    large=((1.11, 0.01), (1.15, 0.01), (1.20, 0.02), (1.24, 0.02), (1.30, 0.03)),
)
def zoom_blur(images: np.ndarray, parameters: tuple, draws: Draws) -> np.ndarray:
    """The mean of the image and of its enlargements from 1 to the largest.

    They are centered to a fraction of a pixel; the published sets cut enlarged images of whole
    pixels, which sit up to half a pixel beside the center.
    """
    largest, step = parameters
    zooms = np.linspace(1, largest, round((largest - 1) / step) + 1)
    total = images.copy()  # the image itself counts once more
    for zoom in zooms:
        total += _enlarged(_enlarged(images, 1, zoom), 2, zoom)
    return total / np.float32(len(zooms) + 1)


def _enlarged(images: np.ndarray, axis: int, zoom: float) -> np.ndarray:
    """The same size along that axis, enlarged about the middle by linear interpolation."""
    last = images.shape[axis] - 1
    places = (np.arange(last + 1) - last / 2) / zoom + last / 2
    low = np.minimum(places.astype(int), max(last - 1, 0))
    part = np.expand_dims((places - low).astype(np.float32), tuple(range(1, 4 - axis)))
    high = images.take(np.minimum(low + 1, last), axis)
    return images.take(low, axis) * (1 - part) + high * part


@corruption(small=(0.4, 0.6, 0.7, 0.8, 1), large=(1, 2, 3, 4, 6))
def gaussian_blur(images: np.ndarray, parameters: tuple, draws: Draws) -> np.ndarray:
    """A Gaussian of that standard deviation in pixels."""
    return blurred(images, *parameters)
