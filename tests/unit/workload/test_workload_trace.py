"""Capturing networks: batch, devices, control flow, silence, training mode."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from joulecut.errors import TraceError
from joulecut.workload.trace import rebatched, source_line, trace


def shapes(batch: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, batch))


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_batch_is_dynamic_and_shapes_are_those_of_the_example(batch: int) -> None:
    traced = trace(shapes(2), torch.zeros(batch, 3, 8, 8))
    assert traced.dynamic_batch
    assert traced.batch == batch
    values = [node.meta["val"] for node in traced.module.graph.nodes if node.op == "call_function"]
    assert [tuple(v.shape) for v in values if isinstance(v, Tensor)][-1] == (batch, 2)
    assert traced.module(torch.zeros(7, 3, 8, 8)).shape == (7, 2)


class FixedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, -1) + torch.ones(2, 1)


def test_fixed_batch_is_captured_as_it_is() -> None:
    traced = trace(FixedBatch(), torch.zeros(2, 3))
    assert not traced.dynamic_batch
    assert rebatched(traced, 2) is traced
    with pytest.raises(TraceError, match="batches of 2 only"):
        rebatched(traced, 3)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x
        return -x


def test_control_flow_is_refused_in_one_sentence_with_its_line(capfd: pytest.CaptureFixture[str]) -> None:
    line = Branching.forward.__code__.co_firstlineno + 1
    with pytest.raises(
        TraceError, match=rf"Branching at test_workload_trace\.py:{line}: .*data-dependent"
    ) as caught:
        trace(Branching(), torch.zeros(2, 3))
    assert "torch.where" in caught.value.hint
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


class Failing(nn.Module):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), KeyError("no"), ZeroDivisionError("no"), AssertionError("no"), AttributeError("no")],
)
def test_errors_of_the_author_are_trace_errors(error: Exception) -> None:
    with pytest.raises(TraceError, match="no"):
        trace(Failing(error), torch.zeros(2, 3))


def test_interrupts_pass_through() -> None:
    class Interrupted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trace(Interrupted(), torch.zeros(2, 3))


def test_several_devices_are_refused_and_meta_alone_is_not() -> None:
    model = nn.Linear(4, 2, device="meta")
    with pytest.raises(TraceError, match="several devices"):
        trace(model, torch.zeros(1, 4))
    assert trace(model, torch.zeros(1, 4, device="meta")).dynamic_batch


@pytest.mark.parametrize("fails", [False, True])
def test_training_mode_of_each_part_is_restored(fails: bool) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Dropout(), nn.Linear(4, 2)))
    model.train()
    model[1].eval()
    modes = [part.training for part in model.modules()]
    if fails:
        with pytest.raises(TraceError):
            trace(model, torch.zeros(1, 5))
    else:
        trace(model, torch.zeros(1, 4))
    assert [part.training for part in model.modules()] == modes == [True, True, False, False, False]


def test_logging_and_warnings_are_as_before() -> None:
    names = [n for n in logging.root.manager.loggerDict if n.startswith("torch")]
    before = {n: (logging.getLogger(n).disabled, logging.getLogger(n).level) for n in names}
    filters = list(warnings.filters)
    with pytest.raises(TraceError):
        trace(Branching(), torch.zeros(2, 3))
    trace(nn.LSTM(3, 4), torch.zeros(5, 2, 3))  # export warns about its flattened weights
    assert {n: (logging.getLogger(n).disabled, logging.getLogger(n).level) for n in names} == before
    assert warnings.filters == filters


def test_parameters_are_shared() -> None:
    model = nn.Sequential(nn.Linear(4, 2))
    traced = trace(model, torch.zeros(1, 4))
    assert dict(traced.module.named_parameters())["0.weight"] is model[0].weight


def test_lines_of_packages_named_like_torch_are_the_authors() -> None:
    torch_folder = Path(torch.__file__).parent
    node = torch.fx.Graph().placeholder("x")
    node.meta["stack_trace"] = "\n".join(
        f'File "{folder}/models/resnet.py", line {line}, in forward'
        for folder, line in ((f"{torch_folder}vision", 7), (torch_folder, 9))
    )
    assert source_line(node) == "resnet.py:7"
