"""What a GPU says of itself, in SI units."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nvml_stub import PLAIN, Stub


@pytest.fixture
def stub(
    nvml_library: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stub]:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    stub = Stub(nvml_library(), tmp_path, monkeypatch)
    yield stub
    stub.close()


def test_every_fact_in_si_units(stub: Stub) -> None:
    sensor = stub.open(
        "driver 555.42\ngpu\nname NVIDIA A100-SXM4-40GB\nuuid GPU-1\nwatts 250\npower_limit 300\n"
        "sm_clock 1275\nmemory_clock 1215\npstate 2\nreasons 0x84\ntemperature 71\nviolating_power 0.25\n"
        "at 2 violating_thermal 0.5\necc 1\npersistence 0\n"
    )
    stub.clock.set_s(4.0)
    (state,) = sensor.states()
    assert (state.device, state.at_s) == ("gpu:0", 4.0)
    assert state.facts == {
        "name": "NVIDIA A100-SXM4-40GB",
        "uuid": "GPU-1",
        "driver": "555.42",
        "power_limit_w": 300.0,
        "persistence": False,
        "pstate": 2,
        "sm_clock_hz": 1.275e9,
        "memory_clock_hz": 1.215e9,
        "throttle_reasons": "software power cap, hardware power brake",
        "violation_power_s": pytest.approx(1.0),  # a quarter of 4 s
        "violation_thermal_s": pytest.approx(1.0),  # half of the last 2 s
        "temperature_c": 71,
        "ecc": True,
        "mig": False,
        "other_processes": "",
    }


def test_a_library_without_what_is_deprecated_says_the_same(
    nvml_library: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = f"{PLAIN}temperature 66\nviolating_power 0.25\nviolating_thermal 0.5\nreasons 0x8\n"
    new = Stub(nvml_library("DEPRECATED"), tmp_path, monkeypatch)
    sensor = new.open(schedule)
    new.clock.set_s(4.0)
    (state,) = sensor.states()
    new.close()
    assert state.facts["temperature_c"] == 66
    assert state.facts["violation_power_s"] == pytest.approx(1.0)
    assert state.facts["violation_thermal_s"] == pytest.approx(2.0)
    assert state.facts["throttle_reasons"] == "hardware slowdown"


def test_a_question_that_the_board_does_not_know_is_left_out(stub: Stub) -> None:
    sensor = stub.open(f"{PLAIN}error nvmlDeviceGetEccMode 3\nerror nvmlDeviceGetMigMode 3\n")
    facts = sensor.states()[0].facts
    assert "ecc" not in facts
    assert "mig" not in facts
    assert "temperature_c" in facts
    assert "fault" not in facts


def test_a_reason_of_a_newer_driver_is_shown_as_a_number(stub: Stub) -> None:
    assert (
        stub.open(f"{PLAIN}reasons 0x1001\n").states()[0].facts["throttle_reasons"] == "idle, reason 0x1000"
    )


def test_a_lost_gpu_says_so(stub: Stub) -> None:
    sensor = stub.open(f"{PLAIN}at 1 lost 1\n")
    stub.clock.set_s(1.0)
    assert sensor.states()[0].facts["fault"] == "GPU is lost"


def test_other_programs_are_named_and_our_own_are_not(stub: Stub) -> None:
    ours = f"process {os.getpid()}\n"
    sensor = stub.open(f"{PLAIN}{ours}at 1 process 4000001\nat 1 process 4000002\nat 2 gone 4000001\n")
    seen = []
    for time_s in (0.5, 1.5, 2.5):
        stub.clock.set_s(time_s)
        seen.append(sensor.states()[0].facts["other_processes"])
    assert seen == ["", "4000001, 4000002", "4000002"]
