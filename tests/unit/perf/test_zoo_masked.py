"""Masked statistics equal torch's own where the dead positions are taken out."""

from __future__ import annotations

import doctest

import torch
from perf import zoo_masked as masked
from torch.nn import functional

KEPT = [0, 2, 3, 5]
ALIVE = torch.zeros(6, dtype=torch.bool).index_fill_(0, torch.tensor(KEPT), True)


def _values(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_mean_and_variance_leave_dead_positions_out() -> None:
    x = _values(2, 6)
    torch.testing.assert_close(masked.mean(x, ALIVE, [1]), x[:, KEPT].mean(1, keepdim=True))
    for correction in (0, 1):
        expected = x[:, KEPT].var(1, correction=correction, keepdim=True)
        torch.testing.assert_close(masked.variance(x, ALIVE, [1], correction), expected)


def test_softmax_shares_among_the_living() -> None:
    x = _values(2, 6)
    found = masked.softmax(x, ALIVE.expand(2, 6), 1)
    torch.testing.assert_close(found[:, KEPT], x[:, KEPT].softmax(1))
    assert float(found[:, [1, 4]].abs().max()) == 0


def test_softmax_of_a_dead_slice_is_finite() -> None:
    assert bool(masked.softmax(_values(1, 6), torch.zeros(1, 6, dtype=torch.bool), 1).isfinite().all())


def test_layer_norm_and_rms_norm() -> None:
    x, weight, bias = _values(2, 5, 6), _values(6) + 2, _values(6)
    found = masked.layer_norm(x, ALIVE, [2], weight, bias, 1e-5)
    expected = functional.layer_norm(x[..., KEPT], (4,), weight[KEPT], bias[KEPT], 1e-5)
    torch.testing.assert_close(found[..., KEPT], expected)
    found = masked.rms_norm(x, ALIVE, [2], weight, 1e-6)
    torch.testing.assert_close(found[..., KEPT], functional.rms_norm(x[..., KEPT], (4,), weight[KEPT], 1e-6))


def test_group_norm() -> None:
    x, weight, bias = _values(2, 6, 4, 4), _values(6) + 2, _values(6)
    found = masked.group_norm(x, ALIVE.reshape(1, 6, 1, 1), 2, weight, bias, 1e-5)
    expected = functional.group_norm(x[:, KEPT], 2, weight[KEPT], bias[KEPT], 1e-5)
    torch.testing.assert_close(found[:, KEPT], expected)


def test_attention_does_not_see_removed_keys() -> None:
    q, k, v, bias = _values(2, 3, 8), _values(2, 6, 8) + 1, _values(2, 6, 5), _values(2, 3, 6)
    found = masked.attention(q, k, v, bias, ALIVE.expand(2, 6), 0.3)
    expected = functional.scaled_dot_product_attention(
        q, k[:, KEPT], v[:, KEPT], attn_mask=bias[..., KEPT], scale=0.3
    )
    torch.testing.assert_close(found, expected)


def test_only_slices_with_both_kinds_change() -> None:
    mask = torch.tensor([[True, True], [False, False]])
    assert not masked.partly_dead(mask, [1])
    assert masked.partly_dead(mask, [0])
    assert masked.partly_dead(mask, [0, 1])


def test_examples() -> None:
    assert doctest.testmod(masked).failed == 0
