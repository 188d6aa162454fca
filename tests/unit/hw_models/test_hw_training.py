"""Joules of training, worked out by hand on the reference device (4 pJ a MAC, 20 pJ a byte)."""

from __future__ import annotations

import pytest

from joulecut.errors import UsageError
from joulecut.hw_models.modelling import estimate
from joulecut.hw_models.training import training_energy, training_step
from joulecut.workload.layer import LayerWork, Workload

DEVICE = "reference/edge/float32"
FC = LayerWork("fc", "linear", "dense", 32, 128, 16, 32, (1, 4), (1, 8), (8, 4), 4, 8)
TINY = Workload("tiny", (FC,))


def test_a_step_is_three_forward_passes_of_its_batch() -> None:
    # ten samples: 320 MACs at 4 pJ, 128 bytes of weights once and 480 bytes of activations at 20 pJ
    forward_j = (320 * 4 + (128 + 480) * 20) * 1e-12
    step = training_step(TINY, DEVICE, batch=10)
    assert step.value == pytest.approx(3 * forward_j)
    assert step.bounds(0.9) == pytest.approx((2 * forward_j, 4.5 * forward_j))
    low, high = step.bounds(0.5)
    assert 2 * forward_j < low < 3 * forward_j < high < 4.5 * forward_j
    assert (step.unit, step.origin) == ("J", "assumed")


def test_a_training_is_its_steps() -> None:
    step = training_step(TINY, DEVICE, batch=4)
    whole = training_energy(TINY, DEVICE, steps=7, batch=4)
    assert whole.value == pytest.approx(7 * step.value)
    assert whole.bounds(0.9) == pytest.approx(tuple(7 * bound for bound in step.bounds(0.9)))


def test_on_a_board_the_bounds_are_wider_than_those_of_inference_and_above_0() -> None:
    board = "raspberry-pi-4b/tflite/float32"
    forward, step = estimate(TINY, board, batch=2).total, training_step(TINY, board, batch=2)
    assert step.origin == "modelled"
    assert step.common_with == board
    low, high = forward.bounds(0.9)
    least, most = step.bounds(0.9)
    assert -1e-18 <= least < 3 * low
    assert most > 3 * high


@pytest.mark.parametrize(("steps", "batch", "says"), [(0, 4, "at least 1 step"), (3, 0, "batch")])
def test_no_steps_and_no_batch_are_refused(steps: int, batch: int, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        training_energy(TINY, DEVICE, steps=steps, batch=batch)
