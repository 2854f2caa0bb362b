# SPDX-License-Identifier: Apache-2.0
"""Filling the folder of an emulator: what is downloaded, from where, and how it is unpacked.

QEMU and the Arm computer's Python come from the Debian mirrors that this computer's apt is set up
for, LiteRT and NumPy from the package index that pip uses. Nothing is installed: packages are
unpacked in the folder, and apt keeps its lists there.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from emulator import HERE, Emulator

from tfprune.output.atomic_write import write

__all__ = ["set_up"]

GUEST = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
WHEELS = ("ai-edge-litert", "numpy", "protobuf")
_INTERFACES = range(1, 8)


def set_up(emulator: Emulator) -> None:
    """Download and unpack all that is needed, and print what and from where.

    Raises:
        RuntimeError: a program is missing, or one failed; its message is in the error.
    """
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise RuntimeError(f"{program} is not there: this needs Debian or a relative of it")
    emulator.path.mkdir(parents=True, exist_ok=True)
    emulator.state.unlink(missing_ok=True)
    _unpack(emulator.path, _output("dpkg", "--print-architecture").strip(), ("qemu-user",), "tools")
    _unpack(emulator.path, "arm64", GUEST, "arm")
    _wheels(emulator)
    emulator.describe()
    interface, why = _compile(emulator)
    print(
        why
        and f"instructions cannot be counted: {why}"
        or f"instructions are counted through version {interface} of QEMU's plugins"
    )
    write(emulator.state, json.dumps({"interface": interface, "uncounted": why}).encode())


def _unpack(path: Path, architecture: str, packages: tuple[str, ...], name: str) -> None:
    """Debian packages and all that they need."""
    apt, root = path / f"apt-{architecture}", path / name
    for made in ("state/lists/partial", "cache/archives/partial"):
        (apt / made).mkdir(parents=True, exist_ok=True)
    # An empty list of installed packages: all that is needed is fetched.
    (apt / "status").write_text("")
    options = (
        f"APT::Architecture={architecture}",
        f"APT::Architectures={architecture}",
        f"Dir::State={apt}/state",
        f"Dir::State::status={apt}/status",
        f"Dir::Cache={apt}/cache",
        "Debug::NoLocking=1",
        "APT::Sandbox::User=root",
    )
    command = ["apt-get", "-q", *(part for option in options for part in ("-o", option))]
    _output(*command, "update")
    command += ["-y", "--no-install-recommends"]
    listed = _output(*command, "--print-uris", "install", *packages)
    for address, size in re.findall(r"^'(\S+)' \S+ (\d+)", listed, re.M):
        print(f"{int(size):>12,} bytes  {address}", flush=True)
    _output(*command, "--download-only", "install", *packages)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for package in sorted((apt / "cache" / "archives").glob("*.deb")):
        _output("dpkg", "-x", str(package), str(root))
    # Newer releases have these as links, which belong to a package that is not needed.
    for made in ("bin", "lib", "lib64", "sbin"):
        if not (root / made).exists() and (root / "usr" / made).is_dir():
            (root / made).symlink_to(f"usr/{made}")


def _wheels(emulator: Emulator) -> None:
    """This computer's versions, for Arm."""
    version = emulator.python.name.removeprefix("python")
    wheels, site = emulator.path / "wheels", emulator.path / "site"
    for made in (wheels, site):
        shutil.rmtree(made, ignore_errors=True)
    wanted = [f"{name}=={importlib.metadata.version(name)}" for name in WHEELS]
    platforms = [f"manylinux{name}_aarch64" for name in ("_2_28", "_2_27", "2014")]
    print(f"by pip, for Python {version} on aarch64: {', '.join(wanted)}", flush=True)
    _output(
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--disable-pip-version-check",
        "--only-binary=:all:",
        "--no-deps",
        "--python-version",
        version,
        "-d",
        str(wheels),
        *(part for name in platforms for part in ("--platform", name)),
        *wanted,
    )
    for wheel in sorted(wheels.glob("*.whl")):
        print(f"{wheel.stat().st_size:>12,} bytes  {wheel.name}")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)


def _compile(emulator: Emulator) -> tuple[int, str]:
    """The version of the interface that QEMU accepts; or 0, and why there is none."""
    compiler = shutil.which("cc")
    if compiler is None:
        return 0, "there is no C compiler (cc)"
    for version in _INTERFACES:
        _output(
            compiler,
            "-O2",
            "-shared",
            "-fPIC",
            f"-DINTERFACE={version}",
            str(HERE / "instructions.c"),
            "-o",
            str(emulator.plugin),
        )
        done = emulator.execute("-S", "-c", "", plugin=["-plugin", str(emulator.plugin)])
        if done.returncode == 0:
            return version, ""
    return 0, f"QEMU does not take the plugin: {done.stderr.strip()[-300:]}"


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} failed: {done.stderr.strip()[-600:]}")
    return done.stdout
