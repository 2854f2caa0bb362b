# SPDX-License-Identifier: Apache-2.0
"""Figures show what they are given, of nothing and of much, and their labels stay apart."""

import base64
import io
import itertools
import re
import subprocess
import sys
import warnings
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import RendererAgg

from tfprune.evaluation import figures
from tfprune.evaluation.figure_style import COLORS

METHODS = ["magnitude", "sipp", "pfp", "filter_threshold", "st3"]
SHIFTS = [
    "nominal",
    "gaussian_noise 3",
    "elastic_transform 3",
    "jpeg_compression 3",
    *(f"corruption_{number} 3" for number in range(16)),
    *(f"noise {size}" for size in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)),
]
HOSTILE = [
    "<script>alert(1)</script>",
    "_hidden",
    "$\\frac$",
    "a\x00\ud800b",
    "猫 & 犬",
    "stack_1/block_12/" * 12,
]
RATIOS = [0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def _numbers(*shape):
    return np.random.default_rng(0).uniform(0, 1, shape)


def _lines(names, draw):
    return draw({name: (RATIOS, _numbers(8), _numbers(8)) for name in names})


def _curves(names):
    return figures.accuracy_over_ratio(
        {name: (RATIOS, _numbers(8), _numbers(8) - 0.1, None) for name in names}, 0.9
    )


def _exemplars(names):
    images = np.zeros((len(names), 32, 32, 3), np.uint8)
    return figures.exemplars(images, [(name, "dog", None) for name in names])


def _confusion(names):
    counts = np.random.default_rng(1).integers(0, 100, (2, len(names), len(names)))
    return figures.confusion_change(names, *counts)


# Of names; and the names that each gets as an ordinary figure.
DRAWN = {
    "potential": (
        lambda names: figures.potential(
            {name: dict(zip(SHIFTS, _numbers(27, 2))) for name in names}
        ),
        METHODS,
    ),
    "shifts": (
        lambda names: figures.potential(
            {"magnitude": dict(zip(names, np.sort(_numbers(len(names), 3))))}
        ),
        SHIFTS,
    ),
    "accuracy_over_ratio": (_curves, METHODS),
    "heat_map": (
        lambda names: figures.heat_map(
            names,
            [f"{100 * ratio:.0f} %" for ratio in RATIOS],
            90 * _numbers(len(names), 8),
            label="points lost",
        ),
        SHIFTS,
    ),
    "confusion_change": (_confusion, CLASSES),
    "exemplars": (_exemplars, CLASSES),
    "reliability": (lambda names: _lines(names, figures.reliability), METHODS),
    "noise_distance": (lambda names: _lines(names, figures.noise_distance), METHODS),
    "matrix": (
        lambda names: figures.matrix(names, names, _numbers(len(names), len(names))),
        METHODS,
    ),
    "training": (
        lambda names: figures.training({name: RATIOS for name in names}),
        ["loss", "accuracy", "sparsity", "val_loss", "val_accuracy"],
    ),
}


@pytest.fixture(autouse=True)
def _no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def _words(svg):
    """What can be read in it, without spaces: lines of a name are several texts."""
    root = ElementTree.fromstring(svg)
    return "".join(
        "".join(node.itertext()) for node in root.iter() if node.tag.endswith("}text")
    ).replace(" ", "")


def _extents(figure, texts):
    renderer = RendererAgg(*(100 * figure.get_size_inches()), 100)
    return [text.get_window_extent(renderer) for text in texts if text.get_text()]


@pytest.mark.parametrize("kind", DRAWN)
def test_a_figure_of_usual_size_is_small_and_shows_every_name(kind):
    draw, names = DRAWN[kind]
    svg = figures.svg(draw(names))
    assert len(svg) < (42_000 if kind == "potential" else 40_000)
    words = _words(svg)
    for name in names:
        if not name.startswith("val_"):
            assert name.replace(" ", "") in words, name
    assert "NaN" not in svg and "DejaVu" not in svg and "#000000" not in svg
    identities = re.findall(r'id="([^"]+)"', svg)
    assert len(identities) == len(set(identities))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', svg)) == set(identities)


@pytest.mark.parametrize("kind", DRAWN)
def test_none_and_one_are_drawn_as_well_as_hostile_names(kind):
    draw, _ = DRAWN[kind]
    draw([])
    assert draw(["one"]).axes
    svg = figures.svg(draw(HOSTILE))
    words = _words(svg)
    for name in HOSTILE:
        shown = re.sub("[\x00\ud800]", "\ufffd", name).replace(" ", "")
        # Texts of other parts can stand between the lines of one that is broken.
        assert shown in words or len(name) > 60 and shown[:15] in words, name
    assert "<script" not in svg


def test_equal_input_gives_equal_bytes_and_leaves_the_users_style_alone():
    with matplotlib.rc_context({"font.size": 30, "text.parse_math": True, "axes.grid": True}):
        before = dict(matplotlib.rcParams)
        figure = _curves(METHODS)
        one = figures.svg(figure)
        assert figures.svg(figure) == one
        assert dict(matplotlib.rcParams) == before
    assert one == figures.svg(_curves(METHODS))
    assert one != figures.svg(_curves(METHODS[:4]))


def test_marks_stand_at_the_potentials():
    figure = figures.potential(
        {
            "a": {"fog": (0.2, 0.5), "nominal": (0.8, 0.8)},
            "b": {"fog": (0.1, 0.3, 0.6), "nominal": 0.7},
        }
    )
    first, second = figure.axes[0].lines[0], figure.axes[0].lines[-2]
    shown = {tuple(np.round(line.get_xdata(), 9)) for line in figure.axes[0].lines}
    assert {(80.0, 20.0), (50.0,), (70.0, 30.0)} <= shown
    assert first.get_color() != second.get_color()
    spans = [
        tuple(np.round(path.vertices[:, 0], 9))
        for lines in figure.axes[0].collections
        for path in lines.get_paths()
    ]
    assert (20.0, 50.0) in spans and (10.0, 60.0) in spans
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["nominal", "fog"]
    # The nominal potentials are drawn through.
    levels = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_linestyle() == ":"]
    assert np.allclose(levels, [80, 70])


def test_cells_hold_their_numbers_and_stay_inside():
    values = np.array([[1.25, -1234.5], [np.nan, 0]])
    figure = figures.heat_map(["a", "b"], ["c", "d"], values, label="x")
    assert [text.get_text() for text in figure.axes[0].texts] == ["+1", "-1,234", "-", "0"]
    (wide,) = (
        abs(one.x1 - one.x0)
        for one in [
            figure.axes[0].transData.transform_bbox(matplotlib.transforms.Bbox([[0, 0], [1, 1]]))
        ]
    )
    for extent in _extents(figure, figure.axes[0].texts):
        assert extent.width < wide


def test_changes_of_the_predictions_are_in_points_of_the_class():
    before = np.diag([10] * 30)
    after = before.copy()
    after[7, 7], after[7, 3] = 4, 6
    figure = figures.confusion_change(range(30), before, after)
    shown = {text.get_text() for text in figure.axes[0].texts}
    assert shown == {"0.0", "-60.0", "+60.0"}
    rows = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(rows) == 20 and "7" in rows and "3" in rows
    assert "20 of 30 classes" in _words(figures.svg(figure)).replace("of", " of ").replace(
        "classes", " classes"
    )


@pytest.mark.parametrize(
    "draw, names",
    [
        DRAWN["heat_map"],
        DRAWN["accuracy_over_ratio"],
        (_curves, [f"a_method_with_a_long_name/{number}" for number in range(24)]),
        (DRAWN["matrix"][0], HOSTILE),
    ],
)
def test_labels_do_not_overlap(draw, names):
    figure = draw(names)
    labels = [text for legend in figure.legends for text in legend.get_texts()]
    labels += figure.axes[0].get_yticklabels()
    # Where the reader has no font, its width is not known.
    labels = [text for text in labels if text.get_text().isascii()]
    assert labels
    for one, other in itertools.combinations(_extents(figure, labels), 2):
        assert not one.shrunk(0.9, 0.8).overlaps(other.shrunk(0.9, 0.8))


def test_the_rows_of_many_potentials_have_room_and_fill_their_figure():
    figure = figures.potential({name: dict.fromkeys(SHIFTS, 0.5) for name in METHODS})
    axes = figure.axes[0]
    places = axes.transData.transform([(0, n) for n in range(len(SHIFTS))])[:, 1]
    assert -np.diff(places).max() > 1.15 * 9 / 72 * figure.dpi
    assert axes.get_position().height > 0.85


def test_images_are_small_pictures_with_both_labels():
    from PIL import Image

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 200, 100, 3), np.uint8)
    titles = [("cat", "dog", "cat"), "free\ntext", (1, 2, None)]
    svg = figures.svg(figures.exemplars(images, titles))
    words = _words(svg)
    assert all(one in words for one in ("cat→dog", "true:cat", "free", "text", "1→2"))
    pictures = [base64.b64decode(one) for one in re.findall(r"data:image/png;base64,([^\"]+)", svg)]
    assert len(pictures) == 3
    for picture in pictures:
        assert len(picture) < 4000 and Image.open(io.BytesIO(picture)).size == (32, 64)
    gray = figures.exemplars(rng.uniform(-1, 2, (1, 8, 8, 1)), ["a"])
    assert gray.axes[0].images[0].get_array().shape == (8, 8, 3)
    with pytest.raises(ValueError, match="1 images and 2 titles"):
        figures.exemplars(images[:1], ["a", "b"])


def test_colors_are_seen_on_white_and_on_black():
    def light(color):
        parts = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
        parts = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return parts @ [0.2126, 0.7152, 0.0722] + 0.05

    for color in COLORS:
        assert 1.05 / light(color) >= 2.95 and light(color) / light("#16181d") >= 2.95, color


def test_without_matplotlib_it_is_said_what_to_install_and_pyplot_is_never_used():
    code = (
        "import sys; from tfprune.evaluation import figures; figures.svg(figures.matrix([], "
        "[], [])); assert 'matplotlib.pyplot' not in sys.modules\n"
        "for name in list(sys.modules): 'matplotlib' in name and sys.modules.update({name: None})\n"
        "from tfprune.evaluation import figures\n"
        "try: figures.matrix([], [], [])\n"
        "except ImportError as error: assert 'tfprune[plots]' in str(error)\n"
        "else: raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
