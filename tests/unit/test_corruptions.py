# SPDX-License-Identifier: Apache-2.0
"""Corrupted images: the same whichever images stand beside them, at every size; bad input."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_images import crops, flat

import tfprune
from tfprune.evaluation.corruptions import CORRUPTIONS, corrupt

SEVERITIES = range(1, 6)
UNDRAWN = {
    "defocus_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
    "gaussian_blur",
    "saturate",
}
# What adds texture or noise of its own differs between 1 channel and 3 equal ones.
OWN_COLOR = {
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "speckle_noise",
    "frost",
    "spatter",
    "saturate",
    "jpeg_compression",
}
NOT_MONOTONE = {
    "glass_blur": "3 shuffles no further than 2, and smooths more what it shuffled",
    "frost": "4 lays as much ice as 3 and keeps less of the image, which ice makes too light",
    "elastic_transform": "the affine part falls from 1 to 5",
    "spatter": "1 to 3 are drops of water, 4 and 5 mud",
    "saturate": "1 and 2 take colors away, 3 to 5 add some",
}


@pytest.fixture(scope="module")
def small():
    return crops(8, 32)


def test_the_public_names_are_those_of_the_benchmark_in_its_order():
    assert CORRUPTIONS == (
        "gaussian_noise",
        "shot_noise",
        "impulse_noise",
        "defocus_blur",
        "glass_blur",
        "motion_blur",
        "zoom_blur",
        "snow",
        "frost",
        "fog",
        "brightness",
        "contrast",
        "elastic_transform",
        "pixelate",
        "jpeg_compression",
        "speckle_noise",
        "gaussian_blur",
        "spatter",
        "saturate",
    )
    assert tfprune.corrupt is corrupt


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_the_same_alone_in_any_order_and_again(small, name):
    order = np.random.default_rng(0).permutation(len(small))
    for images in (small, small[..., :1]):
        for severity in SEVERITIES:
            before = images.copy()
            whole = corrupt(images, name, severity, seed=4)
            assert whole.shape == images.shape and whole.dtype == np.uint8
            np.testing.assert_array_equal(images, before)
            turned = corrupt(images[order], name, severity, seed=4, indices=order)
            np.testing.assert_array_equal(turned, whole[order])
            alone = corrupt(images[7:8], name, severity, seed=4, indices=[7])
            np.testing.assert_array_equal(alone[0], whole[7])
            assert (whole != images).any() or name == "saturate" and images.shape[-1] == 1
    other = corrupt(small, name, 5, seed=5)
    assert (other == corrupt(small, name, 5, seed=4)).all() == (name in UNDRAWN)
    twins = corrupt(np.stack([small[0]] * 2), name, 5)
    assert (twins[0] == twins[1]).all() == (name in UNDRAWN)


def test_blocks_of_a_large_set_do_not_show():
    images = np.random.default_rng(0).integers(0, 256, (400, 32, 32, 3), dtype=np.uint8)
    whole = corrupt(images, "fog", 2)  # three blocks
    np.testing.assert_array_equal(
        whole[250:], corrupt(images[250:], "fog", 2, indices=range(250, 400))
    )


_SHA = """
import hashlib, numpy as np
from tfprune.evaluation.corruptions import CORRUPTIONS, corrupt
image = (np.arange(40 * 36 * 3) * 7 % 256).astype(np.uint8).reshape(1, 40, 36, 3)
for name in CORRUPTIONS:
    print(hashlib.sha256(corrupt(image, name, 4, seed=1, indices=[9]).tobytes()).hexdigest())
"""


def test_another_process_makes_the_same_bytes():
    image = (np.arange(40 * 36 * 3) * 7 % 256).astype(np.uint8).reshape(1, 40, 36, 3)
    images = np.concatenate([255 - image, image])
    here = [
        hashlib.sha256(corrupt(images, name, 4, seed=1, indices=[8, 9])[1].tobytes()).hexdigest()
        for name in CORRUPTIONS
    ]
    variables = {
        **os.environ,
        "PYTHONPATH": str(Path(tfprune.__file__).parents[1]),
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONHASHSEED": "5",
    }
    done = subprocess.run(
        [sys.executable, "-c", _SHA], env=variables, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == here, done.stderr


@pytest.mark.parametrize("shape", [(8, 8, 1), (3, 3, 3), (5, 40, 3), (120, 90, 1)])
def test_every_size_has_every_corruption(shape):
    images = np.random.default_rng(1).integers(0, 256, (2, *shape), dtype=np.uint8)
    for name in CORRUPTIONS:
        for extreme in (images, np.zeros_like(images), np.full_like(images, 255)):
            assert corrupt(extreme, name, 5).shape == images.shape


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - OWN_COLOR))
def test_a_gray_image_is_that_of_three_equal_channels(small, name):
    gray = small[..., 1:2]
    three = corrupt(np.repeat(gray, 3, axis=-1), name, 3).astype(int)
    assert np.abs(three - corrupt(gray, name, 3)).max() <= 1
    assert np.ptp(three, axis=-1).max() <= 1


def test_gray_images_have_no_saturation_to_change(small):
    np.testing.assert_array_equal(corrupt(small[..., :1], "saturate", 5), small[..., :1])


def test_severities_lie_further_and_further_off():
    images = crops(24, 32)
    for name in CORRUPTIONS:
        far = [
            np.square(corrupt(images, name, severity).astype(float) - images).mean()
            for severity in SEVERITIES
        ]
        assert min(far) > 1
        assert (np.diff(far) > 0).all() == (name not in NOT_MONOTONE), (name, far)


GOOD = flat(7, 8, 2)


@pytest.mark.parametrize(
    "arguments, error, says",
    [
        ((GOOD / 255, "fog"), TypeError, "float64.*expected uint8.*rint"),
        ((GOOD[0], "fog"), ValueError, r"\[8, 8, 3\].*images\[None\]"),
        ((GOOD[..., :2], "fog"), ValueError, "1 channel .gray. or 3"),
        ((flat(7, 8, 2, 4), "fog"), ValueError, "1 channel .gray. or 3"),
        ((GOOD, "gausian_noise"), ValueError, "'gausian_noise'.*there .*gaussian_noise"),
        ((GOOD, "JPEG"), ValueError, "'JPEG'; there is jpeg_compression[.]$"),
        ((GOOD, "rain on mars"), ValueError, "there are gaussian_noise, .*saturate"),
        ((GOOD, 3), TypeError, "name=3"),
        ((GOOD, "fog", 0), ValueError, "severity=0 of 'fog': expected 1"),
        ((GOOD, "fog", 6), ValueError, "severity=6"),
        ((GOOD, "fog", 2.5), TypeError, "severity=2.5"),
        ((GOOD, "fog", True), TypeError, "severity=True"),
        ((GOOD[:, :2], "glass_blur"), ValueError, "2x8 pixels: 'glass_blur' needs at least 3x3"),
        ((GOOD[:, :0], "fog"), ValueError, "0x8 pixels"),
    ],
)
def test_bad_input_is_told(arguments, error, says):
    with pytest.raises(error, match=says):
        corrupt(*arguments)


@pytest.mark.parametrize(
    "settings, error, says",
    [
        ({"seed": 0.5}, TypeError, "seed=0.5"),
        ({"indices": [0.0, 1.0]}, TypeError, "expected integers"),
        ({"indices": [1]}, ValueError, "for 2 images: expected one for each"),
        ({"indices": [0, -1]}, ValueError, "from 0 on"),
    ],
)
def test_bad_places_are_told(settings, error, says):
    with pytest.raises(error, match=says):
        corrupt(GOOD, "fog", **settings)


def test_no_images_are_no_images():
    assert corrupt(GOOD[:0], "snow", 2, indices=[]).shape == (0, 8, 8, 3)


def test_without_scipy_it_is_said_what_to_install_before_an_image_is_looked_at(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    with pytest.raises(ImportError, match=r'pip install "tfprune\[evaluation\]"'):
        corrupt(None, "fog")
