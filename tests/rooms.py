# SPDX-License-Identifier: Apache-2.0
"""The rooms of both packages and the imports between them, read from the source.

python tests/rooms.py    # draws them into docs/rooms_tfprune.svg and rooms_tflite_export.svg
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
# A file imports from its own room or one before it; rooms with a comma between them are on one
# floor, and do not import from one another.
ORDERS = {
    "tfprune": (
        "output masks layers backend channels methods statistics training "
        "reconstruction surgery,quantization api,data evaluation tfprune"
    ),
    "tflite_export": (
        "flatbuffer runtime report sparsity devices convert api tflite_export __main__"
    ),
}
_ROW, _TEXT, _ARCS = 34, 150, 330  # pixels: of a room, of the names, of the arcs beside them


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def files_of(package: str) -> dict[str, Path]:
    """{name of a file: its path}."""
    return {name_of(path): path for path in sorted((ROOT / package).rglob("*.py"))}


def room_of(name: str) -> str:
    package, _, inner = name.partition(".")
    return inner.partition(".")[0] or package


def floors_of(package: str) -> dict[str, int]:
    """{room: its floor, from 0 up}."""
    floors = enumerate(ORDERS[package].split())
    return {room: floor for floor, rooms in floors for room in rooms.split(",")}


def imports_of(name: str, files: dict[str, Path]) -> Iterator[tuple[str, bool]]:
    """(file or package that is imported, whether inside a function), over the whole file."""
    tree = ast.parse(files[name].read_text())
    inside = {
        id(node)
        for outer in ast.walk(tree)
        if isinstance(outer, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for node in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in inside) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in files else str(node.module), id(node) in inside


def arrows_of(package: str) -> list[tuple[str, str]]:
    """(room, another one that it imports from); the package's own file, a lazy door, is none."""
    files = files_of(package)
    found = {
        (room_of(name), room_of(imported))
        for name in files
        for imported, _ in imports_of(name, files)
        if imported in files
    }
    return sorted(pair for pair in found if len({*pair, package}) == 3)


def drawing(package: str) -> str:
    """The rooms in their order from the ground up, an arc for each pair that imports, as SVG."""
    floors = floors_of(package)
    rooms = [room for room in reversed(floors) if room != package]
    places = {room: _ROW * (number + 1) for number, room in enumerate(rooms)}
    lines = []
    for room, y in places.items():
        lines.append(f'<text x="{_TEXT - 14}" y="{y + 4}">{room}</text>')
    for one, other in arrows_of(package):
        start, end = places[one], places[other]
        wide = _TEXT + 14 + abs(end - start) * (_ARCS - 30) // (_ROW * len(rooms)) * 4 // 3
        kind = "arc" if floors[other] < floors[one] else "against"
        lines.append(
            f'<path class="{kind}" d="M{_TEXT} {start + 3}C{wide} {start + 3} {wide} {end - 3} '
            f'{_TEXT} {end - 3}"/><path class="head" d="M{_TEXT - 5} {end - 3}l7 -3v6z"/>'
        )
    height = _ROW * (len(rooms) + 1)
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_TEXT + _ARCS} {height}" '
            f'width="{_TEXT + _ARCS}" role="img">',
            f"<title>The rooms of {package}: each imports from those below it</title>",
            _STYLE,
            *lines,
            "</svg>",
            "",
        )
    )


_STYLE = (
    "<style>text{font:600 13px system-ui,sans-serif;text-anchor:end;fill:#111}"
    ".arc,.against{fill:none;stroke:#0077bb;stroke-opacity:.6}"
    ".against{stroke:#dd0000;stroke-width:2}.head{fill:#0077bb}"
    "@media(prefers-color-scheme:dark){text{fill:#eee}}</style>"
)


def path_of(package: str) -> Path:
    """Of its drawing."""
    return ROOT / "docs" / f"rooms_{package}.svg"


if __name__ == "__main__":
    for package in ORDERS:
        path_of(package).write_text(drawing(package))
