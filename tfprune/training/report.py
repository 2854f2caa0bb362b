# SPDX-License-Identifier: Apache-2.0
"""The report of a run: sparsity asked for and reached, what was left out, and why."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Iterable, Mapping, Sequence

from tfprune.backend.model_view import ModelView
from tfprune.masks.array_namespace import array
from tfprune.masks.costs import macs, parameters
from tfprune.masks.sites import Site, Skip
from tfprune.output.report_forms import Table, as_dict, markdown, plain_text, rich_parts
from tfprune.statistics.measured_model import Subject
from tfprune.training import run_checks
from tfprune.training.connectivity import Paths, paths
from tfprune.training.model_hooks import hooks_in, report_lines
from tfprune.training.plan import unserved
from tfprune.training.wrapped import method_of, target_of


@dataclass(frozen=True)
class SiteReport:
    """One site's row.

    Attributes:
        name, shape: of the weight.
        structure: which weights go together, as text; None where nobody recorded it.
        target: sparsity asked of the groups of this site; None where nobody recorded it.
        kept: non-zero weights, counted.
        size: all weights.
        macs: multiplications by non-zero weights for one example; None where the number of
            positions cannot be told.
        notes: what the choice of its masks rests on.
        stranded: kept weights that lie on no path from an input to an output; None: not followed.
    """

    name: str
    shape: tuple[int, ...]
    structure: str | None
    target: float | None
    kept: int
    size: int
    macs: int | None
    notes: tuple[str, ...] = ()
    stranded: int | None = None

    @property
    def sparsity(self) -> float:
        return 1 - self.kept / self.size

    def cells(self) -> tuple[str, ...]:
        """The row of a table."""
        return (
            self.name,
            "x".join(map(str, self.shape)),
            _percent(self.target),
            f"{self.kept:,}",
            f"{self.size:,}",
            _percent(self.sparsity),
            "-" if self.macs is None else f"{self.macs:,}",
        )


@dataclass(frozen=True)
class Report:
    """The sparsity of a model, read from its weights.

    Attributes:
        sites: one row per prunable weight.
        skipped: layers that stay dense, with the reason.
        warnings: what did not go as asked.
        paths: what is left of the paths from the inputs to the outputs, in words.
        remarks: what is to be known of the whole model.
    """

    sites: tuple[SiteReport, ...]
    skipped: tuple[Skip, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    paths: str = "not followed"
    remarks: tuple[str, ...] = ()

    @property
    def kept(self) -> int:
        return sum(site.kept for site in self.sites)

    @property
    def size(self) -> int:
        return sum(site.size for site in self.sites)

    @property
    def sparsity(self) -> float:
        """Fraction of the prunable weights that are zero."""
        return 1 - self.kept / self.size if self.size else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        sites = [{**as_dict(site), "sparsity": site.sparsity} for site in self.sites]
        return {
            **as_dict(self),
            "sites": sites,
            "kept": self.kept,
            "size": self.size,
            "sparsity": self.sparsity,
        }

    def parts(self) -> Iterable[str | tuple[str, ...] | Table]:
        """What is printed: the sites, and what is to be said of them."""
        known = [site.macs for site in self.sites if site.macs is not None]
        macs = f"{sum(known):,}" if len(known) == len(self.sites) else "-"
        yield Table(
            ("weight", "shape", "target", "kept", "of", "sparsity", "MACs"),
            (
                *(site.cells() for site in self.sites),
                ("all", "", "", f"{self.kept:,}", f"{self.size:,}", _percent(self.sparsity), macs),
            ),
        )
        alike: dict[str, list[str]] = {}
        for site in self.sites:
            if site.structure:
                alike.setdefault(site.structure, []).append(site.name)
        for structure, names in alike.items():
            which = "all weights" if len(names) == len(self.sites) else ", ".join(names)
            yield f"structure {structure}: {which}"
        yield f"paths from inputs to outputs: {self.paths}"
        yield (
            *(f"note: {site.name}: {note}" for site in self.sites for note in site.notes),
            *(f"note: {remark}" for remark in self.remarks),
            *(f"stays dense: {skip.name} ({skip.reason})" for skip in self.skipped),
            *(f"warning: {warning}" for warning in self.warnings),
        )

    __str__, __rich_console__, to_markdown = plain_text, rich_parts, markdown


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.2f} %"


def of_sites(
    rows: Iterable[tuple[Site, Any, Any, float | None]],
    skipped: Iterable[Skip],
    *,
    warnings: Iterable[str] = (),
    notes: Mapping[str, Sequence[str]] = {},
) -> Report:
    """A report from (site, weight as an array, structure, target) rows, and notes by site, under
    "" of the whole model."""
    sites = []
    for site, weight, structure, target in rows:
        text = None if structure is None else repr(structure)
        kept = parameters(site.shape, weight)
        sites.append(
            SiteReport(
                site.name,
                site.shape,
                text,
                target,
                kept,
                site.size,
                macs((kept,), site.positions),
                tuple(notes.get(site.name, ())),
            )
        )
    collapsed = [
        f"All weights of {site.name} are zero: nothing passes this layer."
        for site in sites
        if not site.kept
    ]
    return Report(
        tuple(sites), tuple(skipped), (*collapsed, *warnings), remarks=tuple(notes.get("", ()))
    )


def of_run(drivers: Sequence[Any]) -> Report:
    """The report of a finished run, with what did not go as asked."""
    settles = [settle for driver in drivers for settle in driver.settles]
    if not settles:  # a teacher alone
        return of_model(drivers[0].view)
    rows = (  # one at a time: together they would take the memory of the weights once more
        (
            target.site,
            array(target.kernel),
            settle.method.rule.structure,
            1 - parameters(target.site.shape, array(target.mask)) / target.site.size,
        )
        for settle in settles
        for target in settle.targets
    )
    notes = {
        name: texts
        for driver in drivers
        for updates in driver.updates
        for name, texts in updates.notes.items()
    }
    notes.update(report_lines(drivers[0].view))
    pruned = set()
    for settle in settles:
        for target in settle.targets:
            pruned.add(target.site.name)
            notes.setdefault(target.site.name, _kept_notes(settle.method, target))
    skipped = dict.fromkeys(
        skip for driver in drivers for skip in driver.skipped if skip.name not in pruned
    )
    warnings = [text for driver in drivers for text in _warnings(driver)]
    return of_sites(rows, skipped, warnings=warnings, notes=notes)


def of_model(view: ModelView) -> Report:
    """The report of any model; targets are known for wrapped layers only."""
    skipped = list(view.skipped)
    rows, notes = [], {}
    for item in view.sites:
        structure = asked = None
        reason = item.wrapper and unserved(method_of(item.wrapper), item.site)
        if reason:
            skipped.append(Skip(item.site.name, reason))
        elif item.wrapper is not None:
            held, method = target_of(item), method_of(item.wrapper)
            structure = method.rule.structure
            asked = 1 - parameters(item.site.shape, array(held.mask)) / item.site.size
            notes[item.site.name] = _kept_notes(method, held)
        rows.append((item.site, array(item.variable), structure, asked))
    notes.update(report_lines(view))
    report = of_sites(rows, skipped, notes=notes)
    if not (rows and view.is_model and view.is_built):
        return report
    found = view.sites
    for hooks in hooks_in(view):
        model = hooks.traced(view)
        if isinstance(model, str):
            return _with_paths(report, model)
        view = view.at(model)
    return _with_paths(report, paths(Subject(view, found)))


def _kept_notes(method: Any, target: Any) -> tuple[str, ...]:
    """What the rule has to say of a site, from what is kept for it."""
    return method.rule.notes(target.site, {name: array(one) for name, one in target.state.items()})


def _with_paths(report: Report, left: Paths | str) -> Report:
    if isinstance(left, str):
        return replace(report, paths=f"not followed ({left})")
    sites = tuple(replace(site, stranded=left.stranded[site.name]) for site in report.sites)
    if not left.connected:
        return replace(report, sites=sites, paths="none is left: the outputs are constants")
    count = sum(site.stranded or 0 for site in sites)
    lost = ", ".join(f"{site.stranded:,} of {site.name}" for site in sites if site.stranded)
    text = "every kept weight lies on one"
    if count:
        text = f"{count:,} of the {report.kept:,} kept weights lie on none ({lost})"
    return replace(report, sites=sites, paths=text)


def sparsity(drivers: Sequence[Any]) -> float:
    """Fraction of zeros in all the weights that drivers prune."""
    targets = [target for driver in drivers for target in driver.targets]
    kept = sum(parameters(target.site.shape, array(target.kernel)) for target in targets)
    return 1 - kept / sum(target.site.size for target in targets)


def _warnings(driver: Any) -> list[str]:
    found = []
    for settle in driver.settles:
        found += run_checks.of_length(
            settle.timetable,
            settle.method.schedule,
            driver.finished,
            f"training ended after {driver.finished} steps",
        )
        found += run_checks.of_masks(settle, driver.begin, driver.finished)
        found += run_checks.of_channels(settle, driver.finished)
        found += run_checks.of_floors(settle)
    return found + [text for updates in driver.updates for text in updates.cautions]
