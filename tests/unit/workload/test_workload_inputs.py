"""Inputs by name and place, and the memory that they may take."""

from __future__ import annotations

import pytest
from torch import Tensor, nn, zeros

from joulecut.errors import UsageError
from joulecut.workload.inputs import arranged, example, parse_inputs
from joulecut.workload.trace import trace

NAMES = ("x", "mask", "ids")


@pytest.mark.parametrize(
    ("given", "order"),
    [
        ("1,2,3", [1, 2, 3]),
        ("1", [1]),
        ("mask=2,1", [1, 2]),
        ("ids=3,mask=2,x=1", [1, 2, 3]),
        ("1,ids=3,2", [1, 2, 3]),
        ("1,2,3,4", [1, 2, 3, 4]),
    ],
)
def test_inputs_go_to_their_places(given: str, order: list[int]) -> None:
    assert [spec.shape for spec in arranged(parse_inputs(given), NAMES)] == [(size,) for size in order]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("y=1", r"no input 'y'\. Its inputs: x, mask, ids\.$"),
        ("ids=3,1", "input mask is missing"),
        ("mask=1", "input x"),
    ],
)
def test_inputs_that_have_no_place(given: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        arranged(parse_inputs(given), NAMES)


def test_an_input_larger_than_memory_is_not_made() -> None:
    with pytest.raises(UsageError, match=r"takes 4\.00 TB of memory"):
        example(parse_inputs(f"{10**12}"))


class Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


def test_a_network_gets_as_many_inputs_as_it_takes() -> None:
    with pytest.raises(UsageError, match="Two takes x, y, and the example is 1 tensor:"):
        trace(Two(), zeros(1, 2))
    assert len(trace(Two(), (zeros(1, 2), zeros(1, 2))).inputs) == 2
