"""Registers that are shown twice are found however slowly they move."""

from collections.abc import Callable

from joulecut.profiler.sensors.mirrors import differ_by, look
from joulecut.profiler.simulate import Load, World


def counts_of(world: World, *periods_s: float) -> Callable[[], list[int]]:
    """Counters that step once a period of the world's time; never for a period of 0."""
    return lambda: [int(world.now_s() / period_s) if period_s else 7 for period_s in periods_s]


def test_eight_looks_suffice_for_what_moves_every_millisecond() -> None:
    world = World(Load("cpu", idle_w=1.0))
    assert [len(column) for column in look(counts_of(world, 0.001, 0.001), [0, 1], world)] == [8, 8]


def test_slow_registers_are_looked_at_until_they_have_moved() -> None:
    world = World(Load("cpu", idle_w=1.0))
    first, second = look(counts_of(world, 0.05, 0.05), [0, 1], world)
    assert differ_by(first, second) == 0
    assert 0.1 <= world.now_s() < 0.12  # two steps of 50 ms


def test_what_never_moves_is_given_up_and_what_need_not_move_is_not_waited_for() -> None:
    world = World(Load("cpu", idle_w=1.0))
    look(counts_of(world, 0.001, 0.0), [0], world)
    assert world.now_s() < 0.04
    first, second = look(counts_of(world, 0.0, 0.0), [0, 1], world)
    assert differ_by(first, second) is None
    assert 0.5 < world.now_s() < 0.6
