"""The headline of a report: the few figures that answer the question, each with its interval."""

from __future__ import annotations

from typing import Final

from joulecut.benchmarks.records import Comparison
from joulecut.estimate import Estimate
from joulecut.hw_models.profile import EnergyProfile
from joulecut.pruning.quality_records import Quality
from joulecut.pruning.records import Budget, LimitCheck, PruneRecord
from joulecut.reports.quality_tables import accuracy_text
from joulecut.reports.text import (
    describe,
    interval,
    points,
    printable,
    quantity,
    remaining,
    shorten,
    spread,
    value,
)
from joulecut.reports.view import NAME_WIDTH, Fact, Tone
from joulecut.units import format_percent

__all__ = ["comparison_facts", "profile_facts", "prune_facts"]

_MET: Final[dict[str, tuple[str, Tone]]] = {
    "yes": ("met", "good"),
    "no": ("not met", "bad"),
    "unsure": ("unsure", "unsure"),
}
_NO_TIME: Final = Fact("Time", "unknown", "the device has no model of time")
_VERDICTS: Final[dict[str, Tone]] = {"faster": "good", "slower": "bad", "inconclusive": "unsure"}


def profile_facts(profile: EnergyProfile) -> tuple[Fact, ...]:
    """Energy, static part, time and the costliest layer."""
    samples = "one inference" if profile.batch == 1 else f"one inference of {profile.batch} samples"
    facts = [
        _figure(f"Energy of {samples}", profile.total),
        _figure("Static part", profile.idle),
        _figure("Time", profile.duration) if profile.duration.value else _NO_TIME,
    ]
    if profile.unattributed.value:
        facts.append(_figure("Unattributed", profile.unattributed))
    if profile.layers:
        top = max(profile.layers, key=lambda layer: layer.energy.value)
        where = f"{shorten(printable(top.path), NAME_WIDTH)}: {describe(top.energy)}"
        facts.append(Fact("Costliest layer", quantity(top.share, "1"), where))
    if profile.uncounted:
        calls = sum(item.calls for item in profile.uncounted)
        facts.append(Fact("Not counted", f"{calls} calls", "operations without a counting rule", "unsure"))
    return tuple(facts)


def prune_facts(record: PruneRecord) -> tuple[Fact, ...]:
    """Energy before and after, the budget, the accuracy, the latency."""
    before, after = record.before.total, record.after.total
    left = remaining(before, after)
    facts = [
        Fact(
            "Energy of one inference",
            f"{value(before)} → {value(after)}",
            f"{interval(before)} → {interval(after)}, {after.origin}",
        )
    ]
    if left is not None:
        detail = f"{interval(left)}; what is common to the device cancels"
        facts.append(Fact("Left of the original", value(left), detail))
    return (*facts, *_budget(record, left), _accuracy(record), _latency(record))


def _budget(record: PruneRecord, left: Estimate | None) -> tuple[Fact, ...]:
    """The budget; where it has several limits, each of them too."""
    word, tone = _MET[record.met]
    sure = f"at {format_percent(record.budget.confidence, 0)} confidence"
    if len(record.limits) > 1:
        met = sum(check.met == "yes" for check in record.limits)
        whole = Fact("Budget", word, f"{met} of {len(record.limits)} limits met {sure}", tone)
        return (whole, *(_limit(check, left) for check in record.limits))
    reached = left if record.budget.share is not None else record.after.total
    if record.limits:
        reached = _figure_of(record.limits[0], left)
    parts = [f"asked for {_asked(record.budget)}"]
    if reached is not None:
        high = quantity(reached.bounds(record.budget.confidence)[1], reached.unit)
        parts.append(f"upper bound {high} {sure}")
    return (Fact("Budget", word, "; ".join(parts), tone),)


def _figure_of(check: LimitCheck, left: Estimate | None) -> Estimate | None:
    """What was reached; of a share, the share."""
    share = check.asked.endswith("of the original")
    return left if share and check.figure is not None and check.figure.unit != "1" else check.figure


def _limit(check: LimitCheck, left: Estimate | None) -> Fact:
    word, tone = _MET[check.met]
    what, asked = shorten(printable(check.what), NAME_WIDTH), shorten(printable(check.asked), NAME_WIDTH)
    return Fact(f"Limit: {what}", word, f"{asked}; reached {_reached(_figure_of(check, left))}", tone)


def _reached(figure: Estimate | None) -> str:
    if figure is None:
        return "not known"
    low, high = figure.bounds(0.9)
    return f"{value(figure)} {figure.origin}" if low == high else describe(figure)


def _asked(budget: Budget) -> str:
    if budget.min_accuracy is None:
        return str(budget)
    return f"{budget}, accuracy of at least {quantity(budget.min_accuracy, '1')}"


def _accuracy(record: PruneRecord) -> Fact:
    pair = record.quality
    if pair is None:
        return Fact("Accuracy", "unknown", "no labelled data was given", "unsure")
    low, high = (points(bound, unit=False) for bound in (pair.accuracy_change_lo, pair.accuracy_change_hi))
    states = f"{quantity(pair.before.accuracy, '1')} → {accuracy_text(pair.after)}"
    split = shorten(printable(pair.after.split), NAME_WIDTH)
    return Fact("Accuracy", points(pair.accuracy_change), f"paired {low} to {high}; {states} on {split}")


def _latency(record: PruneRecord) -> Fact:
    pair = record.quality
    if not record.comparison:
        return Fact("Latency", "not benchmarked")
    times = None if pair is None else _times(pair.before, pair.after)
    return Fact("Latency", times or "benchmarked", printable(record.comparison))


def _times(before: Quality, after: Quality) -> str | None:
    if before.latency is None or after.latency is None:
        return None
    return f"{value(before.latency)} → {value(after.latency)}"


def comparison_facts(comparison: Comparison) -> tuple[Fact, ...]:
    """One fact a pair: the verdict and the ratio that decided it."""
    facts: list[Fact] = []
    for pair in comparison.pairs:
        decided = pair.cpu_ratio if pair.contended else pair.ratio
        by = "CPU time, the machine was busy" if pair.contended else "wall time"
        label = f"{shorten(printable(pair.b), 28)} against {shorten(printable(pair.a), 28)}"
        detail = f"{spread(decided)} of the {by}; margin ±{quantity(pair.margin, '1')}"
        facts.append(Fact(label, pair.verdict, detail, _VERDICTS.get(pair.verdict, "")))
    if not comparison.pairs:
        facts.extend(
            _figure(shorten(printable(model.file), NAME_WIDTH), model.p50_s) for model in comparison.models
        )
    return tuple(facts)


def _figure(label: str, estimate: Estimate) -> Fact:
    return Fact(label, value(estimate), f"{interval(estimate)}, {estimate.origin}")
