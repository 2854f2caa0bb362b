# SPDX-License-Identifier: Apache-2.0
"""An emulated 64-bit Arm computer with LiteRT, in a folder that emulator_setup.py fills."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CPUS", "Emulator", "Ran", "folder"]

HERE = Path(__file__).resolve().parent
_OLD = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
_DOT = f"{_OLD} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"
# QEMU's name -> the core's number and features, as Linux lists them.
CPUS = {
    "neoverse-n1": ("0xd0c", _DOT),
    "cortex-a76": ("0xd0b", _DOT),
    "cortex-a72": ("0xd08", _OLD),
    "cortex-a53": ("0xd03", _OLD),
}


def folder() -> Path:
    """Where the emulator is kept if nothing else is said."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "tfprune-emulated"


@dataclass(frozen=True)
class Ran:
    """What happened to a file: `fault` or None; `instructions` of an inference, None if they were
    not counted."""

    fault: str | None = None
    instructions: int | None = None


@dataclass(frozen=True)
class Emulator:
    """The emulator in a folder.

    Fields: `path` = the folder; `cpu` = one of `CPUS`; `seconds` = how long a process may take.
    """

    path: Path
    cpu: str = "neoverse-n1"
    seconds: float = 600

    @property
    def missing(self) -> str:
        """Why nothing can be run, or ""."""
        if self.state.exists():
            return ""
        return f"there is no emulator in {self.path}; run `python benchmarks/emulated.py setup`"

    @property
    def uncounted(self) -> str:
        """Why instructions are not counted, or ""."""
        return json.loads(self.state.read_text())["uncounted"]

    def run(self, jobs: list[tuple[Path, Path, Path]]) -> list[Ran]:
        """Run files on the emulated computer.

        Args:
            jobs: (model, inputs, outputs) as `emulated_program` takes them.
        Returns:
            One `Ran` each. A file over which the process dies is a fault of that file.
        """
        self.describe()
        found: list[Ran] = []
        while len(found) < len(jobs):
            found += self._some(jobs[len(found) :])
        return found

    def _some(self, jobs: list[tuple[Path, Path, Path]]) -> list[Ran]:
        marks = self.path / f"marks-{os.getpid()}"
        marks.unlink(missing_ok=True)
        plugin = [] if self.uncounted else ["-plugin", f"{self.plugin},out={marks}"]
        files = [str(path.resolve()) for job in jobs for path in job]
        try:
            done = self.execute(str(HERE / "emulated_program.py"), *files, plugin=plugin)
            lines = done.stdout.splitlines()
            fault = f"it ended the process with code {done.returncode}"
        except subprocess.TimeoutExpired as error:
            printed = error.stdout or b""
            lines = (printed if isinstance(printed, str) else printed.decode()).splitlines()
            fault = f"not finished within {self.seconds:g} seconds"
        numbers = [int(line) for line in marks.read_text().split()] if marks.exists() else []
        marks.unlink(missing_ok=True)
        pairs = iter(zip(numbers[::2], numbers[1::2]))
        found = []
        for line in lines:
            before, after = next(pairs, (0, 0)) if line == "done" else (0, 0)
            found.append(Ran(None if line == "done" else line, after - before or None))
        return found if len(found) == len(jobs) else [*found, Ran(fault)]

    def execute(self, *arguments: str, plugin: list[str]) -> subprocess.CompletedProcess:
        """Run the Arm computer's Python, QEMU with the libraries that it was unpacked with."""
        tools, arm = self.path / "tools", self.path / "arm"
        loader = next(tools.glob("lib*/ld-linux*.so*"), None) or next(
            tools.glob("usr/lib*/**/ld-linux*.so*")
        )
        libraries = ":".join(
            map(str, [*tools.glob("lib/*-linux-gnu*"), *tools.glob("usr/lib/*-linux-gnu*")])
        )
        # Names without a folder of the Arm computer's are this computer's files: nothing may be
        # written beside its modules.
        environment = {
            "PYTHONPATH": str(self.path / "site"),
            "PYTHONNOUSERSITE": "1",
            "PYTHONPYCACHEPREFIX": str(self.path / "compiled"),
            "OPENBLAS_NUM_THREADS": "1",
        }
        return subprocess.run(
            [
                str(loader),
                "--library-path",
                libraries,
                str(tools / "usr/bin/qemu-aarch64"),
                "-cpu",
                self.cpu,
                "-L",
                str(arm),
                *plugin,
                str(self.python),
                *arguments,
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=self.seconds,
        )

    def describe(self) -> None:
        """Write what Linux would say of the processor: LiteRT crashes without."""
        part, features = CPUS[self.cpu]
        path = self.path / "arm" / "proc" / "cpuinfo"
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            f"processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: {features}\n"
            "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x1\n"
            f"CPU part\t: {part}\nCPU revision\t: 1\n"
        )

    @property
    def plugin(self) -> Path:
        """What counts instructions."""
        return self.path / "instructions.so"

    @property
    def python(self) -> Path:
        """The Arm computer's."""
        return next((self.path / "arm" / "usr" / "bin").glob("python3.*[0-9]"))

    @property
    def state(self) -> Path:
        """Written when all is there."""
        return self.path / "ready.json"
