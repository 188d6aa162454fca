"""Boards of which only the data sheet is known, against ratios worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hw_devices import BOARD, CORE
from hw_networks import conv, linear

from joulecut.errors import UsageError
from joulecut.hw_models import BoardFacts, calibrate, device, estimate, on_board, to_toml
from joulecut.hw_models.device_file import parse_devices
from joulecut.hw_models.new_board import board_facts
from joulecut.workload.layer import Workload

PI = device("raspberry-pi-4b/tflite/int8")
"""4 cores at 1.8 GHz, 8 MACs an instruction, 2.82 W idle, 6.47 W active: 43.59 % of a joule is idled away."""
PI_FACTS = BoardFacts(4, 1.8e9, 2.82, 8)
IDLE_SHARE = 2.82 / 6.47
NET = Workload("net", (conv("conv", 32, 32, 3, 16, 3, reads_input=True), linear("fc", 64, 10)))


def joules(facts: BoardFacts) -> float:
    """Joules of the network on a board with these facts, over those on the Raspberry Pi."""
    made = on_board(PI, facts, chip="new")
    return estimate(NET, made).total.value / estimate(NET, PI).total.value


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 1.0),
        ({"cores": 2}, (1 - IDLE_SHARE) + 2 * IDLE_SHARE),
        ({"clock_hz": 3.6e9}, (1 - IDLE_SHARE) + IDLE_SHARE / 2),
        ({"idle_w": 5.64}, (1 - IDLE_SHARE) + 2 * IDLE_SHARE),
        ({"macs_per_instruction": 16}, 0.5),
        ({"cores": 8, "idle_w": 5.64}, 1.0),
    ],
)
def test_switched_and_idle_joules_are_carried_over_apart(changes: dict[str, Any], expected: float) -> None:
    assert joules(replace(PI_FACTS, **changes)) == pytest.approx(expected, rel=1e-9)


def test_time_goes_with_cores_clock_and_vectors() -> None:
    fast = on_board(PI, BoardFacts(8, 1.8e9, 2.82, 8), chip="fast")
    durations = [estimate(NET, each).duration.value for each in (fast, PI)]
    assert durations[0] / durations[1] == pytest.approx(0.5, rel=1e-9)


def test_what_it_is_worth_is_said() -> None:
    made = on_board(PI, PI_FACTS, chip="twin", core="4x Cortex-A72")
    assert (made.chip, made.core, made.mode, made.prior_only) == ("twin", "4x Cortex-A72", "scaled", True)
    assert made.interval.total_90 == pytest.approx(2.0)
    assert board_facts(made) == PI_FACTS
    assert parse_devices(to_toml([made]), "twin.toml") == (made,)


def test_a_latency_changes_the_idle_part_only() -> None:
    modelled = estimate(NET, PI).duration.value
    made = on_board(PI, PI_FACTS, chip="twin")
    found = estimate(NET, made, latency_s=3 * modelled)
    whole = estimate(NET, PI).total.value
    assert found.total.value == pytest.approx(whole + 2 * modelled * 2.82, rel=1e-9)
    assert found.idle.value == pytest.approx(3 * modelled * 2.82, rel=1e-9)


def test_a_board_in_general_lends_its_shape_and_no_fact() -> None:
    mine = calibrate(device("generic-aarch64/tflite/float32"), [(NET, 2e-3, 1e-3)], chip="mine")
    assert not {"idle_w", "cores", "clock_mhz", "macs_per_instruction"} & set(mine.figures)


@pytest.mark.parametrize("key", ["cores", "clock_hz", "idle_w", "macs_per_instruction"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_fact_is_a_positive_number(key: str, value: float) -> None:
    with pytest.raises(UsageError, match="not a positive number"):
        on_board(PI, replace(PI_FACTS, **{key: value}), chip="new")


@pytest.mark.parametrize("prior", [BOARD, CORE], ids=lambda spec: spec.name)
def test_a_prior_must_state_its_facts(prior: Any) -> None:
    with pytest.raises(UsageError, match="does not state cores"):
        on_board(prior, PI_FACTS, chip="new")


def test_a_board_has_a_name() -> None:
    with pytest.raises(UsageError, match="no name of a device"):
        on_board(PI, PI_FACTS, chip="My Board")
