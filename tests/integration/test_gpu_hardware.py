"""The checks of the stand-in, on a real GPU where there is one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from joulecut.errors import SensorError
from joulecut.profiler.clock import SystemClock
from joulecut.profiler.records import Read
from joulecut.profiler.sensors.nvml import NvmlSensor, open_nvml
from joulecut.profiler.sensors.nvml_devices import find_gpus
from joulecut.profiler.sensors.nvml_library import start, stop
from joulecut.profiler.sensors.nvml_meters import POWER_INSTANT, PowerField
from joulecut.profiler.ticks import staircase
from joulecut.profiler.wraps import unwrap

pytestmark = pytest.mark.gpu
WINDOW_S = 5.0


@pytest.fixture
def sensor() -> Iterator[NvmlSensor]:
    try:
        opened = open_nvml(SystemClock())
    except SensorError as error:
        pytest.skip(f"no GPU to measure: {error}")
    yield opened
    opened.close()


def watched(sensor: NvmlSensor, duration_s: float) -> list[Read]:
    """Read every 2 ms."""
    reads = [sensor.read()]
    while reads[-1].end_s < reads[0].begin_s + duration_s:
        time.sleep(0.002)
        reads.append(sensor.read())
    return reads


def test_every_counter_moves_in_ticks_and_its_power_is_plausible(sensor: NvmlSensor) -> None:
    reads = watched(sensor, 3.0)
    assert all(count is not None for read in reads for count in read.counts)
    for column, domain in enumerate(sensor.domains):
        series = unwrap(domain, column, reads)
        if domain.kind == "gauge":
            assert min(series.values) > 1.0  # no board that is on draws less than a watt
            continue
        tick_s = staircase(series).tick_s
        assert tick_s is not None
        assert 0.001 <= tick_s <= 0.2
        power_w = series.values[-1] / (series.times_s[-1] - series.times_s[0])
        assert 1.0 < power_w < 2000.0  # no board draws less, or more


def test_the_counter_agrees_with_instant_power_over_five_seconds(sensor: NvmlSensor) -> None:
    nvml = start(None)
    try:
        gauges = {f"gpu:{gpu.index}": gpu.handle for gpu in find_gpus(nvml, os.environ)}
        compared = 0
        for column, domain in enumerate(sensor.domains):
            field = PowerField(nvml, gauges[domain.name], POWER_INSTANT, 0)
            if domain.kind == "gauge" or field.read() is None:
                continue
            times_s, watts, reads = [], [], [sensor.read()]
            while reads[-1].end_s < reads[0].end_s + WINDOW_S:
                time.sleep(0.005)
                reads.append(sensor.read())
                milliwatts = field.read()
                assert milliwatts is not None
                times_s.append(reads[-1].end_s)
                watts.append(milliwatts * 1e-3)
            series = unwrap(domain, column, reads)
            integrated_w = sum(
                (b - a) * power_w for (a, b), power_w in zip(pairwise(times_s), watts[1:], strict=True)
            ) / (times_s[-1] - times_s[0])
            counted_w = series.values[-1] / (series.times_s[-1] - series.times_s[0])
            assert counted_w == pytest.approx(integrated_w, rel=0.05)
            compared += 1
    finally:
        stop(nvml, None)
    if not compared:
        pytest.skip("no GPU here has both the energy counter and instant power")


def test_states_say_what_is_measured(sensor: NvmlSensor) -> None:
    for state in sensor.states():
        assert state.facts["name"]
        assert str(state.facts["uuid"]).startswith("GPU-")
        assert "fault" not in state.facts
        assert 0 < float(state.facts["temperature_c"]) < 130
