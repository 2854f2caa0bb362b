# SPDX-License-Identifier: Apache-2.0
"""The kernels that read the filters of some sites, multiplied by one factor for each filter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np

from tfprune.channels.consumers import Outlet, Read, outlets
from tfprune.masks.sites import Site


@dataclass(frozen=True, eq=False)
class Consumers:
    """The kernels that read the filters of some sites.

    Attributes:
        slices: (index of a site, filters [channels], what reads them) of each channel group.
        undone: the sites of which something is not re-weighted, by name, and why.
    """

    slices: tuple[tuple[int, np.ndarray, tuple[Read, ...]], ...]
    undone: dict[str, str]

    @classmethod
    def of(cls, model: Any, sites: Sequence[Site]) -> "Consumers":
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

    def notes(self, sites: Sequence[Site]) -> dict[str, tuple[str, ...]]:
        """What is to be reported of each site: the names of the kernels that read it."""
        notes: dict[str, tuple[str, ...]] = {}
        for index, site in enumerate(sites):
            slices = (reads for held, _, reads in self.slices if held == index)
            names = dict.fromkeys(read.name for reads in slices for read in reads)
            if names:
                notes[site.name] = (f"what reads it is re-weighted: {', '.join(names)}",)
        return notes

    def multiplied(self, factors: Sequence[np.ndarray]) -> list[tuple[Any, np.ndarray]]:
        """(kernel, new value), with the slices that read each filter multiplied.

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
        values: dict[int, tuple[Any, np.ndarray]] = {}
        for (key, axis), (variable, line) in lines.items():
            _, value = values.get(key) or (variable, variable.numpy())
            wide = line.reshape([-1 if a == axis else 1 for a in range(value.ndim)])
            values[key] = variable, (value.astype(np.float32) * wide).astype(value.dtype)
        return list(values.values())


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
