"""A cut network is the original with the readers of the removed channels zeroed, whatever is removed."""

from __future__ import annotations

import pytest
import torch
from pruning_networks import (
    EXACT,
    captured,
    one_thread,  # noqa: F401
    random_kept,
    readers_zeroed,
    relative,
)

CASES = sorted(EXACT)


@pytest.mark.parametrize("name", CASES)
def test_groups_are_those_found_by_hand(name: str) -> None:
    sample = EXACT[name]
    _, _, coupling = captured(name)
    assert {group.name: group.size for group in coupling.all_groups()} == sample.groups
    assert not any(group.inexact for group in coupling.all_groups())


@pytest.mark.parametrize("name", CASES)
def test_a_cut_network_equals_the_original_with_readers_zeroed(name: str) -> None:
    sample = EXACT[name]
    model, _, coupling = captured(name)
    for seed in range(3):
        kept = random_kept(coupling, seed)
        cut = coupling.apply(kept)
        for batch in (1, 5):
            x = torch.randn(batch, *sample.shape, generator=torch.Generator().manual_seed(seed))
            with torch.no_grad():
                expected, found = readers_zeroed(model, coupling, kept)(x), cut(x)
                unchanged = model(x)
            assert found.shape == unchanged.shape
            assert relative(found, expected) < 1e-5
            assert relative(unchanged, expected) > 1e-3
