"""Judges of networks, and data that none can judge on: one sentence each, and what was done is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from joulecut.benchmarks.data.records import Dataset, Splits
from joulecut.errors import UsageError
from joulecut.jobs.judging import Evaluation, authors_judge, check_fits, chosen_judge, data_judge
from joulecut.jobs.pruning import prune
from joulecut.workload.trace import trace

DEVICE = "reference/edge/float32"
NAN = float("nan")


class Logs(nn.Module):
    """NaN logits for samples whose mean is below 0."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        return self.out(self.hidden(x).relu()) + x.mean(1, keepdim=True).log()


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)).eval()


def data(count: int = 300) -> tuple[Tensor, Tensor]:
    x = torch.rand(count, 6, generator=torch.Generator().manual_seed(1)) + 0.1
    return x, torch.arange(count) % 3


def splits(change: Callable[[Tensor], None] | None = None, part: str = "calibration") -> Splits:
    """Three parts of 100 samples, one of them changed."""
    x, y = data()
    parts = {}
    for at, name in enumerate(("calibration", "validation", "test")):
        inputs = x[100 * at : 100 * at + 100].clone()
        if change is not None and name == part:
            change(inputs)
        parts[name] = Dataset(name, inputs, y[:100], 3)
    return Splits(None, parts["calibration"], parts["validation"], parts["test"])


def test_a_sample_with_nan_logits_is_wrong() -> None:
    """argmax calls NaN the largest: without a guard, a broken network of NaN would be right on class 0."""
    y = torch.tensor([0, 1, 2, 0])
    logits = torch.tensor([[3.0, 1.0, 0.0], [0.0, 3.0, 1.0], [NAN, 0.0, 9.0], [NAN, NAN, NAN]])
    judge = data_judge(Dataset("four", torch.zeros(4, 1), y, 3))
    assert judge(lambda x: logits, False) == 0.5


def test_a_quick_answer_looks_at_the_first_samples_only() -> None:
    y = torch.cat([torch.zeros(2000), torch.ones(2000)]).long()
    judge = data_judge(Dataset("many", torch.zeros(4000, 1), y, 2))

    def zero(x: Tensor) -> Tensor:
        return torch.tensor([1.0, 0.0]).expand(len(x), 2)

    assert (judge(zero, True), judge(zero, False)) == (1.0, 0.5)


@pytest.mark.parametrize("part", ["calibration", "validation", "test"])
def test_one_sample_with_nan_logits_is_found_before_the_search(part: str) -> None:
    def break_one(inputs: Tensor) -> None:
        inputs[77] = -5.0

    graph = trace(Logs().eval(), torch.ones(1, 6))
    check_fits(graph, splits())
    with pytest.raises(UsageError, match="the network returns NaN logits for 1 of 100 samples"):
        check_fits(graph, splits(break_one, part))


def broken(network: Callable[[Tensor], Tensor]) -> float:
    raise ValueError("metric broke\nin line 2")


def leaves(network: Callable[[Tensor], Tensor]) -> float:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("evaluation", "says"),
    [
        (broken, "the evaluation broken failed: ValueError: metric broke."),
        (leaves, "the evaluation leaves failed: SystemExit: 3."),
        (lambda network: NAN, "the evaluation <lambda> gives NaN; it must give a share from 0 to 1."),
        (lambda network: 96.5, "the evaluation <lambda> gives 96.5; it must give a share from 0 to 1."),
        (lambda network: "well", "the evaluation <lambda> failed: ValueError: could not convert"),
    ],
)
def test_an_evaluation_that_fails_is_one_sentence(evaluation: Evaluation, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        authors_judge(evaluation)(lambda x: x, True)
    assert str(refused.value).startswith(says)
    assert "\n" not in str(refused.value)


def test_an_evaluation_is_named_or_given(tmp_path: Path) -> None:
    file = tmp_path / "metrics.py"
    file.write_text("def half(network):\n    return 0.5\n\nthird = 3\n")
    assert chosen_judge(f"{file}:half", splits().validation)(lambda x: x, True) == 0.5
    assert chosen_judge(lambda network: 0.25, splits().validation)(lambda x: x, True) == 0.25
    with pytest.raises(UsageError, match="is no callable that evaluates"):
        chosen_judge(f"{file}:third", splits().validation)
    with pytest.raises(UsageError, match="is no callable that evaluates"):
        chosen_judge("accuracy", splits().validation)


def test_an_evaluation_decides_on_the_way_and_gives_the_rows() -> None:
    x, y = data()

    def share_of_class_0(network: Callable[[Tensor], Tensor]) -> float:
        return float((network(x[y == 0]).argmax(1) == 0).float().mean())

    record = prune(network(), budget="60%", device=DEVICE, data=(x, y), evaluation=share_of_class_0).record
    stage, score = record.rows[0]
    assert stage == "as trained"
    assert score == pytest.approx(share_of_class_0(network()))


def test_what_breaks_on_the_way_leaves_the_steps_before_it(tmp_path: Path) -> None:
    """The evaluation breaks at its fifth call, amid the search; the run then goes on to the same cut."""
    calls = []

    def tires(network: Callable[[Tensor], Tensor]) -> float:
        calls.append(1)
        if len(calls) == 5:
            raise RuntimeError("tired")
        return 0.5

    state = tmp_path / "state"
    options: dict[str, Any] = {"budget": "50%", "device": DEVICE, "data": data(), "checkpoint": state}
    with pytest.raises(
        UsageError, match=r"failed: RuntimeError: tired\. The steps taken are kept: go on with"
    ):
        prune(network(), evaluation=tires, **options)
    assert state.is_file()
    resumed = prune(network(), evaluation=tires, resume=True, **options)
    whole = prune(network(), evaluation=lambda network: 0.5, **{**options, "checkpoint": None})
    assert resumed.recipe == whole.recipe


def test_a_recovery_that_breaks_leaves_the_cut(tmp_path: Path) -> None:
    def breaks(module: object, train: object) -> None:
        raise RuntimeError("no memory")

    state = tmp_path / "state"
    options: dict[str, Any] = {"budget": "60%", "device": DEVICE, "data": data(), "checkpoint": state}
    with pytest.raises(UsageError, match=r"no memory\. The steps taken are kept: go on with --resume\."):
        prune(network(), recovery=breaks, **options)
    assert prune(network(), resume=True, **options).record.met == "yes"
