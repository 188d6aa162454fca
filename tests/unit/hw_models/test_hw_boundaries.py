"""What cannot be added or compared, and other operating points."""

from __future__ import annotations

import pytest
from hw_devices import BOARD, CORE
from hw_networks import resnet8

from joulecut.errors import UsageError
from joulecut.hw_models import at_operating_point, device, estimate, to_toml, total_of
from joulecut.hw_models.comparing import compare
from joulecut.hw_models.device_file import parse_devices


def test_joules_of_one_boundary_add_up() -> None:
    profile = estimate(resnet8(), BOARD)
    both = total_of([profile, profile])
    assert both.value == pytest.approx(2 * profile.total.value, rel=1e-12)
    assert both.common.above_90 == pytest.approx(2 * profile.total.common.above_90, rel=1e-9)


def test_rail_and_wall_cannot_be_added_or_compared() -> None:
    rail, wall = estimate(resnet8(), CORE), estimate(resnet8(), BOARD)
    with pytest.raises(UsageError, match=r"joules at soc_rail .* and at wall_ac .* cannot be added"):
        total_of([rail, wall])
    with pytest.raises(UsageError, match="cannot be compared"):
        compare(rail, wall)
    with pytest.raises(UsageError, match="no profile to add up"):
        total_of([])


def test_a_profile_names_what_it_was_estimated_for() -> None:
    profile = estimate(resnet8(), CORE, batch=2)
    assert (profile.device, profile.runtime, profile.dtype) == ("core/rt/int8", "rt", "int8")
    assert (profile.mode, profile.boundary, profile.batch) == ("calibrated-8", "soc_rail", 2)
    assert "made up for tests" in profile.provenance["sources"]


def test_voltage_counts_squared_and_the_clock_only_in_time() -> None:
    fast = at_operating_point(CORE, clock_hz=200e6, voltage_v=2.7)
    before, after = estimate(resnet8(), CORE), estimate(resnet8(), fast)
    assert after.total.value == pytest.approx(before.total.value * 1.5**2, rel=1e-12)
    assert after.duration.value == pytest.approx(before.duration.value / 2, rel=1e-12)
    assert after.mode == "scaled"
    assert fast.interval.total_90 == pytest.approx(CORE.interval.total_90 * 1.25)
    assert after.total.bounds(0.9)[1] / after.total.value == pytest.approx(1.25 * 1.25, rel=0.02)
    assert parse_devices(to_toml([fast]), "fast.toml") == (fast,)
    slow = at_operating_point(CORE, clock_hz=50e6)
    assert estimate(resnet8(), slow).total.value == pytest.approx(before.total.value, rel=1e-12)
    assert slow.mode == CORE.mode


def test_one_published_pair_of_operating_points() -> None:
    # MLPerf Tiny v1.0, NDP9120, energy of ResNet-8 and MobileNet V1 0.25 at 1.1 V over that at 0.9 V
    low, high = (device(f"syntiant-ndp9120-{volts}/syntiant-tdk/int8") for volts in ("0p9v", "1p1v"))
    scaled = at_operating_point(low, clock_hz=98.7e6, voltage_v=1.1)
    published = estimate(resnet8(), high).total.value / estimate(resnet8(), low).total.value
    modelled = estimate(resnet8(), scaled).total.value / estimate(resnet8(), low).total.value
    assert modelled == pytest.approx(published, rel=0.12)


def test_bad_operating_points() -> None:
    with pytest.raises(UsageError, match="not modelled by cycles"):
        at_operating_point(BOARD, clock_hz=1e9)
    with pytest.raises(UsageError, match=r"a clock of -1 Hz is not a positive number"):
        at_operating_point(CORE, clock_hz=-1)
    with pytest.raises(UsageError, match="does not say at which voltage"):
        at_operating_point(device("nucleo-l4r5zi/microtvm-native/int8"), voltage_v=3.0)
