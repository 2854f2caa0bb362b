# SPDX-License-Identifier: Apache-2.0
"""Under which license everything is: the text, the metadata, one line in every source file."""

import configparser
import hashlib
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOTE = "SPDX-License-Identifier: Apache-2.0"
# Of https://www.apache.org/licenses/LICENSE-2.0.txt
OFFICIAL = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def _sources():
    """The tracked files that can hold a comment; of an unpacked archive all there are."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    packages = ("tfprune", "tflite_export", "tests", "examples", "benchmarks")
    names = (
        listed.stdout.split()
        if listed.returncode == 0
        else [
            str(path.relative_to(ROOT))
            for package in packages
            for path in (ROOT / package).rglob("*")
        ]
    )
    return [
        name
        for name in names
        if (ROOT / name).is_file()
        and (name.endswith((".py", ".c", ".toml")) or name in ("Makefile", "setup.cfg", ".ci/run"))
    ]


def test_the_text_is_the_official_one():
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == OFFICIAL


def test_the_metadata_say_so():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert settings["metadata"]["license_expression"] == "Apache-2.0"
    assert settings["metadata"]["license_files"] == "LICENSE"


def test_every_source_file_says_so_first():
    names = _sources()
    assert len(names) > 400
    without = []
    for name in names:
        lines = (ROOT / name).read_text().splitlines()[:2]
        first = lines[1:] if lines and lines[0].startswith("#!") else lines
        mark = "//" if name.endswith(".c") else "#"
        if first[:1] != [f"{mark} {NOTE}"]:
            without.append(name)
    assert not without, f"the first line has to be: # {NOTE}"
