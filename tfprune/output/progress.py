# SPDX-License-Identifier: Apache-2.0
"""The progress bar of long work."""

from __future__ import annotations

from typing import Any


class Progress:
    """Shows how far some work has come; nothing where the output is no terminal.

    Args:
        title: of the work.
        total: number of its parts.
        label: what is said beside the bar.
        shown: False: nothing at all.
    """

    def __init__(self, title: str, total: int, *, label: str = "", shown: bool = True):
        from rich import progress
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

        console = Console()
        self._title = title
        self._bar = progress.Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn(f"{label}{{task.fields[said]}}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not (shown and console.is_terminal),
        )
        self._task = self._bar.add_task(title, total=total, said="-")

    def advance(self, said: str, *, name: str = "", parts: int = 1) -> None:
        """Some parts are done.

        Args:
            said: what stands beside the bar.
            name: of the part, behind the title.
            parts: how many.
        """
        self._bar.update(
            self._task, advance=parts, description=f"{self._title} {name}".strip(), said=said
        )

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._bar.stop()
