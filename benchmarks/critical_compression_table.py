# SPDX-License-Identifier: Apache-2.0
"""The table of `critical_compression.py`: what was found, beside what is published."""

import statistics

PUBLISHED = {"magnitude": 2.75, "random": 3.33, "snip": 3.58, "grasp": 3.58, "synflow": 5.92}
"""Means of three runs behind H. Tanaka et al., arXiv 2006.05467, figure 1; possible: 6.02."""
GRID = 0.25
"""Between the exponents that were tried for it: what is published is the last one that lives."""


def table(lines: list[dict], usual: dict) -> None:
    """Print mean exponents for every setting that was run; as found on a grid, beside the
    published.

    Args:
        lines: of the ledger, with all settings.
        usual: the settings of the paper.
    """
    from rich.console import Console
    from rich.table import Table

    found: dict[tuple, list[dict]] = {}
    for line in lines:
        if "exponent" in line:
            setting = tuple(line[name] for name in ("score", *usual))
            found.setdefault(setting, []).append(line)
    shown = Table(title="log10 of the largest compression before a layer of VGG-16 collapses")
    for column in ("score", "changed", "mean", "seeds", "on the grid", "published", "difference"):
        shown.add_column(column, justify="left" if column in ("score", "changed") else "right")
    order = sorted(
        found, key=lambda one: (list(PUBLISHED).index(one[0]), _changed(one, usual), str(one))
    )
    for setting in order:
        score = setting[0]
        runs = sorted(found[setting], key=lambda line: line["seed"])
        mean = statistics.mean(run["exponent"] for run in runs)
        gridded = statistics.mean(run["exponent"] // GRID * GRID for run in runs)
        shown.add_row(
            score,
            _changed(setting, usual),
            f"{mean:.2f}",
            "  ".join(f"{run['exponent']:.2f}" for run in runs),
            f"{gridded:.2f}",
            f"{PUBLISHED[score]:.2f}",
            f"{gridded - PUBLISHED[score]:+.2f}",
        )
    Console(width=110).print(shown)
    if "random" in {setting[0] for setting in found}:
        mean, spread = law(next(line["sizes"] for line in lines if "sizes" in line))
        print(f"Of i.i.d. scores the exponent of one seed is {mean:.2f} +- {spread:.2f}.")


def _changed(setting: tuple, usual: dict) -> str:
    """In which ways a run differs from the paper's."""
    said = [
        f"{name} {value}" if value is not True else name
        for name, value in zip(usual, setting[1:])
        if value != usual[name]
    ]
    return ", ".join(said)


def law(sizes: list[int], draws: int = 100_000) -> tuple[float, float]:
    """Mean and standard deviation of the exponent of i.i.d. scores.

    The best of n uniform numbers is U^(1/n); the layer with the lowest of them sets the limit.
    """
    import numpy as np

    uniform = np.random.default_rng(0).random((draws, len(sizes)))
    above = -np.expm1(np.log(uniform) / np.array(sizes))  # the fraction of scores that are higher
    exponents = -np.log10(np.maximum(above.max(axis=1), 1 / sum(sizes)))
    return float(exponents.mean()), float(exponents.std())
