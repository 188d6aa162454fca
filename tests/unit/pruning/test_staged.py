"""The search in stages: budgets met, the true loss decides, and a killed run goes on alike."""

from __future__ import annotations

import pytest
import torch
from pruning_networks import one_thread  # noqa: F401
from test_ranked import prepared

from joulecut.errors import BudgetUnreachable, ModelError
from joulecut.pruning.curves import BY_SCORE, PER_JOULE
from joulecut.pruning.network import Network
from joulecut.pruning.obs import measure_moments
from joulecut.pruning.ranked import cut_along, score_curves, true_loss, way_down
from joulecut.pruning.rankings import Context, find_ranking
from joulecut.pruning.records import Budget
from joulecut.pruning.refit import refit, teach
from joulecut.pruning.staged import STAGES, full_search_macs, is_large, joint_curves, staged
from joulecut.pruning.state import Samples


@pytest.mark.parametrize("name", ["residual", "separable", "scaled", "grouped"])
@pytest.mark.parametrize("labelled", [True, False])
def test_the_budget_is_met_in_stages(name: str, labelled: bool) -> None:
    run = prepared(name, share=0.5, labelled=labelled)
    saved: list[float] = []
    run.save = lambda state: saved.append(state.steps[-1].share)
    network = staged(run)
    assert network is run.here
    assert run.reached(network)
    assert 1 <= len(saved) <= STAGES
    assert saved == sorted(saved, reverse=True)
    energy_j = run.before.value
    for step in run.steps:
        assert step.total.value == pytest.approx(energy_j - step.taken.saving_j, rel=1e-9)
        energy_j = step.total.value


def test_the_end_of_least_loss_on_held_out_samples_wins() -> None:
    """The three ends of the first stage, made here one by one: 64 samples to fit to, 32 to decide by."""
    run = prepared(share=0.4)
    x, labels = run.calibration.inputs, run.calibration.labels
    assert labels is not None
    held_out = Samples(x[64:], labels[64:])
    settings = run.settings.refit
    teacher = teach(run.folded, x[:64], settings.__class__(rows=settings.rows, sensitivity=0.0))
    moments = measure_moments(run.folded, x[:64], gradient_samples=64, seed=0)
    context = Context(run.folded, x[:64], labels[:64])
    losses = {}
    for found, price, curves in (
        ("joint OBS", PER_JOULE, joint_curves(run.folded, moments, 1)),
        ("fisher", PER_JOULE, score_curves(run.folded, find_ranking("fisher").scores(context), 1)),
        ("l2", BY_SCORE, score_curves(run.folded, find_ranking("l2").scores(context), 1)),
    ):
        end = refit(
            cut_along(run.folded, way_down(run, run.folded, curves, price, STAGES)), teacher, settings
        )
        losses[found] = true_loss(end, held_out, torch.zeros(()))
    staged(run)
    best = min(losses, key=lambda member: losses[member])
    first = run.steps[0]
    assert f"on curves by {best}, whose end has the loss {losses[best]:.4f}" in first.reason
    assert all(f"{loss:.4f} by {member}" in first.reason for member, loss in losses.items() if member != best)
    assert first.calibration_loss == pytest.approx(losses[best], rel=1e-5)


def test_a_run_that_was_killed_after_a_stage_goes_on_alike() -> None:
    whole = prepared(share=0.4)
    stages: list[tuple[Network, int]] = []
    whole.save = lambda state: stages.append((state.here, len(state.steps)))
    staged(whole)
    assert len(stages) > 1
    network, count = stages[0]
    again = prepared(share=0.4, here=network, steps=whole.steps[:count])
    staged(again)
    assert again.here.kept == whole.here.kept
    for name, weight in whole.here.weights.items():
        assert torch.equal(weight, again.here.weights[name])


def test_nothing_happens_where_the_budget_is_met_and_what_cannot_be_is_said() -> None:
    run = prepared(budget=Budget(energy_j=1.0))
    assert staged(run) is run.folded
    with pytest.raises(BudgetUnreachable):
        staged(prepared(share=1e-4))
    floor = Budget(share=0.5, min_accuracy=0.9)
    with pytest.raises(BudgetUnreachable, match="without falling below 90"):
        staged(prepared(budget=floor, judge=lambda network, quick: 0.5))
    broken = prepared()
    broken.calibration.inputs[80] = torch.nan
    with pytest.raises(ModelError, match="the loss of the cut network is not finite"):
        staged(broken)


def test_what_the_full_search_would_run() -> None:
    """36 channels one by one, each step a run of 64 samples and four candidates from the middle on."""
    run = prepared()
    macs = sum(work.macs for work in run.pricer.works(run.pricer.sizes).values())
    assert full_search_macs(run) == macs * 64 * 3 * 36
    assert not is_large(run)


def test_one_thread_or_two_make_no_difference() -> None:
    ends = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        ends.append(staged(prepared("separable", share=0.4)))
    assert ends[0].kept == ends[1].kept
    assert all(torch.equal(weight, ends[1].weights[name]) for name, weight in ends[0].weights.items())
