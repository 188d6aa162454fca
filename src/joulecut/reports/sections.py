"""What a report holds and in which order, for each kind of record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joulecut.benchmarks.records import Comparison
from joulecut.hw_models.profile import EnergyProfile
from joulecut.pruning.records import PruneRecord
from joulecut.reports.bench_tables import latency_table, ratio_table, without_folder
from joulecut.reports.figures import forest, search_path, staircases
from joulecut.reports.headline import comparison_facts, profile_facts, prune_facts
from joulecut.reports.icicle import icicle
from joulecut.reports.profile_tables import filter_table, layer_table, provenance_table, uncounted_table
from joulecut.reports.prune_tables import also_table, kept_table, notes_table, refused_table, stage_table
from joulecut.reports.quality_tables import classes_table, quality_table, training_table
from joulecut.reports.steps_tables import steps_table
from joulecut.reports.text import BOUNDARIES, printable, quantity
from joulecut.reports.view import Fact, Section, Table
from joulecut.units import format_count

__all__ = ["Report", "report_of"]


@dataclass(frozen=True, slots=True)
class Report:
    """A record made ready to be shown.

    Attributes:
        kind: what it reports on, in two or three words.
        title: name of the network, or what was compared.
        about: device, boundary and batch, in a sentence.
        facts: the headline.
        sections: in order.
        figures: data of the drawn figures, by the keys that the sections name.
    """

    kind: str
    title: str
    about: str
    facts: tuple[Fact, ...]
    sections: tuple[Section, ...]
    figures: dict[str, Any]


def report_of(record: EnergyProfile | PruneRecord | Comparison) -> Report:
    """The report of a record.

    >>> report_of(Comparison((), (), {"seed": "0"})).title
    'Latency in onnxruntime'
    """
    if isinstance(record, PruneRecord):
        return _prune_report(record)
    if isinstance(record, EnergyProfile):
        return _profile_report(record)
    return _comparison_report(record)


def _profile_report(profile: EnergyProfile) -> Report:
    layers = layer_table(profile, key="layers", caption=_LAYER_CAPTION)
    sections = (
        Section("layers-section", "Energy by layer", _ICICLE_LEAD, (layers,), "icicle"),
        *_stairs_section(profile, {}),
        *_end_sections(profile, profile.provenance),
    )
    figures = {
        "icicle": icicle([(printable(profile.model), profile)]),
        "stairs": staircases(profile.filters, {}),
    }
    return Report(
        "energy profile", printable(profile.model), _about(profile), profile_facts(profile), sections, figures
    )


def _prune_report(record: PruneRecord) -> Report:
    before, after = record.before, record.after
    layers = (
        layer_table(before, key="layers-before", caption=f"Before. {_LAYER_CAPTION}"),
        layer_table(after, key="layers-after", caption=f"After. {_LAYER_CAPTION}", before=before),
    )
    pair = record.quality
    quality = () if pair is None else (quality_table(pair), *_filled(training_table(pair)))
    outcome = (
        *quality,
        *_filled(stage_table(record.rows)),
        *_filled(also_table(record.also)),
        *_filled(notes_table(record.notes)),
    )
    classes = () if pair is None else _filled(classes_table(pair))
    steps = steps_table(record.steps, before.total)
    figures: dict[str, Any] = {
        "icicle": icicle([("Before", before), ("After", after)]),
        "stairs": staircases(before.filters, record.kept),
    }
    if record.steps:
        figures["path"] = search_path(record)
    sections = (
        *_section("outcome", "Before and after", "", outcome),
        *_section("classes-section", "Class by class", "", classes, folded=True),
        Section("layers-section", "Energy by layer", _ICICLE_LEAD, layers, "icicle", choice=True),
        *([Section("path-section", "The way there", _PATH_LEAD, (), "path")] if record.steps else []),
        *_section(
            "steps-section", _counted(len(record.steps), "step"), _STEPS_LEAD, _filled(steps), folded=True
        ),
        *_stairs_section(before, record.kept),
        *_section("kept-section", "Widths", "", _filled(kept_table(record.kept))),
        *_section("refused-section", "What had to stay", "", _filled(refused_table(record.refused))),
        *_end_sections(before, record.before.provenance | record.provenance),
    )
    return Report(
        "pruning run", printable(record.model), _about(before), prune_facts(record), sections, figures
    )


def _comparison_report(whole: Comparison) -> Report:
    comparison = without_folder(whole)
    tables = (ratio_table(comparison),) if comparison.pairs else ()
    sections = (
        *_section("ratio-section", "Ratios", _FOREST_LEAD, tables, figure="forest"),
        *_section("latency-section", "Latency", "", _filled(latency_table(comparison.models))),
        *_section("provenance-section", "Provenance", "", _filled(provenance_table(comparison.provenance))),
    )
    figures = {"forest": forest(comparison)} if comparison.pairs else {}
    calls = sum(model.calls for model in comparison.models)
    count = len(comparison.models)
    networks = f"{_counted(count, 'network')}, {format_count(calls)} calls"
    return Report(
        "benchmark",
        "Latency in onnxruntime",
        f"{networks}, interleaved call by call in one process" if comparison.pairs else networks,
        comparison_facts(comparison),
        sections,
        figures,
    )


def _about(profile: EnergyProfile) -> str:
    device, mode = printable(profile.device), printable(profile.mode)
    samples = "one sample" if profile.batch == 1 else f"{profile.batch} samples"
    return f"On {device} ({mode}), {BOUNDARIES[profile.boundary]}; {samples} at a time"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def _filled(table: Table) -> tuple[Table, ...]:
    return (table,) if table.rows else ()


def _section(
    key: str, title: str, lead: str, tables: tuple[Table, ...], *, figure: str = "", folded: bool = False
) -> tuple[Section, ...]:
    """One section, or none where there is nothing to show."""
    return (Section(key, title, lead, tables, figure, folded),) if tables else ()


def _stairs_section(profile: EnergyProfile, kept: Mapping[str, tuple[int, int]]) -> tuple[Section, ...]:
    if not profile.filters:
        return ()
    most = max((freed.value for stairs in profile.filters for freed in stairs.freed), default=0.0)
    lead = _STAIRS_LEAD.format(most=quantity(most, "J"))
    return (
        Section(
            "stairs-section", "Joules per filter", lead, (filter_table(profile.filters, kept),), "stairs"
        ),
    )


def _end_sections(profile: EnergyProfile, provenance: Mapping[str, str]) -> tuple[Section, ...]:
    return (
        *_section("uncounted-section", "Not counted", "", _filled(uncounted_table(profile))),
        *_section("provenance-section", "Provenance", "", _filled(provenance_table(provenance))),
    )


_LAYER_CAPTION = (
    "Energy is dynamic, the static part a row of its own; a share includes the layer's static part"
)
_ICICLE_LEAD = "Width is energy, in the order of execution. Choose a part to look into it; Escape goes back."
_PATH_LEAD = (
    "Each dot is a step, with the interval of its energy. "
    "The budget is met where the upper end lies left of the line."
)
_STEPS_LEAD = (
    "Loss is that of the calibration samples, in nats. The price is loss per joule saved, or per share of "
    "what is missing where several limits are; the least decides."
)
_STAIRS_LEAD = "Joules freed in the whole network against filters removed. The highest stair is {most}."
_FOREST_LEAD = "Left of 100 % is faster. The band is the margin within which two networks count as the same."
