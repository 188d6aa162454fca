from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import report_samples as samples

from joulecut.reports.figures import forest, search_path, staircases, ticks
from joulecut.reports.icicle import MAX_DEPTH, icicle


def leaves(node: dict[str, Any], depth: int = 0) -> list[tuple[dict[str, Any], int]]:
    children = node.get("c", [])
    return [found for child in children for found in leaves(child, depth + 1)] or [(node, depth)]


def test_icicle_leaves_add_up_to_the_total() -> None:
    profile = samples.network((16, 32, 64))
    tree = icicle([("one", profile)])["trees"][0]
    assert sum(node["v"] for node, _ in leaves(tree["root"])) == pytest.approx(profile.total.value, rel=1e-5)
    assert [child["n"] for child in tree["root"]["c"]] == [
        "stem.conv", "layer1", "layer2", "layer3", "head.fc", "static", "unattributed",
    ]  # fmt: skip


def test_icicle_keeps_every_layer_of_a_path_that_is_also_a_module() -> None:
    one, two, three = (
        samples.layer(path, "conv2d", (4, 4), 16, 1) for path in ("block", "block.conv", "block.add")
    )
    root = icicle([("one", samples.assemble("n", (one, two, three), ()))])["trees"][0]["root"]
    assert [node.get("p", node["n"]) for node, _ in leaves(root)][:3] == ["block", "block.conv", "block.add"]


def test_icicle_is_not_as_deep_as_a_hostile_path() -> None:
    tree = icicle([("one", samples.hostile_profile())])["trees"][0]
    assert max(depth for _, depth in leaves(tree["root"])) <= MAX_DEPTH


def test_staircases_mark_what_the_run_removed() -> None:
    stairs = (samples.staircase("a.conv", 16, 1e-6), samples.staircase("b.conv", 8, 1e-6))
    first, second = staircases(stairs, {"a.conv": (12, 16)})
    assert (first["at"], second["at"]) == (4, None)
    assert first["r"] == [0, 4, 8, 12]
    assert first["j"] == pytest.approx([0.0, 4e-7, 8e-7, 1.2e-6])


def test_path_plots_known_accuracies_against_the_share() -> None:
    record = samples.prune_record()
    chart = search_path(record)
    assert len(chart["points"]) == 20
    assert chart["budget"] == {"x": 0.5, "t": "budget 50.0 %"}
    assert chart["yl"] == "validation accuracy"
    last = chart["points"][-1]
    assert last["x"] == pytest.approx(0.498)
    assert last["lo"] < last["x"] < last["hi"]
    assert [line["t"] for line in chart["lines"]] == ["as trained, 97.2 %", "least allowed, 96.0 %"]


def test_path_falls_back_to_the_loss_and_to_joules() -> None:
    record = samples.prune_record()
    record = replace(
        record,
        budget=replace(record.budget, share=None, energy_j=2e-3),
        steps=tuple(replace(step, accuracy=None) for step in record.steps),
    )
    chart = search_path(record)
    assert chart["yl"] == "calibration loss"
    assert chart["budget"] == {"x": 2e-3, "t": "budget 2.00 mJ"}
    assert len(chart["points"]) == 40


def test_forest_names_the_verdict_on_the_row_that_decided() -> None:
    rows = forest(samples.comparison())["rows"]
    assert [row["verdict"] for row in rows] == ["faster", "", "", "inconclusive"]
    assert [row["v"] for row in rows] == [0.623, 0.631, 0.987, 0.991]


@pytest.mark.parametrize(
    ("low", "high", "unit", "texts"),
    [
        (0.48, 1.02, "1", ["60 %", "80 %", "100 %"]),
        (0.961, 0.973, "1", ["96.5 %", "97.0 %"]),
        (0.0, 5e-3, "J", ["0 J", "1.00 mJ", "2.00 mJ", "3.00 mJ", "4.00 mJ", "5.00 mJ"]),
        (0.08, 0.24, "loss", ["0.1", "0.15", "0.2"]),
        (1.0, 1.0, "1", ["100 %"]),
    ],
)
def test_ticks_are_round(low: float, high: float, unit: str, texts: list[str]) -> None:
    assert [text for _, text in ticks(low, high, unit)] == texts
