# SPDX-License-Identifier: Apache-2.0
"""A page says all that it is given, in HTML that is well-formed, small and shown by a browser."""

import json
import re
import shutil
import subprocess
import types
from html.parser import HTMLParser

import numpy as np
import pytest

from tfprune.evaluation.page import LARGEST, Figure, Section, page, sort_key
from tfprune.evaluation.page_parts import section_of
from tfprune.masks.sites import Skip
from tfprune.output.report_forms import Table
from tfprune.surgery.shrink_report import ShrinkReport
from tfprune.training.report import Report, SiteReport

HOSTILE = "<script>alert('x')</script> \"&\" <img src=http://a.b/c onerror=alert(1)> \x00\ud800"
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 2000 9" width="2000">'
    "<title>wide</title></svg>"
)
IMAGE = SVG.replace("</svg>", f'<image href="data:image/png;base64,{"A" * 150_000}" /></svg>')
SIZES = Table(
    ("file", "bytes", "lost", "shape"),
    (
        ("dense", "1,234", "-", "3x3"),
        ("pruned", "3 MB", "+0.5", "10x3"),
        ("int8", "12 kB", "-0.25", ""),
    ),
)
SITES = Report(
    (SiteReport("block/conv[a]/kernel", (3, 3, 8, 16), None, 0.8, 230, 1152, 9216, ()),),
    (Skip("bn", "normalization"),),
    (),
    "every kept weight lies on one",
)
HISTORY = {"loss": [2.5, 1.25, 0.625], "val_loss": [3.0, 2.0, 1.5], "sparsity": [0.0, 0.5, 0.8]}


class Reader(HTMLParser):
    """Fails on tags that are not closed; gathers texts, identities and addresses."""

    EMPTY = {"meta", "br", "img", "link", "input", "hr"}

    def __init__(self, content):
        super().__init__(convert_charrefs=True)
        self.open, self.words, self.ids, self.addresses, self.tags = [], [], [], [], []
        self.feed(content)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in self.EMPTY:
            self.open.append(tag)
        self._attributes(attributes)

    def handle_startendtag(self, tag, attributes):
        assert "svg" in self.open, f"<{tag} /> is no HTML"
        self._attributes(attributes)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    def _attributes(self, attributes):
        for name, value in attributes:
            assert not name.startswith("on"), name
            if name == "id":
                self.ids.append(value)
            elif name in ("href", "src", "xlink:href", "action", "srcset"):
                self.addresses.append(value)
            self.addresses += re.findall(r"url\((.*?)\)", value or "")


def _read(path):
    reader = Reader(path.read_text("utf-8"))
    assert len(reader.ids) == len(set(reader.ids))
    for address in reader.addresses:
        assert address.startswith("data:") or address[0] == "#" and address[1:] in reader.ids
    return reader


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A page with every kind of part."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "log.csv").write_text("epoch,accuracy,loss\n0,0.5,1.5\n1,0.75,0.5\n")
    sections = [
        Section(
            "Sizes",
            (
                "Two words.",
                "",
                ("one", "two"),
                (),
                SIZES,
                Table(("a",), ()),
                Figure(SVG, "It is wide & high.", 'a "wide" one'),
            ),
        ),
        Section(
            HOSTILE,
            (
                HOSTILE,
                (HOSTILE,),
                Table((HOSTILE, "b"), ((HOSTILE, HOSTILE),)),
                Figure(SVG.replace("wide", ""), HOSTILE, HOSTILE),
            ),
        ),
        Section("Sizes", (Table(("name", "x" * 90), (("layer/" * 40, "1"),)),)),
        section_of("Sparsity", SITES),
        section_of("Training", types.SimpleNamespace(history=HISTORY, epoch=[0, 1, 2])),
        section_of("Log", folder / "log.csv"),
    ]
    path = page(folder / "whole.html", HOSTILE, ("2 points lost & 3 MB saved", "of all"), sections)
    again = page(folder / "again.html", HOSTILE, ("2 points lost & 3 MB saved", "of all"), sections)
    assert again.read_bytes() == path.read_bytes()
    return path


def test_the_page_is_well_formed_and_names_no_other_place(whole):
    reader = _read(whole)
    text = whole.read_text("utf-8")
    assert reader.tags.count("script") == 1 and reader.tags.count("img") == 0
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    assert policy.startswith("default-src 'none'; img-src data:;") and "http" not in policy
    assert not re.search(r"@import|https?://(?!www\.w3\.org/2000/svg|a\.b)", text)
    assert "prefers-color-scheme" in text and "@media print" in text


def test_all_that_is_given_is_there_and_escaped(whole):
    reader = _read(whole)
    words = "".join(reader.words)
    for table in (SIZES, *(part for part in SITES.parts() if isinstance(part, Table))):
        for cell in (*table.head, *(cell for row in table.rows for cell in row)):
            assert not cell or cell in reader.words, cell
    for value in ("2.5", "1.25", "0.625", "0.8", "0.75", "every kept weight", "bn (normalization)"):
        assert value in words
    assert words.count(HOSTILE.replace("\x00\ud800", "\ufffd\ufffd")) == 10
    assert reader.words.index("2 points lost & 3 MB saved") < reader.words.index("of all")


def test_numbers_are_set_right_and_sorted_by_value(whole):
    text = whole.read_text("utf-8")
    table = next(one for one in re.findall(r"<table.*?</table>", text, re.S) if ">int8<" in one)
    assert re.match(r'<table class="w6 r1 r2 r3"', table)
    assert "<td>1,234</td>" in table and '<td data-v="3000000">3 MB</td>' in table


@pytest.mark.parametrize(
    "cell, key",
    [
        ("1,234", 1234),
        ("12.5 %", 12.5),
        ("-", None),
        ("", None),
        ("3 MB", 3e6),
        ("2 KiB", 2048),
        ("-0.5", -0.5),
        ("+2", 2),
        ("1.5e-03", 0.0015),
        ("0.26 ms", 0.00026),
        ("<0.001", 0.001),
        ("1,000 -> 900", 1000),
        ("3x3", None),
        ("conv1", None),
        ("nan", None),
        ("5 of 9", 5),
    ],
)
def test_the_value_of_a_cell(cell, key):
    assert sort_key(cell) == (None if key is None else pytest.approx(key))


def test_images_are_dropped_first_and_it_is_said_else_the_old_page_stays(tmp_path):
    path = tmp_path / "a.html"
    heavy = [
        Section("Exemplars", (Figure(IMAGE.replace("wide", str(number)), f"the {number}. of"),))
        for number in range(5)
    ]
    page(path, "t", "l", heavy)
    assert 300_000 < path.stat().st_size <= LARGEST
    words = " ".join(_read(path).words)
    assert path.read_text().count("<image") == 3
    assert words.count("left out: with it the page would be larger than 500 kB") == 2
    before = path.read_bytes()
    rows = Table(("a", "b"), tuple((str(number), "x" * 90) for number in range(6000)))
    with pytest.raises(ValueError, match="Largest sections: 'Rows' .* fewer rows"):
        page(path, "t", "l", [*heavy, Section("Rows", (rows,))])
    assert path.read_bytes() == before and [*tmp_path.iterdir()] == [path]
    with pytest.raises(TypeError, match="section 'A': a part is int"):
        page(path, "t", "l", [Section("A", (3,))])


def _tables(section):
    return [part for part in section.parts if isinstance(part, Table)]


def test_a_report_keeps_its_own_parts():
    report = ShrinkReport((), (), (1000, 900), (5000, 4000), notes=("a note",))
    section = section_of("Smaller", report)
    assert section == Section("Smaller", tuple(part for part in report.parts() if part))
    assert section_of("Again", section) == Section("Again", section.parts)
    assert section_of("said", "text").parts == ("text",)
    assert section_of("said", ["a", "b"]).parts == (("a", "b"),)


def test_dictionaries_become_tables():
    held = {
        "bytes": 1234567,
        "exact": True,
        "error": None,
        "inner": {"share": 0.125, "empty": {}},
        "layers": [{"name": "a", "zeros": 3}, {"name": "b", "more": {"x": np.float32(0.5)}}],
        "networks": {"dense": {"error": 0.1}, "int8": {"error": 1e-7}},
        "few": [1, 2.5, "c"],
    }
    stranger = types.SimpleNamespace(to_dict=lambda: held)
    for thing in (held, stranger):
        section = section_of("all", thing)
        assert [part for part in section.parts if isinstance(part, str)] == ["layers:", "networks:"]
        singles, layers, networks = _tables(section)
        assert singles.rows == (
            ("bytes", "1,234,567"),
            ("exact", "yes"),
            ("error", "-"),
            ("inner.share", "0.125"),
            ("inner.empty", ""),
            ("few", "1, 2.5, c"),
        )
        assert layers == Table(("name", "zeros", "more.x"), (("a", "3", "-"), ("b", "-", "0.5")))
        assert networks == Table(("name", "error"), (("dense", "0.1"), ("int8", "1e-07")))
    endless = {}
    endless["again"] = endless
    with pytest.raises(ValueError, match="nested deeper"):
        section_of("endless", endless)


def test_a_training_is_a_figure_and_a_table(tmp_path):
    history = types.SimpleNamespace(history=HISTORY, epoch=[4, 5, 6])
    figure, table = section_of("run", history).parts
    assert all(f">{name}<" in figure.svg for name in ("loss", "sparsity", "epoch", "validation"))
    assert table.head == ("epoch", "loss", "val_loss", "sparsity")
    assert table.rows[0] == ("5", "2.5", "3", "0") and len(table.rows) == 3
    assert section_of("run", HISTORY).parts[1].rows[0][0] == "1"

    log = tmp_path / "log.csv"
    log.write_text("epoch,accuracy,loss\n0,0.5,1.5\n1,0.75,0.5\n2,0.8")
    note, figure, table = section_of("log", str(log)).parts
    assert "cut off" in note[0] and isinstance(figure, Figure)
    assert table.rows == (("0", "0.5", "1.5"), ("1", "0.75", "0.5"))

    lines = tmp_path / "runs.jsonl"
    lines.write_text(
        "".join(json.dumps({"step": n, "loss": n / 8}) + "\n" for n in range(900))
        + '{"step": 900, "lo'
    )
    notes, figure, some, table = section_of("runs", lines).parts
    assert "last of 901 lines" in notes[0] and "500 of 900 steps" in figure.caption
    assert some == "200 of 900 rows:" and len(table.rows) == 200
    assert table.rows[0] == ("0", "0") and table.rows[-1] == ("899", "112.375")
    lines.write_text('{"method": "sipp", "bytes": 9}\n{"method": "pfp", "bytes": 8}\n')
    assert section_of("runs", lines).parts == (
        Table(("method", "bytes"), (("sipp", "9"), ("pfp", "8"))),
    )


def test_tensorboards_scalars_are_a_training(tmp_path):
    import tensorflow as tf

    for folder, times in (("", 1), ("validation", 2)):
        with tf.summary.create_file_writer(str(tmp_path / "log" / folder)).as_default():
            for step in range(3):
                for name in range(14):
                    tf.summary.scalar(f"sparsity/{name}", times * step / 4, step=step)
                tf.summary.text("words", "none", step=step)
    figure, table = section_of("log", tmp_path / "log").parts
    assert "12 of 14 metrics are drawn" in figure.caption
    assert table.head[:2] == ("step", "sparsity/0") and len(table.head) == 29
    assert table.rows[1] == ("1", *["0.25"] * 14, *["0.5"] * 14)
    with open(next((tmp_path / "log" / "validation").iterdir()), "r+b") as file:
        file.truncate(file.seek(0, 2) - 5)
    assert "cut off" in section_of("log", tmp_path / "log").parts[0][0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no events of TensorBoard"):
        section_of("log", tmp_path / "empty")


def test_what_no_section_can_be_made_of_is_refused(tmp_path):
    for thing in (3, object(), None, [1, 2], Report):
        with pytest.raises(TypeError, match="'mine': got .*; expected something with parts()"):
            section_of("mine", thing)
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "a.jsonl").write_text("{\n{}\n")
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    for name, reason in (
        ("a.png", "expected a log"),
        ("a.jsonl", "cannot be read as .jsonl"),
        ("a.csv", "cannot be read as .csv"),
    ):
        with pytest.raises(ValueError, match=reason):
            section_of("mine", tmp_path / name)
    with pytest.raises(FileNotFoundError):
        section_of("mine", tmp_path / "none.csv")


_REPORT = """
const heads = [...document.querySelectorAll("table")].find(
  one => one.textContent.includes("int8")).tHead.rows[0].cells;
const names = () => [...heads[0].closest("table").tBodies[0].rows].map(
  row => row.cells[0].textContent).join(" ");
const said = [document.documentElement.scrollWidth - window.innerWidth, window.innerWidth];
for (const column of [1, 1, 2]) {
  heads[column].firstChild.focus();
  document.activeElement.click();
  said.push(names(), heads[column].getAttribute("aria-sort"));
}
parent.postMessage(said, "*");
"""


def test_a_browser_shows_it_on_a_narrow_screen_and_sorts_its_tables(whole, tmp_path):
    browser = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if browser is None:
        pytest.skip("neither chromium nor google-chrome is installed")
    # The page as it is must log nothing. A copy that may run one more script tells of itself.
    probe = re.sub("<meta http-equiv[^>]*>", "", whole.read_text("utf-8"))
    (tmp_path / "probe.html").write_text(
        probe.replace("</body>", f"<script>{_REPORT}</script></body>"), "utf-8"
    )
    (tmp_path / "frames.html").write_text(
        "<!DOCTYPE html><title>none</title><script>onmessage = message => "
        "{document.title = JSON.stringify(message.data)}</script>"
        f'<iframe width="400" height="900" src="{whole.as_uri()}"></iframe>'
        f'<iframe width="400" height="900" src="{(tmp_path / "probe.html").as_uri()}"></iframe>'
    )
    done = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            f"--user-data-dir={tmp_path / 'user'}",
            "--enable-logging=stderr",
            "--virtual-time-budget=5000",
            "--dump-dom",
            (tmp_path / "frames.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    said = json.loads(re.search("<title>(.*?)</title>", done.stdout)[1])
    assert said[0] <= 0 and said[1] == 400
    assert said[2:] == [
        "dense int8 pruned",
        "ascending",
        "pruned int8 dense",
        "descending",
        "int8 pruned dense",
        "ascending",
    ]
