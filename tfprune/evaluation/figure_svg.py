# SPDX-License-Identifier: Apache-2.0
"""A figure as small SVG that takes the colors of the page around it."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import warnings
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from tfprune.evaluation.figure_style import clean, style
from tfprune.evaluation.optional import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["svg"]

_NAMESPACE = "http://www.w3.org/2000/svg"
_SHOWN = 4 / 3  # pixels of a point
# What is said once, at the root; and what can be said once in a group.
_INHERITED = {
    "font-size": "9px",
    "stroke-linejoin": "round",
    "stroke-linecap": "butt",
    "text-anchor": "start",
}
_SHARED = ("fill", "stroke", "stroke-width", "stroke-dasharray", "clip-path")
_LEFT_OUT = {"font-family", "preserveAspectRatio", "stroke-dashoffset", "type", "version"}


def svg(figure: Figure, alt: str = "") -> str:
    """The figure as one `<svg>` element for an HTML page or a file of its own.

    Text stays text, black becomes the color of the text around it, the background is left out,
    and the same figure gives the same bytes.

    Args:
        figure: a figure of `tfprune.evaluation.figures`, or any of matplotlib.
        alt: what it shows, for those who do not see it; "": what the figure says of itself.

    Example:
        >>> from matplotlib.figure import Figure
        >>> svg(Figure((2, 1)), "nothing")[:20]
        '<svg xmlns="http://w'
    """
    file = io.BytesIO()
    with style(), warnings.catch_warnings():
        # Text is drawn by the reader, who has other fonts.
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        figure.savefig(
            file,
            format="svg",
            bbox_inches="tight",
            pad_inches=0.04,
            facecolor="none",
            metadata={"Date": None},
        )
    root = ElementTree.fromstring(file.getvalue())
    used = dict.fromkeys(re.findall(r'(?<=#)[-\w]+(?=[")])', file.getvalue().decode()))
    _compact(root, {name: f"{_MARK}{number}" for number, name in enumerate(used)})
    width = float(root.attrib["viewBox"].split()[2])
    title = ElementTree.Element("title")
    title.text = clean(alt or figure.get_label() or "figure")
    root[:] = [title, *(one for one in root)]
    root.attrib = {
        "xmlns": _NAMESPACE,
        "role": "img",
        "viewBox": root.attrib["viewBox"],
        "width": f"{_SHOWN * width:.0f}",
        "fill": "currentColor",
        "font-family": "system-ui, sans-serif",
        **_INHERITED,
    }
    text = ElementTree.tostring(root, "unicode")
    # Several figures stand in one page.
    return text.replace(_MARK, f"f{hashlib.sha256(text.encode()).hexdigest()[:8]}-")


_MARK = "\ufffe"  # before each id; no XML text has this character


def _compact(node: ElementTree.Element, ids: dict[str, str]) -> None:
    """Without what no reader sees, in place."""
    node.tag = node.tag.rpartition("}")[2]
    node.text = (node.text or "").strip() or None if node.tag != "text" else node.text
    node.tail = None
    node.attrib = {
        name: value
        for given, text in node.attrib.items()
        for name, value in _attributes(given.rpartition("}")[2], text, ids)
    }
    if node.tag == "image":
        node.attrib |= {"href": _palette(node.attrib["href"]), "style": "image-rendering:pixelated"}
    kept: list[ElementTree.Element] = []
    for child in node:
        if child.tag.rpartition("}")[2] in ("metadata", "style"):
            continue
        _compact(child, ids)
        if child.tag == "g" and not child.attrib:
            kept += child
        elif child.attrib.get("fill") == "none" and "stroke" not in child.attrib:
            continue
        elif len(child) or child.attrib or child.text:
            kept.append(child)
    node[:] = kept
    if node.tag == "g" and len(node) > 1:
        for name in _SHARED:
            values = [child.attrib[name] for child in node if name in child.attrib]
            shared = len(values) == len(node) and len(set(values)) == 1
            if shared and name not in node.attrib:
                node.attrib[name] = values[0]
                for child in node:
                    del child.attrib[name]


def _attributes(name: str, text: str, ids: dict[str, str]):
    """Attributes for one of matplotlib's: shorter ones."""
    if name == "id":
        if text in ids:
            yield name, ids[text]
    elif name == "style":
        for one in filter(None, map(str.strip, text.split(";"))):
            inner, _, value = one.partition(":")
            yield from _attributes(inner.strip(), value.strip(), ids)
    elif name == "font":
        for size in re.findall(r"[\d.]+px", text)[:1]:
            yield from _attributes("font-size", size, ids)
        if re.search(r"\b(bold|[6-9]00)\b", text):
            yield "font-weight", "bold"
    elif name in ("fill", "stroke"):
        yield name, "currentColor" if text in ("#000000", "black") else text
    elif name in ("href", "clip-path"):
        yield name, re.sub("#(.+?)(?=[)]|$)", lambda found: f"#{ids[found[1]]}", text)
    elif name == "d":
        yield name, _path(_rounded(text))
    elif not (name in _LEFT_OUT or _INHERITED.get(name) == text or text.startswith("rotate(-0 ")):
        yield name, _rounded(text)


def _path(text: str) -> str:
    """A path with short commands for lines along an axis."""
    shown, at = [], ["", ""]
    for one in re.findall("[A-Za-z][^A-Za-z]*", text):
        command, numbers = one[0], one[1:].split()
        if command == "L" and numbers[1:] == at[1:]:
            shown.append(f"H{numbers[0]}")
        elif command == "L" and numbers[:1] == at[:1]:
            shown.append(f"V{numbers[1]}")
        else:
            shown.append(command + " ".join(numbers))
        at = numbers[-2:] or at
    return "".join(shown)


def _rounded(text: str) -> str:
    return re.sub(r"-?\d+\.\d+", lambda found: _short(float(found[0])), " ".join(text.split()))


def _short(value: float) -> str:
    return f"{value:.{2 if abs(value) >= 1 else 4}f}".rstrip("0").rstrip(".")


def _palette(href: str) -> str:
    """An image of at most 256 colors: a third of the bytes."""
    head, _, content = href.partition(",")
    image = Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")
    file = io.BytesIO()
    image.quantize(256, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return f"{head},{base64.b64encode(file.getvalue()).decode()}"
