from pathlib import Path

import pytest
from jetson_tree import hwmon, old_driver, write_meter, write_old_meter

from joulecut.errors import SensorMissing
from joulecut.profiler.clock import SystemClock
from joulecut.profiler.sensors.hwmon import JetsonSensor, open_jetson


def opened(machine: Path) -> JetsonSensor:
    return open_jetson(SystemClock(), root=hwmon(machine), old_root=old_driver(machine), machine=machine)


def watts(sensor: JetsonSensor) -> dict[str, float]:
    pairs = zip(sensor.domains, sensor.read().counts, strict=True)
    return {domain.name: domain.quantum * count for domain, count in pairs if count is not None}


def counted(sensor: JetsonSensor) -> set[str]:
    return {domain.name for domain in sensor.domains if domain.counted}


def test_rails_behind_the_input_rail_are_shown_and_not_added(tmp_path: Path) -> None:
    write_meter(tmp_path, 3, {"VDD_IN": (5000, 1200), "VDD_CPU_GPU_CV": (4992, 500), "VDD_SOC": (4984, 250)})
    sensor = opened(tmp_path)
    assert watts(sensor) == pytest.approx({
        "rail:VDD_IN": 6.0, "rail:VDD_CPU_GPU_CV": 2.496, "rail:VDD_SOC": 1.246,
    })  # fmt: skip
    assert counted(sensor) == {"rail:VDD_IN"}
    assert [domain.boundary for domain in sensor.domains] == ["board_dc", "soc_rail", "soc_rail"]
    assert {domain.kind for domain in sensor.domains} == {"gauge"}
    assert sensor.domains[1].note == "behind the input rail, which is counted"


def test_module_and_carrier_board_are_fed_side_by_side(tmp_path: Path) -> None:
    write_meter(
        tmp_path, 0, {"VDD_SYS_GPU": (19000, 10), "VDD_SYS_SOC": (19000, 20), "VDD_4V0_WIFI": (4000, 1)}
    )
    write_meter(tmp_path, 1, {"VDD_IN": (19000, 300), "VDD_SYS_CPU": (19000, 30), "VDD_SYS_DDR": (19000, 40)})
    write_meter(
        tmp_path, 2, {"VDD_MUX": (19000, 100), "VDD_5V0_IO_SYS": (5000, 60), "VDD_3V3_SYS": (3300, 70)}
    )
    assert counted(opened(tmp_path)) == {"rail:VDD_IN", "rail:VDD_MUX"}


def test_without_an_input_rail_the_rails_add_up_each_once(tmp_path: Path) -> None:
    write_meter(
        tmp_path, 3, {"VDD_GPU_SOC": (20000, 200), "VDD_CPU_CV": (20000, 100), "VIN_SYS_5V0": (5000, 900)}
    )
    write_meter(tmp_path, 4, {"NC": (0, 0), "VDDQ_VDD2_1V8AO": (5000, 80)})
    sensor = opened(tmp_path)
    assert counted(sensor) == {"rail:VDD_GPU_SOC", "rail:VDD_CPU_CV", "rail:VIN_SYS_5V0"}
    notes = {domain.name: domain.note for domain in sensor.domains}
    assert notes["rail:VDDQ_VDD2_1V8AO"] == "behind VIN_SYS_5V0, which is counted"
    assert "no meter at its input" in notes["rail:VDD_GPU_SOC"]
    assert "rail:NC" not in notes


def test_the_older_driver_gives_milliwatts(tmp_path: Path) -> None:
    write_old_meter(tmp_path, "6-0040", {"POM_5V_IN": 3120, "POM_5V_GPU": 400, "POM_5V_CPU": 900})
    sensor = opened(tmp_path)
    assert watts(sensor) == pytest.approx(
        {"rail:POM_5V_IN": 3.12, "rail:POM_5V_GPU": 0.4, "rail:POM_5V_CPU": 0.9}
    )
    assert counted(sensor) == {"rail:POM_5V_IN"}


def test_a_channel_that_is_switched_off_is_no_rail(tmp_path: Path) -> None:
    folder = write_meter(tmp_path, 0, {"VDD_IN": (5000, 1000), "VDD_SOC": (5000, 100)})
    (folder / "in2_enable").write_text("0\n")
    assert [domain.name for domain in opened(tmp_path).domains] == ["rail:VDD_IN"]


def test_a_rail_that_cannot_be_read_is_a_fault_of_its_own(tmp_path: Path) -> None:
    folder = write_meter(tmp_path, 0, {"VDD_IN": (5000, 1000), "VDD_SOC": (5000, 100)})
    sensor = opened(tmp_path)
    (folder / "curr2_input").write_text("")
    read = sensor.read()
    assert read.counts == (5_000_000, None)
    assert read.faults == ("", "the file holds no number")
    sensor.close()
    assert sensor.read().counts == (None, None)


def test_other_meters_are_not_taken_for_the_board(tmp_path: Path) -> None:
    (write_meter(tmp_path, 0, {"VDD_IN": (5000, 1000)}) / "name").write_text("coretemp\n")
    with pytest.raises(SensorMissing, match="no INA3221"):
        opened(tmp_path)
