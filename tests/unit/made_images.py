# SPDX-License-Identifier: Apache-2.0
"""Images to corrupt: natural ones, and ones of a single level."""

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images


def crops(count, side):
    """Natural images: random squares out of two photographs."""
    generator, photos, found = np.random.default_rng(3), load_sample_images().images, []
    for number in range(count):
        size = int(generator.integers(150, 427))
        top, left = generator.integers(0, 428 - size), generator.integers(0, 641 - size)
        part = Image.fromarray(photos[number % 2][top : top + size, left : left + size])
        found.append(np.asarray(part.resize((side, side), Image.Resampling.LANCZOS)))
    return np.stack(found)


def flat(level, side, count, channels=3):
    return np.full((count, side, side, channels), level, np.uint8)
