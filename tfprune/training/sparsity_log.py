# SPDX-License-Identifier: Apache-2.0
"""Shows and records sparsity while a model is pruned: a progress bar, and TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfprune.backend import view
from tfprune.output.argument_checks import check_kind, check_path
from tfprune.training.callback_base import Hooks
from tfprune.training.report import of_model


class SparsityLog(Hooks):
    """Shows a progress bar with the sparsity, and writes each weight's to TensorBoard.

    Put it behind `PruningCallback` in the list of callbacks.

    Args:
        log_dir: folder for TensorBoard: one scalar `sparsity/<weight>` per weight and epoch, and
            `sparsity` for all; None: not written.
        progress: whether to show a progress bar over the steps of the run, with the logs of the
            last epoch. Pass `verbose=0` to `fit` to silence Keras' own.
        title: text before the bar.

    Raises:
        ValueError: neither a log_dir nor progress; a path that no folder can have.
        TypeError: an argument of another type.
        NotADirectoryError: when training begins, where `log_dir` is a file.

    Example:
        >>> SparsityLog(progress=True).log_dir is None
        True
    """

    _needs_batches = True

    def __init__(
        self, log_dir: str | Path | None = None, progress: bool = True, *, title: str = "pruning"
    ):
        super().__init__()
        if log_dir is not None:
            log_dir = check_path(log_dir, "the folder for TensorBoard")
        check_kind("progress", progress, bool, "True or False")
        check_kind("title", title, str, "the text before the bar")
        if log_dir is None and not progress:
            raise ValueError("SparsityLog has nothing to do: give a log_dir, or progress=True.")
        self.log_dir = log_dir
        self.progress = progress
        self.title = title
        self._bar: Any = None
        self._writer: Any = None

    def on_train_begin(self, logs=None):
        if self.log_dir is not None:
            import tensorflow as tf

            if Path(self.log_dir).is_file():
                raise NotADirectoryError(f"log_dir={self.log_dir!r} is a file: pass a folder.")
            self._writer = tf.summary.create_file_writer(self.log_dir)
        if self.progress:
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:.0f} %"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[now]}"),
            )
            steps = self.params.get("steps")
            total = steps * self.params.get("epochs", 1) if steps else None
            self._task = self._bar.add_task(self.title, total=total, now="")
            self._bar.start()

    def on_epoch_begin(self, epoch, logs=None):
        self._finished = epoch * (self.params.get("steps") or 0)

    def on_train_batch_end(self, batch, logs=None):
        if self._bar is not None:
            self._bar.update(self._task, completed=self._finished + batch + 1)

    def on_epoch_end(self, epoch, logs=None):
        if self._bar is not None:
            now = ", ".join(f"{name} {float(value):.3f}" for name, value in (logs or {}).items())
            self._bar.update(self._task, now=now)
        if self._writer is not None:
            import tensorflow as tf

            report = of_model(view(self.model, layers=True))
            with self._writer.as_default(step=epoch):
                tf.summary.scalar("sparsity", report.sparsity)
                for site in report.sites:
                    tf.summary.scalar(f"sparsity/{site.name}", site.sparsity)
            self._writer.flush()

    def on_train_end(self, logs=None):
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
