"""The bars on the error once more in simulated time, where no other program delays a reading."""

from __future__ import annotations

import random
from collections.abc import Sequence

from joulecut import api
from joulecut.profiler.simulate import Load, SimulatedSensor, World, energy_counter
from perf.sensors_table import Verdict, quantile_95

CALLS = {"30 ms": ((0.02, 130.0), (0.01, 40.0)), "1.5 ms": ((0.001, 130.0), (0.0005, 40.0))}
BARS = {2.0: 0.005, 0.6: 0.04}
SEEDS = range(1000, 1050)
"""Used nowhere in development."""


def print_simulated() -> list[Verdict]:
    """Print the errors over 50 seeds; the bars."""
    print("\ncalls repeated on a counter with ticks of 100 ms, in simulated time, with drift of 1 %")
    verdicts = []
    for seconds, bar in BARS.items():
        for name, steps in CALLS.items():
            errors = [_error(steps, seconds, seed) for seed in SEEDS]
            middle = sorted(errors)[len(errors) // 2]
            p95 = quantile_95([abs(error) for error in errors])
            print(f"  {name:>6} calls for {seconds} s: median {middle:+.2%}, 95 % within {p95:.2%}")
            says = f"simulated {name} calls for {seconds} s: 95 % of {len(errors)} errors within {p95:.2%}"
            verdicts.append(Verdict(f"{says}, bar {bar:.1%}", p95 <= bar))
    return verdicts


def _error(steps: Sequence[tuple[float, float]], seconds: float, seed: int) -> float:
    """Relative error of one measurement; iterations differ by a hundredth, ticks fall anywhere."""
    world = World(Load("gpu:0", idle_w=40.0, drift=0.01), seed=seed)
    meter = energy_counter(
        "gpu:0", "gpu:0", tick_s=0.1, jitter_s=0.001, quantum_j=1e-3, counts=0, boundary="board_dc"
    )
    sensor = SimulatedSensor(world, [meter], read_s=2e-5)
    wander = random.Random(seed)
    spans: list[tuple[float, float]] = []

    def call() -> None:
        begin_s = world.now_s()
        for step_s, watts in steps:
            world.work(step_s * wander.gauss(1.0, 0.01), watts)
        spans.append((begin_s, world.now_s()))

    measured = api.measure(call, sensor=sensor, clock=world, min_s=seconds, max_s=seconds, idle_s=0.0)
    last = spans[-measured.iterations :]
    truth_j = sum(world.energy_j("gpu:0", begin_s, end_s) for begin_s, end_s in last) / len(last)
    each = measured.per_iteration
    return each.value / truth_j - 1 if each is not None else float("inf")
