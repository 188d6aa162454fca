"""Runs of perf.pruning go on where they ended, with a method that cuts nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from perf.pruning import Method, Runner
from perf.pruning_bases import Base, Recipe, one_cycle
from perf.pruning_field import Clock, Field, Point
from perf.pruning_results import Results
from perf.pruning_table import HEADLINE
from torch import nn

from joulecut.benchmarks.data.records import Dataset, Splits


@pytest.fixture
def splits() -> Splits:
    images = torch.randn(130, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    data = Dataset("images", images, torch.arange(130) % 2, 2)
    return Splits(data, data, data.take(0, 30), data.take(0, 20))


BASE = Base(
    "line",
    lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2)),
    (0,),
    Recipe(one_cycle, 1, 0.1, 0.1),
)


def halves(field: Field, budgets: Sequence[float]) -> Iterator[Point]:
    """Half of the hidden layer for two budgets, then nothing more."""
    from joulecut.pruning.coupling.engine import Coupling

    cut = Coupling(field.graph.module).apply({"1": [0, 1, 2, 3]})
    for budget in budgets[:2]:
        yield Point(budget, cut, Clock(1.0, 2.0))


def test_what_is_done_is_not_run_again(splits: Splits, tmp_path: Path) -> None:
    method = Method(halves, (0.9, 0.7, 0.3))
    runner = Runner(splits, Results(tmp_path), tmp_path / "bases", epoch=True, again=False)
    runner.run(BASE, 0, {"halves": method})
    lines = (tmp_path / "line.jsonl").read_text().splitlines()
    rows = list(runner.results.rows("line", "halves", "cut"))
    assert [row.budget for row in rows] == [0.9, 0.7]
    assert [row.budget for row in runner.results.rows("line", "halves", "epoch")] == [0.7]
    assert rows[0].share == rows[1].share < 0.6
    assert 0.3 in HEADLINE
    assert runner.results.has("line", 0, "halves", 0.3, "epoch")

    def never(field: Field, budgets: Sequence[float]) -> Iterator[Point]:
        raise AssertionError

    again = Runner(splits, Results(tmp_path), tmp_path / "bases", epoch=True, again=False)
    again.run(BASE, 0, {"halves": Method(never, method.budgets)})
    assert (tmp_path / "line.jsonl").read_text().splitlines() == lines


def test_a_network_above_its_budget_is_refused(splits: Splits, tmp_path: Path) -> None:
    runner = Runner(splits, Results(tmp_path), tmp_path / "bases", epoch=False, again=False)
    with pytest.raises(SystemExit, match=r"halves takes 0\.\d+ of the energy where 0.2 is allowed"):
        runner.run(BASE, 0, {"halves": Method(halves, (0.2,))})


def test_trained_weights_are_read_back(splits: Splits, tmp_path: Path) -> None:
    first = BASE.trained(0, splits, tmp_path)
    again = BASE.trained(0, splits, tmp_path)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
