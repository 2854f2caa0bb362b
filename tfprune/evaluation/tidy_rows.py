# SPDX-License-Identifier: Apache-2.0
"""Tidy rows as files: one JSON line and one line of a CSV table each."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfprune.output import atomic_write


def write_rows(path: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """Write <path>.jsonl and <path>.csv, both or none.

    Args:
        path: without an ending.
        rows: of the same keys.
        columns: these keys.

    Raises:
        OSError: they cannot be written; what was there stays.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_rows(Path(folder) / "found", [{"ratio": 0.5, "loss": 9.0}], ["ratio", "loss"])
        ...     (Path(folder) / "found.csv").read_text()
        'ratio,loss\\n0.5,9.0\\n'
    """
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    with atomic_write.reserved(path.with_suffix(".jsonl"), path.with_suffix(".csv")) as place:
        place.commit(
            "".join(json.dumps(row) + "\n" for row in rows).encode(), text.getvalue().encode()
        )
