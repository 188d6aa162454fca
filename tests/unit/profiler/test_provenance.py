"""What the states at both ends of a window leave to doubt."""

from __future__ import annotations

import pytest

from joulecut.profiler.provenance import concerns
from joulecut.profiler.records import DeviceState, Fact

CALM: dict[str, Fact] = {
    "uuid": "GPU-1",
    "driver": "580.65",
    "power_limit_w": 400.0,
    "pstate": 0,
    "sm_clock_hz": 1.41e9,
    "throttle_reasons": "",
    "violation_power_s": 3.0,
    "violation_thermal_s": 0.5,
    "ecc": True,
    "mig": False,
    "other_processes": "",
}


def judged(before: dict[str, Fact], after: dict[str, Fact]) -> list[tuple[str, str]]:
    first = DeviceState("gpu:0", 0.0, CALM | before)
    last = DeviceState("gpu:0", 5.0, CALM | after)
    return [(concern.quality, concern.reason) for concern in concerns([first], [last])]


def test_a_calm_window_leaves_none() -> None:
    assert judged({}, {}) == []
    assert judged({"throttle_reasons": "idle"}, {"throttle_reasons": "application clocks"}) == []


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (
            {"throttle_reasons": "software power cap"},
            {"throttle_reasons": "idle, hardware thermal slowdown"},
            "gpu:0 was slowed down (software power cap, hardware thermal slowdown)",
        ),
        ({}, {"violation_power_s": 4.25}, "gpu:0 was held back by its power limit for 1.25 s"),
        ({}, {"violation_thermal_s": 0.52}, "gpu:0 was held back by its temperature for 20.0 ms"),
        ({"other_processes": "42"}, {}, "gpu:0 was shared with other programs (process 42)"),
        (
            {"other_processes": "42"},
            {"other_processes": "42, 77"},
            "gpu:0 was shared with other programs (processes 42, 77)",
        ),
        ({}, {"power_limit_w": 300.0}, "gpu:0 had its power limit changed, in watts (400.0 → 300.0)"),
        ({}, {"ecc": False}, "gpu:0 had its error correction switched (True → False)"),
        ({}, {"sm_clock_hz": 1.2e9}, "gpu:0 lowered its clock by 15 %, to 1.20 GHz"),
        ({"governor": "powersave"}, {"governor": "performance"}, None),
        ({"package_throttle_count": 10}, {"package_throttle_count": 13}, None),
    ],
)
def test_a_disturbance_degrades(before: dict[str, Fact], after: dict[str, Fact], reason: str | None) -> None:
    ((quality, said),) = judged(before, after)
    assert quality == "degraded"
    assert reason is None or said == reason


def test_an_idle_end_says_nothing_about_clocks() -> None:
    assert judged({}, {"throttle_reasons": "idle", "sm_clock_hz": 0.21e9}) == []
    assert judged({"sm_clock_hz": 0.21e9, "throttle_reasons": "idle"}, {}) == []


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ({}, {"fault": "GPU is lost"}, "gpu:0 was lost in the window (GPU is lost)"),
        ({}, {"uuid": "GPU-2"}, "gpu:0 was exchanged for another (GPU-1 → GPU-2)"),
        ({}, {"driver": "590.1"}, "gpu:0 had its driver loaded anew (580.65 → 590.1)"),
        ({}, {"mig": True}, "gpu:0 is split by MIG, and its energy is that of all instances"),
    ],
)
def test_what_makes_the_figure_meaningless(
    before: dict[str, Fact], after: dict[str, Fact], reason: str
) -> None:
    assert judged(before, after | {"throttle_reasons": "hardware slowdown"}) == [("invalid", reason)]


def test_devices_are_judged_by_name_and_one_that_is_missing_is_lost() -> None:
    before = [DeviceState("gpu:0", 0.0, CALM), DeviceState("gpu:1", 0.0, CALM)]
    after = [DeviceState("gpu:1", 1.0, CALM | {"other_processes": "9"})]
    assert [(concern.device, concern.quality) for concern in concerns(before, after)] == [
        ("gpu:0", "invalid"),
        ("gpu:1", "degraded"),
    ]


def test_what_a_device_does_not_answer_is_no_concern() -> None:
    bare = [DeviceState("gpu:0", 0.0, {"name": "NVIDIA Stub"})]
    assert concerns(bare, bare) == ()
    assert concerns(bare, [DeviceState("gpu:0", 1.0, {"violation_power_s": 2.0, "driver": "1"})]) == ()
