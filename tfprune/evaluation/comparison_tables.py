# SPDX-License-Identifier: Apache-2.0
"""Words and tables of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tfprune.evaluation.network_result import NetworkResult, NoiseDistance
from tfprune.output.report_forms import Table

Networks = Sequence[NetworkResult]  # the reference first

_SHOWN = 5  # classes and corruptions of each network where not all are asked for
_MOST = 50  # classes where all are


def lead(
    one: NetworkResult, reference: NetworkResult, *, unit: str, class_name: Callable[[int], str]
) -> str:
    """Points lost, bytes, latency, the worst class and corruption of a network, in a sentence."""
    said = [_lost(one, reference, unit), *_savings(reference, one)]
    worst = next(iter(one.classes), None)
    if worst is not None and worst.change < 0:
        said.append(
            f"worst class {class_name(worst.label)} (recall {100 * worst.change:+.1f} points)"
        )
    said += _shifts(one, reference, unit)
    return f"{one.name}: {', '.join(filter(None, said))}."


def _shifts(one: NetworkResult, reference: NetworkResult, unit: str) -> Iterator[str]:
    """The corruptions that cost a network most more, and most less, than the reference."""
    name, worst, spared = reference.name, one.worst_kind, one.spared_kind
    if worst is not None:
        yield (
            f"worst corruption {worst.condition} ({_value(worst.against, unit)} {unit} more "
            f"than it costs {name})"
        )
    elif one.kinds:
        yield f"no corruption costs it clearly more than {name}"
    if spared is not None and (one.lost or 0) > 0:
        dense = {kind.condition: kind.loss for kind in reference.kinds}
        apart = spared.loss - dense[spared.condition]
        side = "behind" if apart > 0 else "ahead of"
        yield f"closest under {spared.condition} ({_value(abs(apart), unit)} {unit} {side} {name})"


def _lost(one: NetworkResult, reference: NetworkResult, unit: str) -> str:
    if one.lost is None:
        first = next(iter(one.noise), None)
        return "" if first is None else f"outputs {first.distance:.3g} away on average"
    if one.lost != one.lost:
        return "its loss is not a number"
    before, after = (_value(loss, unit) for loss in (reference.loss, one.loss))
    word = "lost" if one.lost >= 0 else "gained"
    what = "error" if unit == "points" else "loss"
    deviation = _value(one.deviation, unit)
    told = "" if deviation == "-" else f" +- {deviation}"
    return f"{_value(abs(one.lost), unit)}{told} {unit} {word} ({what} {before} -> {after})"


def _savings(reference: NetworkResult, one: NetworkResult) -> Iterator[str]:
    mine, theirs = one.costs, reference.costs
    if mine.bytes is not None:
        yield f"{mine.bytes:,} bytes" + (
            ""
            if theirs.bytes is None
            else " as before"
            if mine.bytes == theirs.bytes
            else f" instead of {theirs.bytes:,}"
        )
    if mine.latency_ms is not None:
        yield f"{mine.latency_ms:.3g} ms" + (
            f" instead of {theirs.latency_ms:.3g}" if theirs.latency_ms is not None else ""
        )


def quality(networks: Networks, unit: str, *, examples: int) -> Iterator[str | Table]:
    """Losses and calibration of each network."""
    rows = []
    for one in networks:
        first = next(iter(one.noise), None)
        rows.append(
            (
                one.name + (f" (mean of {one.copies})" if one.copies > 1 else ""),
                _value(one.loss, unit),
                "" if one is networks[0] else _value(one.lost, unit),
                "" if one is networks[0] else _value(one.deviation, unit),
                "" if first is None else _or_dash(first.agreement, lambda x: f"{100 * x:.1f} %"),
                "" if first is None else _or_dash(first.distance, lambda x: f"{x:.4g}"),
            )
        )
    loss = "error in %" if unit == "points" else unit or "loss"
    yield f"on {examples:,} examples:"
    yield _without_empty(Table(("network", loss, "lost", "+-", "agrees", "distance"), tuple(rows)))
    yield _without_empty(
        Table(
            ("network", "calibration error", "negative log-likelihood"),
            tuple(
                (
                    one.name,
                    _or_dash(one.calibration.error, lambda x: f"{100 * x:.2f} %"),
                    _or_dash(one.calibration.nll, lambda x: f"{x:.4f}"),
                )
                for one in networks
                if one.calibration is not None
            ),
        )
    )


def costs(networks: Networks) -> Iterator[Table]:
    """What each network takes, in two tables: to store, and to compute."""
    for columns in (
        (
            ("parameters", "parameters"),
            ("non-zero", "nonzeros"),
            ("bytes", "bytes"),
            ("activation bytes", "activation_bytes"),
        ),
        (("MACs", "macs"), ("with non-zeros", "effective_macs"), ("milliseconds", "latency_ms")),
    ):
        table = _without_empty(
            Table(
                ("network", *(head for head, _ in columns)),
                tuple(
                    (
                        one.name + (f" (the first of {one.copies})" if one.copies > 1 else ""),
                        *(_count(getattr(one.costs, field)) for _, field in columns),
                    )
                    for one in networks
                ),
            )
        )
        if len(table.head) > 1:
            yield table


def corruptions(
    networks: Networks, unit: str, *, everything: bool = False
) -> Iterator[str | Table]:
    """What each corruption costs the reference, and how much more it costs the others."""
    reference, *others = networks
    if not reference.kinds:
        return
    for title, field in (("the mean over severities", "kinds"), ("each severity", "shifts")):
        if field == "shifts" and (not everything or len(reference.shifts) == len(reference.kinds)):
            continue
        found = [{shift.condition: shift for shift in getattr(one, field)} for one in networks]
        names = [shift.condition for shift in getattr(reference, field)]
        if field == "kinds":
            names.sort(key=lambda name: -max((one[name].against for one in found[1:]), default=0))
        shown = names if everything else names[:_SHOWN]
        left = f"; the {len(shown)} worst of {len(names)}" if len(shown) < len(names) else ""
        yield (
            f"by how much more shifted data cost than {reference.name}, in {unit}, {title}{left}:"
        )
        yield Table(
            (
                "condition",
                f"{reference.name}: loss",
                "more than nominal",
                *(one.name for one in others),
            ),
            tuple(
                (
                    name,
                    _value(found[0][name].loss, unit),
                    _value(found[0][name].excess, unit),
                    *(_against(one[name], unit) for one in found[1:]),
                )
                for name in shown
            ),
        )


def noise(networks: Networks, yardstick: Sequence[NoiseDistance]) -> Iterator[str | Table]:
    """How far networks are from the reference under noise."""
    reference, *others = networks
    measured: list[tuple[str, Sequence[NoiseDistance]]] = [
        (one.name, one.noise) for one in others if len(one.noise) > 1
    ]
    if yardstick:
        name = f"{reference.name}, apart from each other"
        measured.append((name, yardstick))
    if not measured or len(measured[0][1]) < 2:
        return
    yield (
        f"distance of outputs from {reference.name} under uniform noise, in "
        "standard deviations of each channel:"
    )
    yield Table(
        ("noise", *(name for name, _ in measured)),
        tuple(
            (f"{sizes[0].size:g}", *map(_apart, sizes))
            for sizes in zip(*(found for _, found in measured), strict=True)
        ),
    )


def classes(
    one: NetworkResult,
    reference: str,
    *,
    class_name: Callable[[int], str],
    examples: int,
    everything: bool = False,
) -> Iterator[str | Table]:
    """How the recall of each class changed, the worst first."""
    if not one.classes:
        return
    known = [row for row in one.classes if row.change == row.change]  # nan: without examples
    shown = known[: _MOST if everything else _SHOWN]
    left = f", the {len(shown)} worst of {len(known)}" if len(shown) < len(known) else ""
    found = 0 if one.exemplars is None else len(one.exemplars.indices)
    yield (
        f"{one.name}: {found:,} of {examples:,} examples are seen differently than "
        f"by {reference}; recall of classes in points{left}:"
    )
    yield _without_empty(
        Table(
            ("class", reference, one.name, "change", "against the mean", "t", "p"),
            tuple(
                (
                    class_name(row.label),
                    f"{100 * row.dense:.1f}",
                    f"{100 * row.pruned:.1f}",
                    f"{100 * row.change:+.1f}",
                    f"{100 * row.against_mean:+.1f}",
                    _or_dash(row.t, lambda x: f"{x:.2f}"),
                    _or_dash(row.p, lambda x: f"{x:.3f}"),
                )
                for row in shown
            ),
        )
    )


def _value(value: float | None, unit: str) -> str:
    if value is None or value != value:
        return "-"
    return f"{round(value, 1) + 0.0:.1f}" if unit == "points" else f"{value:.4g}"


def _against(shift: Any, unit: str) -> str:
    """Marked where chance alone would hardly do it."""
    return f"{_value(shift.against, unit)}{' *' if shift.stands_out else ''}"


def _apart(one: NoiseDistance) -> str:
    agreement = "" if one.agreement is None else f"; {100 * one.agreement:.1f} % agree"
    return _or_dash(one.distance, lambda x: f"{x:.4g}{agreement}")


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def _or_dash(value: Any, form: Callable[[Any], str]) -> str:
    return "-" if value is None or value != value else form(value)


def _without_empty(table: Table) -> Table:
    """Without columns that say nothing."""
    columns: Iterable[tuple[str, ...]] = zip(table.head, *table.rows, strict=True)
    kept = [column for n, column in enumerate(columns) if not n or set(column[1:]) - {"", "-"}]
    head, *rows = zip(*kept, strict=True)
    return Table(head, tuple(rows))
