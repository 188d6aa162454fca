"""Every construct: groups as found by hand, cuts equal to the original with the readers silenced."""

from __future__ import annotations

import functools
from collections import defaultdict

import pytest
import torch
from coupling_networks import NETWORKS, randomised
from silenced import Silenced, random_kept
from torch import nn

from joulecut.pruning.coupling import Coupling, couple


@functools.cache
def coupled(name: str) -> tuple[nn.Module, Coupling]:
    """Once for all tests: to be read, not changed."""
    model = randomised(NETWORKS[name].build)
    return model, couple(model, NETWORKS[name].inputs(2))


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_groups_are_those_found_by_hand(name: str) -> None:
    _, coupling = coupled(name)
    assert {group.name: group.size for group in coupling.all_groups()} == NETWORKS[name].groups
    assert {group.name for group in coupling.all_groups() if group.inexact} == NETWORKS[name].inexact
    exact = [group.name for group in coupling.all_groups() if group.name not in NETWORKS[name].inexact]
    assert [group.name for group in coupling.groups()] == exact


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize("seed", range(3))
def test_a_cut_is_the_original_with_silent_readers(name: str, seed: int) -> None:
    model, coupling = coupled(name)
    kept, x = random_kept(coupling, seed), NETWORKS[name].inputs(2, seed)
    with torch.no_grad():
        found, expected, before = coupling.apply(kept)(x), Silenced(coupling, kept).run(x), model(x)
    assert found.shape == before.shape
    scale = float(expected.abs().max())
    assert float((found - expected).abs().max()) < 1e-9 * scale
    assert float((before - expected).abs().max()) > 1e-4 * scale


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_one_group_at_a_time(name: str) -> None:
    """What is right together is right alone: heads without widths, widths without heads."""
    _, coupling = coupled(name)
    x = NETWORKS[name].inputs(2, 7)
    for group in coupling.all_groups():
        kept = {group.name: list(range(0, group.size, 2))}
        cut = coupling.apply(kept)
        with torch.no_grad():
            found, expected = cut(x), Silenced(coupling, kept).run(x)
            thrice = cut(torch.cat([x, x[:1]]))
        scale = float(expected.abs().max())
        assert float((found - expected).abs().max()) < 1e-9 * scale, group.name
        assert float((thrice - torch.cat([expected, expected[:1]])).abs().max()) < 1e-9 * scale, group.name


def channels_written(model: nn.Module) -> dict[str, int]:
    """Channels by layer, read off the modules."""
    sizes: dict[str, int] = {}
    for path, module in model.named_modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            sizes[path] = module.out_channels
        elif isinstance(module, nn.ConvTranspose2d):
            sizes[path] = module.out_channels // module.groups if module.groups < module.in_channels else 0
        elif isinstance(module, nn.Linear):
            sizes[path] = module.out_features
        elif isinstance(module, nn.MultiheadAttention):
            sizes[f"{path}.in_proj_weight"] = 3 * module.embed_dim
        elif isinstance(module, (nn.LSTM, nn.GRU)):
            names = (name for name, _ in module.named_parameters() if name.startswith("weight_ih"))
            sizes |= {f"{path}.{name}": module.hidden_size for name in names}
        elif isinstance(module, nn.Embedding):
            sizes[path] = module.embedding_dim
    return sizes


COUNTED = sorted(set(NETWORKS) - {"equations", "language", "transposed"})
"""Without weights that are no layer's own, tied ones and those of two written dimensions."""


@pytest.mark.parametrize("name", COUNTED)
def test_prunable_and_refused_channels_are_all_channels(name: str) -> None:
    model, coupling = coupled(name)
    positions: dict[str, set[int]] = defaultdict(set)
    for group in coupling.all_groups():
        for part in group.of_role("writer"):
            if coupling.module.get_parameter(part.parameter).ndim > 1:
                positions[part.parameter.removesuffix(".weight")] |= set(part.positions.flatten().tolist())
    found = {path: len(at) for path, at in positions.items()}
    for refusal in coupling.refused():
        found[refusal.path] = found.get(refusal.path, 0) + refusal.channels
        assert refusal.reason
        assert refusal.op
    assert found == channels_written(model)
