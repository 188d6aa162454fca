"""The tables of perf.pruning on results small enough to work out by hand."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from perf.pruning_results import Results, Row, Stage
from perf.pruning_table import factor, factor_at_a_point, lost, picked, report


def _bits(right: int, count: int = 200) -> str:
    """The first ``right`` images are right."""
    return base64.b64encode(np.packbits(np.arange(count) < right).tobytes()).decode()


def _row(method: str, budget: float, share: float, validation: int, test: int, seed: int = 0) -> Row:
    stage: Stage = "base" if method == "base" else "cut"
    return Row(
        "net", seed, method, budget, stage, share, _bits(validation), _bits(test), (200, 200), cpu_s=3.0
    )


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Of 200 images, an image is half a point."""
    kept = Results(tmp_path)
    kept.add(_row("base", 1.0, 1.0, 180, 180))
    kept.add(_row("peer", 0.8, 0.8, 179, 179))
    kept.add(_row("peer", 0.5, 0.5, 177, 175))
    kept.add(_row("joulecut", 0.5, 0.5, 179, 180))
    kept.add(_row("joulecut", 0.2, 0.25, 180, 178))
    return kept


def test_factor_lies_between_the_points_around_one_point_of_loss() -> None:
    # 0.5 lost at 0.8 and 2.5 at 0.4: 1 is a quarter of the way, at 0.7
    assert factor_at_a_point([0.8, 0.4], np.array([[0.5, 2.5]]))[0] == pytest.approx(1 / 0.7)


def test_factor_counts_from_the_base_where_the_first_point_loses_more() -> None:
    # 4 lost at 0.6: a quarter of the way down from 1, at 0.9
    assert factor_at_a_point([0.6], np.array([[4.0]]))[0] == pytest.approx(1 / 0.9)


def test_factor_stops_at_the_first_crossing() -> None:
    assert factor_at_a_point([0.8, 0.5], np.array([[2.0, 0.0]]))[0] == pytest.approx(1 / 0.9)


def test_factor_of_results(results: Results) -> None:
    weights = np.ones((2, 200), np.float32)
    mine = factor(results, "net", "joulecut", weights)
    theirs = factor(results, "net", "peer", weights)
    assert mine is not None
    assert theirs is not None
    # joulecut loses a point, no more, at a quarter of the energy; the peer half a point at 0.8 and 2.5 at 0.5
    assert mine.value == pytest.approx(4)
    assert mine.open
    assert theirs.value == pytest.approx(1 / (0.8 - 0.3 * 0.25))
    assert not theirs.open


def test_losses_are_means_over_seeds(results: Results) -> None:
    results.add(_row("base", 1.0, 1.0, 180, 190, seed=1))
    results.add(_row("peer", 0.5, 0.5, 180, 180, seed=1))
    assert lost(results, "net", "peer", 0.5, "cut") == pytest.approx((2.5 + 5.0) / 2)
    assert lost(results, "net", "peer", 0.3, "cut") is None


def test_validation_picks_the_last_point_before_it_loses_a_point(results: Results) -> None:
    assert picked(results, "net", "peer")[0] == pytest.approx((1 / 0.8, 0.5))
    assert picked(results, "net", "joulecut")[0] == pytest.approx((4.0, 1.0))


def test_results_are_read_back(results: Results) -> None:
    again = Results(results.folder)
    assert again.has("net", 0, "peer", 0.8, "cut")
    assert not again.has("net", 0, "peer", 0.8, "epoch")
    assert again.base("net", 0).accuracy("test") == 90
    assert again.base("net", 0).correct("validation").sum() == 180


def test_a_budget_out_of_reach_is_not_asked_for_again(results: Results) -> None:
    results.add(Row("net", 0, "peer", 0.1, "unreachable"))
    assert results.has("net", 0, "peer", 0.1, "cut")
    assert lost(results, "net", "peer", 0.1, "cut") is None


def test_report_names_the_bars(results: Results) -> None:
    text = report(results, "net", ["peer", "joulecut"])
    assert "met    2.90 [" in text
    assert "times peer (bar: at least 1.3)" in text
    assert "4 cut networks of 2 methods" in text
