"""Masked least squares against independent solutions, and the choice of what goes."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from joulecut.hw_models.sparsity import UNSTRUCTURED, parse_pattern
from joulecut.pruning.leastsquares import gram, product
from joulecut.pruning.weights.choosing import LayerShape, chosen, weight_scores
from joulecut.pruning.weights.masks import Amount, keep_mask
from joulecut.pruning.weights.solving import MaskedProblem, masked_solve


def rows(groups: int, count: int, columns: int, seed: int = 0) -> Tensor:
    """Inputs that hang together, so that one can make up for another."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(groups, columns, columns, generator=generator)
    return torch.randn(groups, count, columns, generator=generator) @ mixed


def problem(x: Tensor, t: Tensor, keep: Tensor, ridge: float = 0.0) -> MaskedProblem:
    return MaskedProblem(
        gram(x, False), product(x, t) / x.shape[1], torch.zeros_like(keep) * 1.0, keep, ridge
    )


def test_each_output_is_least_squares_over_its_own_inputs() -> None:
    x, t = rows(2, 200, 6), rows(2, 200, 5, seed=1)
    keep = torch.rand(2, 6, 5, generator=torch.Generator().manual_seed(2)) > 0.4
    keep[1, :, 2] = False  # an output without inputs
    keep[0, :, 4] = keep[0, :, 3]  # two that share a mask
    found = masked_solve(problem(x, t, keep))
    for group, output in itertools.product(range(2), range(5)):
        at = torch.nonzero(keep[group, :, output]).flatten()
        expected = torch.zeros(6, dtype=torch.float64)
        if len(at):
            expected[at] = torch.linalg.lstsq(x[group][:, at].double(), t[group, :, output].double()).solution
        assert torch.allclose(found[group, :, output], expected, atol=1e-4)
    assert bool((found[~keep] == 0).all())


def test_the_ridge_pulls_to_the_weights_before_and_never_out_of_the_mask() -> None:
    x, t = rows(1, 50, 3), rows(1, 50, 2, seed=1)
    keep = torch.tensor([[[True, False], [True, True], [False, True]]])
    before = torch.full((1, 3, 2), 7.0)
    strong = MaskedProblem(gram(x, False), product(x, t) / 50, before, keep, 1e9)
    assert torch.allclose(masked_solve(strong), 7.0 * keep.double(), atol=1e-5)


def test_a_second_pass_solves_for_the_new_right_hand_side() -> None:
    """The target of a pass is what ``again`` makes of the solution before it, output by output."""
    x, t = rows(1, 100, 4), rows(1, 100, 3, seed=1)
    keep = torch.ones(1, 4, 3, dtype=torch.bool)
    keep[0, 0, 1] = False
    calls = []

    def again(found: Tensor, group: int, outputs: Tensor) -> Tensor:
        calls.append((found.shape, group, sorted(outputs.tolist())))
        return 2 * (product(x, t) / 100)[group][:, outputs]

    once, twice = masked_solve(problem(x, t, keep)), masked_solve(problem(x, t, keep), again, 1)
    assert torch.allclose(twice, 2 * once, atol=1e-6)
    assert calls == [((4, 3), 0, [0, 1, 2])]


def test_what_a_weight_costs_is_what_least_squares_loses_without_it() -> None:
    """The first of the sweep goes against all others: the loss of the re-solved rest, found by solving."""
    x, t = rows(1, 300, 5), rows(1, 300, 1, seed=3)
    everything = torch.ones(1, 5, 1, dtype=torch.bool)
    best = masked_solve(problem(x, t, everything))
    shape = LayerShape(1, 1, 5, 1)
    scores = weight_scores(gram(x, False), best, shape, UNSTRUCTURED, Amount(count=1), ridge=0.0)
    without = everything.clone()
    without[0, 0, 0] = False
    lost = [
        float((x.double() @ masked_solve(problem(x, t, mask)) - t).square().mean())
        for mask in (everything, without)
    ]
    assert float(scores.flatten()[0]) == pytest.approx(lost[1] - lost[0], rel=1e-4)


def test_the_last_weight_of_the_sweep_can_lean_on_no_other() -> None:
    x = rows(1, 300, 4)
    weights = torch.tensor([0.0, 0.0, 0.0, 1.0]).reshape(1, 4, 1)
    scores = weight_scores(
        gram(x, False), weights, LayerShape(1, 1, 4, 1), UNSTRUCTURED, Amount(count=1), ridge=0.0
    )
    assert float(scores.flatten()[3]) == pytest.approx(float(x[0, :, 3].square().mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "amount"), [("2:4", Amount()), ("unstructured", Amount(share=0.5)), ("2x1", Amount(share=0.5))]
)
def test_masks_by_least_squares_lose_less_than_by_magnitude(name: str, amount: Amount) -> None:
    """Both re-solved; inputs hang together, so that magnitudes say little."""
    pattern, shape = parse_pattern(name), LayerShape(1, 6, 8, 2)
    losses: dict[str, float] = {"magnitude": 0.0, "least squares": 0.0}
    for seed in range(8):
        x, t = rows(1, 400, 16, seed), rows(1, 400, 6, 100 + seed)
        whole = problem(x, t, torch.ones(1, 16, 6, dtype=torch.bool))
        best = masked_solve(whole)
        masks = {
            "magnitude": keep_mask(shape.as_weights(best).square(), pattern, amount),
            "least squares": chosen(whole.gram, best, shape, pattern, amount, ridge=1e-6)[0],
        }
        for how, mask in masks.items():
            found = masked_solve(problem(x, t, shape.as_columns(mask, constant=False)))
            losses[how] += float((x.double() @ found - t).square().mean())
        assert masks["magnitude"].sum() == masks["least squares"].sum()
    assert losses["least squares"] < losses["magnitude"]


def test_an_important_output_keeps_more_of_its_weights() -> None:
    x = rows(1, 200, 6)
    weights = torch.ones(1, 6, 2)
    mask, rise = chosen(
        gram(x, False), weights, LayerShape(1, 2, 6, 1), UNSTRUCTURED, Amount(share=0.5),
        ridge=1e-6, importance=torch.tensor([100.0, 1.0]),
    )  # fmt: skip
    assert int(mask[0].sum()) > int(mask[1].sum())
    assert rise > 0


def test_the_constant_is_never_chosen_and_columns_go_tap_by_tap() -> None:
    shape = LayerShape(1, 1, 2, 3)
    assert shape.order(constant=True).tolist() == [0, 3, 1, 4, 2, 5, 6]
    assert shape.spans(2) == ((0, 2), (2, 4), (4, 6))
    assert LayerShape(1, 1, 5, 1).spans(4) == ((0, 4), (4, 5))
    x = torch.cat([rows(1, 100, 6), torch.ones(1, 100, 1)], 2)
    mask, _ = chosen(gram(x, True), torch.ones(1, 7, 1), shape, UNSTRUCTURED, Amount(count=6), ridge=1e-6)
    assert mask.shape == (1, 2, 3)
    assert not bool(mask.any())
    assert shape.as_columns(mask, constant=True)[0, :, 0].tolist() == [False] * 6 + [True]


def test_weights_and_columns_are_the_same_numbers() -> None:
    weight = torch.arange(2 * 3 * 4).reshape(2, 3, 4).float()
    shape = LayerShape(2, 1, 3, 4)
    packed = weight.reshape(2, 1, 12).transpose(1, 2)
    assert torch.equal(shape.as_weights(packed), weight)
    swept = packed[:, shape.order(constant=False)].transpose(1, 2)
    assert torch.equal(shape.from_swept(swept), weight)


def test_moments_that_repeat_are_solved_all_the_same() -> None:
    """A column that is another's copy, and one that is always zero."""
    x = rows(1, 100, 4)
    x[..., 1], x[..., 2] = x[..., 0], 0.0
    found = masked_solve(problem(x, x @ torch.ones(4, 1), torch.ones(1, 4, 1, dtype=torch.bool), ridge=1e-6))
    assert torch.allclose(x.double() @ found, x.double() @ torch.ones(4, 1).double(), atol=1e-2)
