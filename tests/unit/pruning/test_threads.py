"""Refits and proposals are the same to the bit with one thread and with two."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pruning_networks import EXACT, build
from torch import Tensor, nn

from joulecut.benchmarks.networks.digits_cnn import digits_cnn
from joulecut.benchmarks.networks.dscnn import ds_cnn_fashion_mnist
from joulecut.benchmarks.networks.resnet8 import resnet8_fashion_mnist
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.elimination import gather, propose
from joulecut.pruning.folding import fold
from joulecut.pruning.network import Network
from joulecut.pruning.refit import refit, teach
from joulecut.pruning.settings import RefitSettings
from joulecut.workload.trace import trace

SETTINGS = RefitSettings(rows=1500)


def found(factory: Callable[[], nn.Module], shape: tuple[int, ...]) -> tuple[dict[str, Tensor], list[object]]:
    """Weights after a cut and a refit, and what would go next in each group."""
    whole = Network.whole(Coupling(fold(trace(build(factory), torch.zeros(1, *shape)).module)[0]))
    x = torch.randn(96, *shape, generator=torch.Generator().manual_seed(0))
    teacher = teach(whole, x, SETTINGS)
    cut = whole
    for group in whole.coupling.all_groups():
        cut = cut.cut(group, range(group.size // 4))
    cut = refit(cut, teacher, SETTINGS)
    values = cut.observe(x, cut.frontier())[1]
    known = gather(cut, teacher.layers, values, x[:32], rows=1000, ridge=1e-3, seed=0)
    proposals = [propose(cut, group, teacher.layers, known, 2) for group in cut.coupling.all_groups()]
    return dict(cut.weights), [(p.group.name, p.channels, p.cost) for p in proposals]


@pytest.mark.parametrize(
    ("factory", "shape"),
    [
        (digits_cnn, (1, 8, 8)),
        (resnet8_fashion_mnist, (1, 28, 28)),
        (ds_cnn_fashion_mnist, (1, 28, 28)),
        (EXACT["scaled"].build, EXACT["scaled"].shape),
    ],
    ids=["digits", "resnet8", "ds-cnn", "tokens"],
)
def test_one_thread_or_two(factory: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(found(factory, shape))
    finally:
        torch.set_num_threads(before)
    (weights, proposals), (weights_two, proposals_two) = results
    assert proposals == proposals_two
    assert all(torch.equal(weights[name], weights_two[name]) for name in weights)
