# SPDX-License-Identifier: Apache-2.0
"""Multiplies what reads the channels of some sites: how a rule changes weights that it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np

from tfprune.channels.consumers import Outlet, Read, outlets
from tfprune.masks.sites import Site


@dataclass(frozen=True, eq=False)
class Reweighting:
    """The kernels that read the filters of some sites.

    Attributes:
        slices: (index of a site, filters [channels], what reads them) of each channel group.
        undone: the sites of which something is not re-weighted, by name, and why.
    """

    slices: tuple[tuple[int, np.ndarray, tuple[Read, ...]], ...]
    undone: dict[str, str]

    @classmethod
    def of(cls, model: Any, sites: Sequence[Site]) -> "Reweighting":
        """Find what reads the filters; where that cannot be told, nothing is re-weighted.

        Args:
            model: holds the sites; of a model without a graph nothing is re-weighted.
            sites: the sites whose filters have factors.
        """
        try:
            found = outlets(model, sites)
        except ValueError as error:
            return cls((), {site.name: str(error) for site in sites})
        slices, undone, done = [], {}, set()
        for index, site in enumerate(sites):
            if not found[site.name]:
                undone[site.name] = "nothing is known of what reads its filters"
            for way in found[site.name]:
                reason = _reason(way, site, sites)
                if reason is not None:
                    undone.setdefault(site.name, reason)
                elif way.group not in done:
                    done.add(way.group)
                    slices.append((index, way.filters[:, 0], way.reads))
        return cls(tuple(slices), undone)

    def readers(self, index: int) -> tuple[str, ...]:
        """The names of the kernels that are multiplied for a site."""
        return tuple(
            dict.fromkeys(
                read.name for held, _, reads in self.slices if held == index for read in reads
            )
        )

    def multiply(self, factors: Sequence[np.ndarray]) -> None:
        """Multiply the slices that read each filter. If that is interrupted, nothing has changed.

        Args:
            factors: [filters] of each site.
        """
        lines: dict[tuple[int, int], tuple[Any, np.ndarray]] = {}
        for index, filters, reads in self.slices:
            for read in reads:
                length = read.variable.shape[read.axis]
                _, line = lines.setdefault(
                    (id(read.variable), read.axis), (read.variable, np.ones(length, np.float32))
                )
                line[read.entries] *= np.asarray(factors[index])[filters][:, None]
        before = {key: variable.numpy() for (key, _), (variable, _) in lines.items()}
        try:
            for (_, axis), (variable, line) in lines.items():
                value = variable.numpy()
                wide = line.reshape([-1 if a == axis else 1 for a in range(value.ndim)])
                variable.assign((value.astype(np.float32) * wide).astype(value.dtype))
        except BaseException:
            for (key, _), (variable, _) in lines.items():
                variable.assign(before[key])
            raise


def _reason(way: Outlet, site: Site, sites: Sequence[Site]) -> str | None:
    """Why what reads these channels cannot be multiplied by one factor for each; None if it can."""
    if way.reason is not None:
        return f"the channels of {way.group} must stay: {way.reason}"
    if not way.reads:
        return f"nothing that reads the channels of {way.group} has weights"
    if site.couplings is not None:
        there = {one.name for one in sites}
        missing = [name for name in way.makers if name not in there]
        if missing:
            return f"the channels of {way.group} are made by {', '.join(missing)}, too"
    elif len(way.makers) > 1 or way.filters.shape[1] > 1:
        return (
            f"the channels of {way.group} are made by several filters, of "
            f"{', '.join(way.makers)}, that are drawn one by one: take Filter(coupled=True)"
        )
    return None
