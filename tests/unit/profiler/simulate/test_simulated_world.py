"""A simulated machine: joules worked out by hand, time that passes only when asked to."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulecut.profiler.simulate import Load, World


def test_joules_are_watts_times_seconds_of_every_stretch() -> None:
    world = World(Load("cpu", idle_w=12.0), Load("gpu:0", idle_w=70.0))
    world.sleep_s(1.0)
    world.work(2.0, {"cpu": 30.0, "gpu:0": 300.0})
    world.work(0.5, 50.0)
    world.sleep_s(0.5)
    assert world.now_s() == 4.0
    assert world.energy_j("cpu", 0.0, 4.0) == pytest.approx(12 + 60 + 25 + 6)
    assert world.energy_j("gpu:0", 0.0, 4.0) == pytest.approx(70 + 600 + 70)
    assert world.energy_j("cpu", 0.5, 1.5) == pytest.approx(6 + 15)


@given(st.lists(st.floats(0.0, 4.0), min_size=3, max_size=3))
def test_joules_of_parts_add_up_to_the_whole(cuts: list[float]) -> None:
    world = World(
        Load("cpu", idle_w=10.0, drift=0.05, drift_tau_s=0.2, thermal=0.3, thermal_tau_s=1.0), seed=3
    )
    for _ in range(4):
        world.work(0.5, 40.0)
        world.sleep_s(0.5)
    edges = [0.0, *sorted(cuts), 4.0]
    parts = [world.energy_j("cpu", a, b) for a, b in pairwise(edges)]
    assert math.fsum(parts) == pytest.approx(world.energy_j("cpu", 0.0, 4.0), rel=1e-12)
    assert min(parts) >= 0.0


def test_a_cold_load_draws_less_and_warms_with_its_time_constant() -> None:
    world = World(Load("cpu", idle_w=0.0, thermal=0.04, thermal_tau_s=40.0))
    world.work(40.0, 100.0)
    short_w = 0.04 * 100 * (1 - math.exp(-1))  # mean of 100 * 0.04 * exp(-t / 40) over the first 40 s
    assert world.energy_j("cpu", 0.0, 40.0) == pytest.approx(40 * (100 - short_w))
    assert world.warmth("cpu") == pytest.approx(1 - math.exp(-1))
    world.sleep_s(40.0)
    assert world.warmth("cpu") == pytest.approx((1 - math.exp(-1)) * math.exp(-1))


def test_drift_wanders_around_the_stated_power_with_the_stated_deviation() -> None:
    world = World(Load("cpu", idle_w=100.0, drift=0.02, drift_tau_s=1.0), seed=11)
    world.sleep_s(2000.0)
    powers = [world.energy_j("cpu", at, at + 0.02) / 0.02 for at in range(2000)]
    mean = sum(powers) / 2000
    deviation = math.sqrt(sum((power - mean) ** 2 for power in powers) / 1999)
    assert mean == pytest.approx(100.0, abs=0.3)  # about 1000 independent values: 2 / sqrt(1000) = 0.06
    assert deviation == pytest.approx(2.0, rel=0.15)
    lagged = sum((a - mean) * (b - mean) for a, b in pairwise(powers)) / 1999
    assert lagged / deviation**2 == pytest.approx(math.exp(-1), abs=0.1)


def test_the_same_seed_gives_the_same_joules_however_time_is_cut() -> None:
    def joules(seed: int, steps: int) -> float:
        world = World(Load("cpu", idle_w=10.0, drift=0.05, drift_tau_s=0.5), seed=seed)
        for _ in range(steps):
            world.sleep_s(8.0 / steps)
        return world.energy_j("cpu", 0.0, 8.0)

    assert joules(1, 1) == pytest.approx(joules(1, 64), rel=1e-12)
    assert joules(1, 1) != joules(2, 1)


def test_callbacks_fire_when_due_also_within_work_and_stop_with_the_context() -> None:
    world = World(Load("cpu", idle_w=1.0))
    seen: list[float] = []

    def look() -> None:
        seen.append(world.now_s())
        world.sleep_s(0.001)

    with world.every(0.25, look):
        world.work(0.6, 5.0)
        world.sleep_s(0.3)
    world.sleep_s(5.0)
    assert seen == pytest.approx([0.25, 0.5, 0.75])
    assert world.now_s() == pytest.approx(5.9)
    assert world.energy_j("cpu", 0.0, 0.9) == pytest.approx(3.3)


def test_two_callbacks_keep_their_order() -> None:
    world = World(Load("cpu", idle_w=1.0))
    seen: list[str] = []
    with world.every(0.2, lambda: seen.append("a")), world.every(0.3, lambda: seen.append("b")):
        world.sleep_s(0.5)
    assert seen == ["a", "b", "a"]


def test_what_cannot_be_is_refused() -> None:
    world = World(Load("cpu", idle_w=1.0))
    with pytest.raises(ValueError, match="past"):
        world.energy_j("cpu", 0.0, 1.0)
    with pytest.raises(ValueError, match="no load 'gpu'; this world has cpu"):
        world.work(1.0, {"gpu": 5.0})
    with pytest.raises(ValueError, match="period"), world.every(0.0, lambda: None):
        pass
    with pytest.raises(ValueError, match="name of its own"):
        World(Load("cpu", idle_w=1.0), Load("cpu", idle_w=2.0))
    with pytest.raises(ValueError, match="idle_w"):
        Load("cpu", idle_w=-1.0)
