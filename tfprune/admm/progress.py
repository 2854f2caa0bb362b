"""The progress bar: the layer, and how far its weights are off the structure."""

from __future__ import annotations

from typing import Any


class Progress:
    """Shows how the layers come along; nothing where the output is no terminal.

    Args:
        total: periods of all layers together.
        shown: False: nothing at all.
    """

    def __init__(self, total: int, shown: bool):
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich import progress

        console = Console()
        self._bar = progress.Progress(
            TextColumn("{task.description}"), BarColumn(),
            TextColumn("off the structure: {task.fields[residual]}"), TimeRemainingColumn(),
            console=console, transient=True, disable=not (shown and console.is_terminal),
        )
        self._task = self._bar.add_task("ADMM", total=total, residual="-")

    def advance(self, name: str, residual: float, periods: int = 1) -> None:
        """Some periods of a layer are done; `residual` = ||W - Z|| / ||W||."""
        self._bar.update(self._task, advance=periods, description=f"ADMM {name}",
                         residual=f"{residual:.1e}")

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._bar.stop()
