import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from joulecut.benchmarks.records import Comparison, LatencyReport, PairRatio
from joulecut.codec import from_json, schema_name, to_json
from joulecut.estimate import Estimate, Spread, exact
from joulecut.hw_models.profile import EnergyProfile, FilterEnergy, LayerEnergy
from joulecut.pruning.explaining import explain_run
from joulecut.pruning.quality_records import ClassScore, Quality, QualityPair, TrainingCost
from joulecut.pruning.records import Budget, Candidate, LimitCheck, PruneRecord, PruneStep, Refusal
from joulecut.reports.html import render
from joulecut.schemas import RECORDS, record_type, schema_path
from joulecut.schemas.generate import schema_text
from joulecut.workload.layer import Uncounted

JOULES = Estimate(2e-3, "J", "modelled", "model", 0, Spread(0, 0, 1e-3, 1e-3), Spread(), "board")
SECONDS = exact(1e-3, "s", "measured", "onnxruntime")
RATIO = exact(0.5, "1", "measured", "paired")
LAYER = LayerEnergy("a.conv", "conv2d", "dense", 9, 36, 4, 4, JOULES, SECONDS, 1.0, 0.0, "compute")
PROFILE = EnergyProfile(
    "net", "board/rt/int8", "soc_rail", "datasheet", 1, JOULES, JOULES, JOULES, SECONDS, (LAYER,),
    (Uncounted("aten.sort", "a", 1, "no rule"),),
    (FilterEnergy("a.conv", ("a.conv", "b"), 4, 2, (0, 2), (JOULES, JOULES)),), {"joulecut": "0.1.0"},
)  # fmt: skip
CANDIDATE = Candidate("a.conv", (0, 1), 1e-3, 0.1, 100.0)
COST = TrainingCost("fine-tune", 2.0, JOULES, "measured by rapl", 10, 128, kept=False)
BYTES = exact(1e3, "B", "modelled", "liveness")
QUALITY = Quality(
    0.9, 0.85, 0.95, 0.9, "test (100)", 1000, 10, 0.0, JOULES, SECONDS, 0.85, 0.95,
    (ClassScore(0, 50, 0.9, 0.8, 1.0),), BYTES, (COST,), JOULES,
)  # fmt: skip
PRUNED = PruneRecord(
    "net", "board/rt/int8", "yes", Budget(share=0.5), PROFILE, PROFILE,
    (PruneStep(0, CANDIDATE, (CANDIDATE,), "cheapest", JOULES, 0.5, 0.1, None, 0.2),),
    (Refusal("b", 4, "no rule for sort", "aten.sort", "net.py:3"),), {"a.conv": (2, 4)}, (("pruned", 0.9),),
    QualityPair(QUALITY, QUALITY, 0.0, -0.01, 0.01, 0.0, -0.02, 0.02, RATIO), "faster",
    {"other": (JOULES, JOULES)}, {"seed": "0"}, ("rolled back",),
    (LimitCheck("memory peak", "at most 2 kB", BYTES, "yes"),),
)  # fmt: skip
REPORT = LatencyReport("a.onnx", 100, SECONDS, SECONDS, None, SECONDS, None, False, {"threads": "1"})
COMPARED = Comparison((REPORT, REPORT), (PairRatio("a", "b", RATIO, RATIO, "faster", 0.02, False, 3),), {})
SAMPLES = [PROFILE, PRUNED, COMPARED, explain_run(PRUNED)]


def schema(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(schema_path(name).read_text())
    return loaded


@pytest.mark.parametrize("name", RECORDS)
def test_the_schema_files_are_those_of_the_records(name: str) -> None:
    """After a change of a record: python -m joulecut.schemas.generate"""
    assert schema_path(name).read_text() == schema_text(name)
    assert schema_name(record_type(name)) == name


@pytest.mark.parametrize("name", RECORDS)
def test_the_schemas_are_schemas(name: str) -> None:
    Draft202012Validator.check_schema(schema(name))


@pytest.mark.parametrize("record", SAMPLES, ids=lambda record: type(record).__name__)
def test_what_is_saved_is_valid(record: object) -> None:
    validator = Draft202012Validator(schema(schema_name(type(record))))
    assert list(validator.iter_errors(json.loads(to_json(record)))) == []


def test_results_saved_before_these_figures_were_known_still_load() -> None:
    """The keys of 0.1.0 alone: everything since then has a default."""
    saved = json.loads(to_json(PRUNED))
    del saved["notes"], saved["limits"]
    saved["budget"] = {
        key: saved["budget"][key] for key in ("energy_j", "share", "min_accuracy", "confidence")
    }
    for step in saved["steps"]:
        for candidate in (step["taken"], *step["runners_up"]):
            del candidate["kind"]
    pair = saved["quality"]
    for key in [key for key in pair if key.startswith(("macro_f1", "latency"))]:
        del pair[key]
    for quality in (pair["before"], pair["after"]):
        for key in ("macro_f1_lo", "macro_f1_hi", "classes", "memory_peak", "training", "training_energy"):
            del quality[key]
    loaded = from_json(json.dumps(saved), PruneRecord)
    assert loaded.quality is not None
    assert (loaded.quality.after.classes, loaded.quality.after.training_energy) == ((), None)
    assert (loaded.notes, loaded.limits, loaded.steps[0].taken.kind) == ((), (), "channels")
    assert "not known" in render(loaded)


@pytest.mark.parametrize("key", ["value", "lo", "hi", "confidence", "bounds", "unit", "origin", "method"])
def test_an_energy_without_its_interval_or_origin_is_invalid(key: str) -> None:
    saved = json.loads(to_json(PROFILE))
    del saved["total"][key]
    assert not Draft202012Validator(schema("energy_profile")).is_valid(saved)


@pytest.mark.parametrize("tag", [None, "joulecut/energy_profile/2", "joulecut/comparison/1"])
def test_another_schema_tag_is_invalid(tag: str | None) -> None:
    assert not Draft202012Validator(schema("energy_profile")).is_valid(
        json.loads(to_json(PROFILE)) | {"schema": tag}
    )
