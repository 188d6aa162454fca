"""What a search may take: each strategy takes its own kind, within the budget, and says so at every step."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from pruning_networks import EXACT, build, one_thread  # noqa: F401

from joulecut.errors import UsageError
from joulecut.hw_models.catalogue import device
from joulecut.hw_models.spec import DeviceSpec, SparsitySupport
from joulecut.pruning.records import Budget
from joulecut.pruning.run import Pruned, Samples, prune_network
from joulecut.pruning.settings import SearchSettings
from joulecut.workload.from_torch import layer_works
from joulecut.workload.trace import trace

REFERENCE = dataclasses.replace(device("reference/edge/float32"), channel_step=1, pads=())
GATED = dataclasses.replace(
    REFERENCE,
    sparsity=(
        SparsitySupport("gate", ("conv2d",), ("float32",), REFERENCE.sources[0], mac_energy_saved=0.9),
    ),
)
"""The reference, if its MACs with a zero weight in convolutions took a tenth of the energy."""


def run(share: float, spec: DeviceSpec = REFERENCE, **settings: Any) -> Pruned:
    model, shape = build(EXACT["residual"].build), EXACT["residual"].shape
    x = torch.randn(192, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = model(x).argmax(1)
    graph = trace(model, x[:1])
    return prune_network(
        graph,
        layer_works(graph),
        device=spec,
        budget=Budget(share=share),
        calibration=Samples(x, labels),
        settings=SearchSettings(shortlist=3, exchange_rounds=0, **settings),
    )


def kinds(pruned: Pruned) -> set[str]:
    return {step.taken.kind for step in pruned.steps if step.put_back is None}


def test_one_layer_alone_is_cut() -> None:
    pruned = run(0.95, strategy="nodes", layer="c")
    assert {name for name, kept in pruned.kept.items() if len(kept) < pruned.sizes[name]} == {"c"}
    with pytest.raises(UsageError, match="no channels of nowhere can be removed"):
        run(0.95, strategy="nodes", layer="nowhere")


def test_blocks_go_whole() -> None:
    pruned = run(0.9, strategy="blocks")
    assert kinds(pruned) <= {"block", "layer"}
    assert pruned.blocks
    assert all(len(kept) == pruned.sizes[name] for name, kept in pruned.kept.items())


def test_zeros_are_taken_where_the_device_pays_for_them() -> None:
    pruned = run(0.8, GATED, strategy="weights")
    assert kinds(pruned) == {"weights"}
    assert pruned.zeros
    state = pruned.module.state_dict()
    for path, zeros in pruned.zeros.items():
        weight = state[f"{path}.weight"]
        assert float((weight == 0).float().mean()) == pytest.approx(zeros.share, abs=0.02)
    assert pruned.steps[-1].share <= 0.8


def test_zeros_that_save_nothing_are_no_candidates() -> None:
    with pytest.raises(UsageError, match="zero weights save 0 J on reference/edge/float32"):
        run(0.8, strategy="weights")
    assert "weights" not in kinds(run(0.8, strategy="auto"))


def test_all_kinds_share_one_heap() -> None:
    pruned = run(0.5, GATED, strategy="auto")
    offered = {c.kind for step in pruned.steps for c in (step.taken, *step.runners_up)}
    assert {"channels", "weights", "block"} <= offered
    assert len(kinds(pruned)) > 1
    assert pruned.steps[-1].share <= 0.5


def test_a_ranking_orders_channels_only() -> None:
    with pytest.raises(UsageError, match="a ranking orders channels and nodes, not blocks"):
        run(0.9, strategy="blocks", ranking="l2")
