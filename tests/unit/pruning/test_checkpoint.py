"""A run that is killed goes on to the same network, byte for byte; a checkpoint of another run is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from pruning_networks import EXACT, build, one_thread  # noqa: F401

from joulecut import codec
from joulecut.errors import UsageError
from joulecut.hw_models.catalogue import device
from joulecut.pruning.records import Budget
from joulecut.pruning.run import Pruned, Samples, prune_network
from joulecut.pruning.settings import SearchSettings, Strategy
from joulecut.workload.from_torch import layer_works
from joulecut.workload.trace import trace

SPEC = dataclasses.replace(device("reference/edge/float32"), channel_step=1, pads=())
FINE = SearchSettings(shortlist=3, exchange_trials=3, exchange_rounds=2)


class Killed(BaseException):
    """As SIGKILL: nothing of ours runs after it."""


def run(**options: Any) -> Pruned:
    model, shape = build(EXACT["residual"].build), EXACT["residual"].shape
    x = torch.randn(192, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = model(x).argmax(1)
    graph = trace(model, x[:1])
    arguments: dict[str, Any] = {"device": SPEC, "budget": Budget(share=0.6), "settings": FINE} | options
    samples = arguments.pop("calibration", Samples(x, labels))
    return prune_network(graph, layer_works(graph), calibration=samples, **arguments)


def killed_after(saves: int, monkeypatch: pytest.MonkeyPatch, path: Path, settings: SearchSettings) -> None:
    """Run until the state has been kept so many times, then stop dead."""
    write, count = codec.write_bytes, 0

    def counted(target: Path, data: bytes) -> None:
        nonlocal count
        write(target, data)
        count += 1
        if count == saves:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("joulecut.pruning.checkpoint.write_bytes", counted)
        with pytest.raises(Killed):
            run(checkpoint=path, settings=settings)


def same(first: Pruned, second: Pruned) -> bool:
    states = (first.module.state_dict(), second.module.state_dict())
    equal = all(states[0][key].numpy().tobytes() == states[1][key].numpy().tobytes() for key in states[0])
    taken = [[step.taken for step in pruned.steps] for pruned in (first, second)]
    return equal and taken[0] == taken[1] and first.kept == second.kept and first.blocks == second.blocks


@pytest.mark.parametrize("strategy", ["channels", "auto"])
def test_a_run_killed_after_any_step_goes_on_to_the_same_bytes(
    strategy: Strategy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(FINE, strategy=strategy)
    whole = run(settings=settings)
    total = len(whole.steps)
    late = [step.put_back is not None or step.taken.kind in ("block", "layer") for step in whole.steps]
    assert any(late), "neither an exchange nor a block to be killed after"
    for saves in sorted({1, late.index(True) + 1, *range(2, total, max(1, total // 4)), total}):
        path = tmp_path / f"{saves}.safetensors"
        killed_after(saves, monkeypatch, path, settings)
        assert same(run(checkpoint=path, resume=True, settings=settings), whole), saves


def test_a_checkpoint_changes_nothing(tmp_path: Path) -> None:
    assert same(run(checkpoint=tmp_path / "state"), run())


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"budget": Budget(share=0.7)}, "budget"),
        ({"settings": dataclasses.replace(FINE, seed=1)}, "settings"),
        ({"device": dataclasses.replace(SPEC, channel_step=2)}, "device"),
        ({"calibration": Samples(torch.rand(192, *EXACT["residual"].shape), None)}, "data"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(options: dict[str, Any], what: str, tmp_path: Path) -> None:
    run(checkpoint=tmp_path / "state")
    with pytest.raises(UsageError, match=rf"is of a run with another {what}\."):
        run(checkpoint=tmp_path / "state", resume=True, **options)


def test_a_damaged_or_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no run to resume"):
        run(checkpoint=tmp_path / "state", resume=True)
    (tmp_path / "state").write_bytes(b"not this")
    with pytest.raises(UsageError, match="is damaged"):
        run(checkpoint=tmp_path / "state", resume=True)
