# SPDX-License-Identifier: Apache-2.0
"""What corruptions do to means, variances and spectra: what the published parameters promise."""

import colorsys
import io

import numpy as np
import pytest
from made_images import crops, flat
from PIL import Image

from tfprune.evaluation.corruption_blurs import glass_blur
from tfprune.evaluation.corruption_digital import _affine, elastic_transform
from tfprune.evaluation.corruptions import REGISTRY, corrupt
from tfprune.evaluation.draws import Draws

SEVERITIES = range(1, 6)


@pytest.fixture(scope="module")
def small():
    return crops(8, 32)


@pytest.fixture(scope="module")
def large():
    return crops(2, 224)


def like(values):
    """Values as they are stored, of numbers drawn here for comparison."""
    return np.rint(np.clip(values, 0, 255))


NORMAL = np.random.default_rng(0).standard_normal(200_000)


# The tables, read again from the published code: CIFAR-10-C's and ImageNet-C's.
@pytest.mark.parametrize(
    "side, count, table",
    [(32, 30, (0.04, 0.06, 0.08, 0.09, 0.10)), (224, 1, (0.08, 0.12, 0.18, 0.26, 0.38))],
)
def test_gaussian_noise_has_the_published_deviation(side, count, table):
    for severity, sigma in enumerate(table, 1):
        noise = corrupt(flat(128, side, count), "gaussian_noise", severity).astype(float)
        wished = like(128 + 255 * sigma * NORMAL)
        assert noise.std() == pytest.approx(wished.std(), rel=0.01)
        assert noise.mean() == pytest.approx(wished.mean(), abs=0.6)
        channels = np.corrcoef(noise.reshape(-1, 3).T)
        assert np.abs(channels - np.eye(3)).max() < 0.02


@pytest.mark.parametrize(
    "side, count, table",
    [(32, 30, (0.06, 0.1, 0.12, 0.16, 0.2)), (224, 1, (0.15, 0.2, 0.35, 0.45, 0.6))],
)
def test_speckle_noise_grows_with_the_value(side, count, table):
    for severity, sigma in enumerate(table, 1):
        for level in (40, 100):
            noise = corrupt(flat(level, side, count), "speckle_noise", severity)
            assert noise.std() == pytest.approx(like(level * (1 + sigma * NORMAL)).std(), rel=0.02)


@pytest.mark.parametrize(
    "side, count, table", [(32, 30, (500, 250, 100, 75, 50)), (224, 1, (60, 25, 12, 5, 3))]
)
def test_shot_noise_has_the_variance_of_its_photons(side, count, table):
    for severity, photons in enumerate(table, 1):
        noise = corrupt(flat(51, side, count), "shot_noise", severity)
        counts = np.random.default_rng(0).poisson(0.2 * photons, 200_000)
        wished = like(255 * counts / photons)
        assert noise.var() == pytest.approx(wished.var(), rel=0.03)
        assert noise.mean() == pytest.approx(wished.mean(), rel=0.01)


@pytest.mark.parametrize(
    "side, count, table",
    [(32, 30, (0.01, 0.02, 0.03, 0.05, 0.07)), (224, 1, (0.03, 0.06, 0.09, 0.17, 0.27))],
)
def test_impulse_noise_makes_that_share_black_or_white(side, count, table):
    for severity, share in enumerate(table, 1):
        noise = corrupt(flat(99, side, count), "impulse_noise", severity)
        assert np.isin(noise, (0, 99, 255)).all()
        for extreme in (0, 255):
            assert (noise == extreme).mean() == pytest.approx(share / 2, rel=0.08)


def grating(side, period):
    wave = 127.5 + 100 * np.cos(2 * np.pi * np.arange(side) / period)
    return np.broadcast_to(np.rint(wave).astype(np.uint8)[None, None, :, None], (1, side, side, 1))


def amplitude(images, period):
    """Of the wave along the columns, in the middle where no edge is felt."""
    side = images.shape[2]
    margin = (side - period * (side // (2 * period))) // 2
    line = images[0, side // 2, margin : side - margin, 0].astype(float)
    line = line[: period * (len(line) // period)]
    places = np.arange(margin, margin + len(line))
    return 2 * np.abs(np.mean(line * np.exp(-2j * np.pi * places / period)))


@pytest.mark.parametrize("side, table", [(32, (0.4, 0.6, 0.7, 0.8, 1)), (224, (1, 2, 3, 4, 6))])
def test_gaussian_blur_has_the_spectrum_of_its_kernel(side, table):
    for severity, sigma in enumerate(table, 1):
        taps = np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1)
        weights = np.exp(-(taps**2) / (2 * sigma**2))
        for period in (4, 8, 16):
            images = grating(side, period)
            kept = amplitude(corrupt(images, "gaussian_blur", severity), period)
            wished = weights @ np.cos(2 * np.pi * taps / period) / weights.sum()
            assert kept == pytest.approx(amplitude(images, period) * abs(wished), abs=0.7)


@pytest.mark.parametrize(
    "side, table",
    [
        (32, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))),
        (224, ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))),
    ],
)
def test_defocus_has_the_spectrum_of_a_soft_disk(side, table):
    for severity, (radius, softness) in enumerate(table, 1):
        taps = np.arange(-12, 13)
        columns = ((taps**2 + taps[:, None] ** 2) <= radius**2).sum(axis=0).astype(float)
        soft = np.arange(-1, 2) if radius <= 8 else np.arange(-2, 3)
        weights = np.exp(-(soft**2) / (2 * softness**2))
        for period in (4, 8, 16):
            images = grating(side, period)
            kept = amplitude(corrupt(images, "defocus_blur", severity), period)
            wished = (
                columns
                @ np.cos(2 * np.pi * taps / period)
                / columns.sum()
                * (weights @ np.cos(2 * np.pi * soft / period))
                / weights.sum()
            )
            assert kept == pytest.approx(amplitude(images, period) * abs(wished), abs=0.7)


@pytest.mark.parametrize(
    "side, table",
    [
        (32, ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))),
        (224, ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))),
    ],
)
def test_motion_blur_draws_a_point_out_to_one_side(side, table):
    images, middle = flat(0, side, 8), side // 2
    images[:, middle, middle] = 255
    for severity, (radius, sigma) in enumerate(table, 1):
        steps = np.arange(2 * radius + 1)
        weights = np.exp(-(steps**2) / (2 * sigma**2))
        streaks = corrupt(images, "motion_blur", severity)[..., 0].astype(float)
        assert streaks.sum(axis=(1, 2)) == pytest.approx(255, abs=0.5 * len(steps))
        rows, columns = np.indices((side, side)) - middle
        assert (np.abs(rows) <= np.abs(columns) + 1)[(streaks > 0).any(axis=0)].all()
        for streak in streaks:
            lengths = np.hypot((streak * rows).sum(), (streak * columns).sum()) / streak.sum()
            assert lengths == pytest.approx(weights @ steps / weights.sum(), abs=0.5)
        assert len({streak.tobytes() for streak in streaks}) >= 3  # angles differ


@pytest.mark.parametrize(
    "side, table", [(32, (1.06, 1.11, 1.15, 1.20, 1.25)), (224, (1.11, 1.15, 1.20, 1.24, 1.30))]
)
def test_zoom_blur_is_the_mean_of_enlargements_about_the_middle(side, table):
    middle = (side - 1) / 2
    line = np.arange(side) - middle
    images = np.broadcast_to((128 + line).astype(np.uint8)[None, None, :, None], (1, side, side, 1))
    for severity, largest in enumerate(table, 1):
        step = 0.01 if side == 32 else (0.01, 0.01, 0.02, 0.02, 0.03)[severity - 1]
        zooms = np.linspace(1, largest, round((largest - 1) / step) + 1)
        shrunk = (1 + (1 / zooms).sum()) / (len(zooms) + 1)
        expected = line * shrunk + 128 - 0.5  # the ramp is cut to whole levels
        assert np.abs(corrupt(images, "zoom_blur", severity)[0, 5, :, 0] - expected).max() <= 1


def test_weak_glass_takes_one_of_four_neighbors_each_as_often():
    code = np.arange(32 * 32)
    image = np.stack([code % 256, code // 256, 0 * code], -1).astype(np.uint8)
    moved = corrupt(np.stack([image.reshape(32, 32, 3)] * 12), "glass_blur", 1).astype(int)
    origin = (moved[..., 0] + 256 * moved[..., 1])[:, 2:, 2:]
    away = code.reshape(32, 32)[2:, 2:] - origin
    counts = {way: (away == way).mean() for way in (0, 1, 32, 33)}
    assert sum(counts.values()) == 1
    assert list(counts.values()) == pytest.approx([0.25] * 4, abs=0.015)


def test_glass_is_what_the_published_loop_over_pixels_makes():
    size, reach = 24, 3
    images = np.random.default_rng(0).random((3, size, size, 3)).astype(np.float32)
    fast = glass_blur.apply(images, (0.05, reach, 2), Draws("glass", range(3)))
    draws = Draws("glass", range(3))
    for _ in range(2):
        moves = np.floor(draws.uniform(-reach, reach, 2, size, size)).astype(int)
        for image, (down, right) in zip(images, moves):
            for row in range(size - reach, reach, -1):
                for column in range(size - reach, reach, -1):
                    image[row, column] = image[row + down[row, column], column + right[row, column]]
    np.testing.assert_array_equal(fast, images)


def hsv(images, change):
    """By the standard library, pixel by pixel."""
    pixels = [
        colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel)))
        for pixel in images.reshape(-1, 3) / 255
    ]
    return 255 * np.array(pixels).reshape(images.shape)


@pytest.mark.parametrize("side", [32, 224])
def test_brightness_and_saturation_shift_what_they_are_named_for(side):
    colors = np.random.default_rng(0).integers(0, 256, (16, 3), dtype=np.uint8)
    colors[0], colors[1] = 0, 90  # black, and gray, which turns red
    images = np.zeros((1, side, side, 3), np.uint8)
    images[0, 0, :16] = colors
    shifts = (0.05, 0.1, 0.15, 0.2, 0.3) if side == 32 else (0.1, 0.2, 0.3, 0.4, 0.5)
    tints = (
        (0.3, 0),
        (0.1, 0),
        *(((1.5, 0), (2, 0.1), (2.5, 0.2)) if side == 32 else ((2, 0), (5, 0.1), (20, 0.2))),
    )
    for severity, shift, (factor, more) in zip(SEVERITIES, shifts, tints):
        light = hsv(colors, lambda h, s, v: (h, s, min(v + shift, 1)))
        assert np.abs(corrupt(images, "brightness", severity)[0, 0, :16] - light).max() <= 0.51
        color = hsv(colors, lambda h, s, v: (h, min(s * factor + more, 1), v))
        assert np.abs(corrupt(images, "saturate", severity)[0, 0, :16] - color).max() <= 0.51


def test_contrast_scales_the_deviation_about_the_mean(small, large):
    for images, table in (
        (small, (0.75, 0.5, 0.4, 0.3, 0.15)),
        (large, (0.4, 0.3, 0.2, 0.1, 0.05)),
    ):
        for severity, factor in enumerate(table, 1):
            flatter, axes = corrupt(images, "contrast", severity), (1, 2)
            np.testing.assert_allclose(flatter.mean(axes), images.mean(axes), atol=0.5)
            np.testing.assert_allclose(flatter.std(axes), factor * images.std(axes), rtol=0.02)


def test_fog_spans_the_published_range():
    for side, amounts in ((32, (0.2, 0.5, 0.75, 1, 1.5)), (256, (1.5, 2, 2.5, 2.5, 3))):
        for severity, amount in enumerate(amounts, 1):
            foggy = corrupt(flat(204, side, 2), "fog", severity)  # 0.8
            assert (foggy.max(axis=(1, 2, 3)) == 204).all()
            lowest = 255 * 0.8 * 0.8 / (0.8 + amount)
            assert foggy.min(axis=(1, 2, 3)) == pytest.approx([lowest] * 2, abs=0.51)


@pytest.mark.parametrize(
    "side, table",
    [
        (32, ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))),
        (224, ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))),
    ],
)
def test_frost_weighs_image_and_ice_as_published(side, table):
    for severity, (kept, laid) in enumerate(table, 1):
        ice, above = (
            corrupt(flat(level, side, 256 // side + 4), "frost", severity).astype(float)
            for level in (0, 50)
        )
        inside = above < 255
        assert np.abs((above - ice)[inside] - 50 * kept).max() <= 1
        assert 0.4 * 255 * laid < ice.mean() < 0.65 * 255 * laid
        assert ice.max() > 0.9 * 255 * laid and ice.std() > 0.15 * 255 * laid
        assert ice[..., 2].mean() > ice[..., 0].mean()  # bluish


@pytest.mark.parametrize(
    "side, kept", [(32, (0.95, 0.9, 0.9, 0.85, 0.8)), (224, (0.8, 0.7, 0.7, 0.65, 0.55))]
)
def test_snow_pales_the_image_and_falls(side, kept):
    for severity, part in enumerate(kept, 1):
        snowy = corrupt(flat(0, side, 3, 1), "snow", severity)[..., 0].astype(float)
        assert np.quantile(snowy, 0.001) == pytest.approx(255 * (1 - part) / 2, abs=3)
        assert (snowy > 255 * (1 - part) / 2 + 5).mean() > 0.02
        down, across = (np.abs(np.diff(snowy, axis=axis)).mean() for axis in (1, 2))
        assert down < across


@pytest.mark.parametrize("side", [32, 224])
def test_spatter_is_turquoise_light_then_brown_mud(side):
    for severity in SEVERITIES:
        before = flat(120, side, 256 // side + 1)
        after = corrupt(before, "spatter", severity).astype(int)
        wet = (after != before).any(axis=-1)
        assert 0.005 < wet.mean() < 0.45
        change = (after - before)[wet]
        if severity <= 3:
            assert change.min() >= 0 and (change[:, 0] <= change[:, 1]).all()
            assert np.abs(change[:, 1] - change[:, 2]).max() <= 1
        else:  # at least four fifths of (63, 42, 20)
            assert (after[wet] <= 0.2 * 120 + 0.8 * np.array([63, 42, 20]) + 1).all()
            assert (after[wet] >= np.array([63, 42, 20]) - 1).all()


def test_elastic_fields_have_the_published_size():
    still = np.random.default_rng(0).random((2, 40, 40, 3)).astype(np.float32)
    same = elastic_transform.apply(still, (0, 0, 0), Draws("still", range(2)))
    np.testing.assert_allclose(same, still, atol=1e-5)
    ramp = np.broadcast_to(np.arange(224, dtype=np.float32)[:, None, None] / 224, (4, 224, 224, 1))
    for size, smooth in ((0.05, 0.01), (0.07, 0.01), (0.12, 0.01)):
        size, smooth = 244 / 224 * size, 244 / 224 * smooth
        moved = elastic_transform.apply(ramp, (size, smooth, 0), Draws("ramp", range(4)))
        pixels = 224 * (moved - ramp)[:, 20:-20, 20:-20]
        expected = size * 224 / np.sqrt(3) / (2 * np.sqrt(np.pi) * smooth * 224)
        assert pixels.std() == pytest.approx(expected, rel=0.1)


def test_an_affine_distortion_moves_its_three_points():
    moves = np.random.default_rng(0).uniform(-3, 3, (5, 3, 2)).round()
    points = np.array([[16, 20], [16, 20], [16, 20]]) + 10 * np.array([[1, 1], [-1, 1], [-1, -1]])
    sources = _affine(np.indices((32, 40), dtype=np.float32), moves)
    for number, move in enumerate(moves):
        for point, (row, column) in zip(points, (points + move).astype(int)):
            assert sources[:, number, row, column] == pytest.approx(point, abs=1e-4)


def test_pixelate_shows_boxes_of_their_mean(large):
    boxes = large.reshape(2, 56, 4, 56, 4, 3).mean(axis=(2, 4))
    coarse = corrupt(large, "pixelate", 5).reshape(2, 56, 4, 56, 4, 3)
    assert (np.ptp(coarse, axis=(2, 4)) == 0).all()
    assert np.abs(coarse[:, :, 0, :, 0] - boxes).max() <= 1


def test_pixelate_keeps_the_published_number_of_rows(small):
    for severity, factor in enumerate((0.95, 0.9, 0.85, 0.75, 0.65), 1):
        coarse = corrupt(small, "pixelate", severity)
        for axis in (1, 2):
            changes = (np.diff(coarse.astype(int), axis=axis) != 0).any(axis=(0, 3 - axis, 3))
            assert 1 + changes.sum() == int(32 * factor)


def test_jpeg_is_that_of_the_published_quality(small, large):
    for images, table in ((small, (80, 65, 58, 50, 40)), (large, (25, 18, 15, 10, 7))):
        for severity, quality in enumerate(table, 1):
            file = io.BytesIO()
            Image.fromarray(images[1]).save(file, "JPEG", quality=quality)
            np.testing.assert_array_equal(
                corrupt(images, "jpeg_compression", severity)[1], np.asarray(Image.open(file))
            )


def test_between_the_two_sizes_parameters_lie_on_a_line_in_the_logarithm():
    sigma = [REGISTRY["gaussian_noise"].parameters(5, side)[0] for side in (3, 32, 85, 224, 900)]
    assert sigma[:2] == [0.1, 0.1] and sigma[3:] == [0.38, 0.38]
    assert sigma[2] == pytest.approx(0.24, abs=0.001)  # 85 is nearly the geometric mean
    for one in REGISTRY.values():
        for severity in SEVERITIES:
            ends = np.array([one.parameters(severity, side) for side in (32, 224)])
            between = np.array(one.parameters(severity, 96))
            assert (ends.min(axis=0) - 1e-12 <= between).all(), one.name
            assert (between <= ends.max(axis=0) + 1e-12).all(), one.name
