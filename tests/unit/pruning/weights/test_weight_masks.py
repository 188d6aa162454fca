"""Masks worked out by hand: thresholds, shares, N:M groups and blocks, full and not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from joulecut.errors import UsageError
from joulecut.hw_models.sparsity import UNSTRUCTURED, parse_pattern
from joulecut.pruning.weights.masks import (
    Amount,
    as_matrix,
    block_means,
    keep_mask,
    shared_counts,
    zero_share,
)

ROWS = torch.tensor([[0.5, -2.0, 1.0, 0.1, 3.0, -0.2], [1.5, 0.0, -0.4, 2.5, -0.6, 0.3]])
SQUARES = ROWS.square()[..., None]


def kept(pattern: str, **amount: float) -> list[list[int]]:
    """The mask of ROWS as ones and zeros."""
    count = int(amount.pop("count", 0)) or None
    mask = keep_mask(SQUARES, parse_pattern(pattern), Amount(**amount, count=count))
    return mask[..., 0].int().tolist()


def test_all_below_a_threshold_go_and_what_is_at_it_stays() -> None:
    assert kept("unstructured", threshold=0.5) == [[1, 1, 1, 0, 1, 0], [1, 0, 0, 1, 1, 0]]
    assert kept("unstructured", threshold=9) == [[0] * 6, [0] * 6]


def test_a_share_is_of_all_weights_of_the_layer_the_least_first() -> None:
    """By magnitude: 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 1.0, 1.5, 2.0, 2.5, 3.0."""
    assert kept("unstructured", share=0.5) == [[0, 1, 1, 0, 1, 0], [1, 0, 0, 1, 1, 0]]
    assert kept("unstructured", share=0.49) == [[1, 1, 1, 0, 1, 0], [1, 0, 0, 1, 1, 0]]
    assert kept("unstructured", count=2) == [[1, 1, 1, 0, 1, 1], [1, 0, 1, 1, 1, 1]]
    assert kept("unstructured", count=100) == [[0] * 6, [0] * 6]


def test_two_of_four_inputs_stay_and_a_last_group_of_two_is_whole() -> None:
    assert kept("2:4") == [[0, 1, 1, 0, 1, 1], [1, 0, 0, 1, 1, 1]]
    assert kept("1:4") == [[0, 1, 0, 0, 1, 0], [0, 0, 0, 1, 1, 0]]
    assert kept("2:3") == [[0, 1, 1, 0, 1, 1], [1, 0, 1, 1, 1, 0]]


def test_where_scores_are_equal_the_first_stay() -> None:
    mask = keep_mask(torch.zeros(1, 8, 1), parse_pattern("2:4"), Amount())
    assert mask[0, :, 0].int().tolist() == [1, 1, 0, 0, 1, 1, 0, 0]


def test_groups_run_along_the_inputs_of_one_tap() -> None:
    weight = torch.zeros(1, 4, 1, 2)
    weight[0, :, 0, 0] = torch.tensor([4.0, 3.0, 2.0, 1.0])
    weight[0, :, 0, 1] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    mask = keep_mask(as_matrix(weight).square(), parse_pattern("2:4"), Amount())
    assert mask[0].int().T.tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]


def test_blocks_go_whole_by_their_root_mean_square() -> None:
    """2x1 blocks, mean squares by column: 1.25, 2.0, 0.58, 3.13, 4.68, 0.065."""
    assert kept("2x1", share=0.5) == [[0, 1, 0, 1, 1, 0]] * 2
    assert kept("2x1", count=5) == [[1, 1, 0, 1, 1, 0]] * 2, "two blocks have four weights"
    assert kept("2x1", threshold=1.2) == [[0, 1, 0, 1, 1, 0]] * 2, "squared 1.44"


def test_a_last_block_that_is_not_full_counts_by_what_it_holds() -> None:
    """1x4: mean squares 1.315 and 4.52; 2.165 and 0.225. Blocks of three outputs: all in one."""
    assert kept("1x4", threshold=1.4) == [[0, 0, 0, 0, 1, 1], [1, 1, 1, 1, 0, 0]]
    means = block_means(SQUARES, parse_pattern("3x4"))
    assert means.flatten().tolist() == pytest.approx([(5.26 + 8.66) / 8, (9.04 + 0.45) / 4])


def test_shares_of_zeros_by_pattern() -> None:
    keep = torch.tensor([[1, 0, 0, 1, 1, 0, 1, 0], [1, 0, 1, 0, 1, 0, 0, 0]])[..., None].bool()
    assert zero_share(keep, UNSTRUCTURED) == pytest.approx(9 / 16)
    assert zero_share(keep, parse_pattern("2:4")) == pytest.approx(9 / 16)
    assert zero_share(keep, parse_pattern("1:4")) is None
    assert zero_share(keep, parse_pattern("2x1")) == pytest.approx(6 / 16), "columns 1, 5 and 7"
    assert zero_share(keep, parse_pattern("1x2")) == pytest.approx(2 / 16)


@given(
    st.integers(1, 6), st.integers(1, 9), st.integers(1, 3), st.sampled_from(["2:4", "1:3", "4x1", "2x3"]),
    st.integers(0, 2**31),
)  # fmt: skip
def test_every_mask_is_of_its_pattern(out: int, inputs: int, taps: int, name: str, seed: int) -> None:
    scores: Tensor = torch.rand(out, inputs, taps, generator=torch.Generator().manual_seed(seed))
    pattern = parse_pattern(name)
    amount = Amount() if pattern.kind == "nm" else Amount(share=0.5)
    keep = keep_mask(scores, pattern, amount)
    assert keep.shape == scores.shape
    share = zero_share(keep, pattern)
    assert share == pytest.approx(1 - float(keep.float().mean()))
    assert share is not None
    if pattern.kind == "block":
        assert share <= 0.5
    else:
        lost, full = scores.masked_fill(keep, 2.0).amin(1), scores.masked_fill(~keep, -1.0)
        assert bool((lost <= full.amax(1)).all() or (lost == 2.0).any())


@pytest.mark.parametrize(
    ("pattern", "amount", "message"),
    [
        ("2:4", Amount(share=0.5), "the pattern 2:4 says itself how many weights go"),
        ("unstructured", Amount(), "unstructured zeros need one amount: give a threshold"),
        ("4x1", Amount(share=0.5, count=3), "4x1 zeros need one amount"),
        ("4x1", Amount(share=1.0), "lies between 0 and 1, not 1.0"),
        ("unstructured", Amount(share=float("nan")), "lies between 0 and 1"),
        ("unstructured", Amount(count=0), "a count of weights is 1 or more"),
        ("unstructured", Amount(threshold=0.0), "above 0, not at 0.0"),
        ("unstructured", Amount(threshold=float("nan")), "above 0, not at nan"),
    ],
)
def test_amounts_that_say_nothing(pattern: str, amount: Amount, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        amount.check(parse_pattern(pattern))


def test_layers_give_up_what_costs_least_together() -> None:
    """2x1 blocks of the first: 1, 4, 9 (two weights each); of the second, of one row: 2, 3."""
    first = torch.tensor([[1.0, 5.0, 9.0], [1.0, 3.0, 9.0]])[..., None]
    second = torch.tensor([[2.0, 3.0]])[..., None]
    scores, pattern = {"first": first, "second": second}, parse_pattern("2x1")
    assert shared_counts(scores, pattern, Amount(count=3)) == {"first": 2, "second": 1}
    assert shared_counts(scores, pattern, Amount(share=0.5)) == {"first": 2, "second": 2}
    assert shared_counts(scores, pattern, Amount(count=100)) == {"first": 6, "second": 2}
    assert shared_counts(scores, pattern, Amount(count=1)) == {"first": 0, "second": 0}
    keep = keep_mask(first, pattern, Amount(count=2))
    assert keep[..., 0].int().tolist() == [[0, 1, 1], [0, 1, 1]]
