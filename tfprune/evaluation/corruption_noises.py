# SPDX-License-Identifier: Apache-2.0
"""Corruptions by noise of a camera's sensor: each value of an image is drawn anew."""

from __future__ import annotations

import numpy as np

from tfprune.evaluation.corruption import corruption
from tfprune.evaluation.draws import Draws


@corruption(small=(0.04, 0.06, 0.08, 0.09, 0.10), large=(0.08, 0.12, 0.18, 0.26, 0.38))
def gaussian_noise(images: np.ndarray, parameters: tuple, draws: Draws) -> np.ndarray:
    """x + sigma z with z standard normal."""
    (sigma,) = parameters
    return images + np.float32(sigma) * draws.normal(*images.shape[1:])


@corruption(small=(500, 250, 100, 75, 50), large=(60, 25, 12, 5, 3))
def shot_noise(images: np.ndarray, parameters: tuple, draws: Draws) -> np.ndarray:
    """Poisson(x photons) / photons: variance x / photons."""
    (photons,) = parameters
    return draws.poisson(images * np.float32(photons)) / np.float32(photons)


@corruption(small=(0.01, 0.02, 0.03, 0.05, 0.07), large=(0.03, 0.06, 0.09, 0.17, 0.27))
def impulse_noise(images: np.ndarray, parameters: tuple, draws: Draws) -> np.ndarray:
    """That share of the values is made 0 or 1, half and half, each channel on its own."""
    (share,) = parameters
    chance = draws.uniform(0, 1, *images.shape[1:])
    salted = np.where(chance >= 1 - share / 2, np.float32(1), images)
    return np.where(chance < share / 2, np.float32(0), salted)


@corruption(small=(0.06, 0.10, 0.12, 0.16, 0.20), large=(0.15, 0.20, 0.35, 0.45, 0.60))
def speckle_noise(images: np.ndarray, parameters: tuple, draws: Draws) -> np.ndarray:
    """x + sigma x z with z standard normal."""
    (sigma,) = parameters
    return images * (1 + np.float32(sigma) * draws.normal(*images.shape[1:]))
