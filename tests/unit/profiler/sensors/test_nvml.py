"""NVIDIA GPUs, read by nvidia-ml-py from the stand-in library; expected joules are watts times seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pynvml
import pytest
from nvml_stub import PLAIN, Stub

from joulecut.errors import SensorDenied, SensorMissing, UsageError
from joulecut.profiler.clock import SystemClock
from joulecut.profiler.sensors.nvml import open_nvml

Build = Callable[..., Path]
NO_COUNTER = "error nvmlDeviceGetTotalEnergyConsumption 3\n"


@pytest.fixture
def stub(nvml_library: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    stub = Stub(nvml_library(), tmp_path, monkeypatch)
    yield stub
    stub.close()


def test_the_energy_counter_comes_first(stub: Stub) -> None:
    sensor = stub.open("gpu\nwatts 100\nat 2.5 watts 300\n")
    (domain,) = sensor.domains
    assert (domain.name, domain.kind, domain.quantum, domain.counts) == ("gpu:0", "counter", 1e-3, 0)
    assert (domain.boundary, domain.counted) == ("board_dc", True)
    assert domain.source == "NVML total energy counter"
    (first,) = sensor.read().counts
    stub.clock.set_s(3.5)
    (last,) = sensor.read().counts
    assert first is not None
    assert last is not None
    assert (last - first) * domain.quantum == pytest.approx(2.5 * 100 + 1.0 * 300)


def test_the_counter_shows_whole_ticks_only(stub: Stub) -> None:
    sensor = stub.open("gpu\nwatts 100\ntick 0.1\nenergy 0\n")
    shown: list[int | None] = []
    for time_s in (0.0, 0.05, 0.0999, 0.1001, 0.15, 0.2001):
        stub.clock.set_s(time_s)
        shown += sensor.read().counts
    assert shown == [0, 0, 0, 10_000, 10_000, 20_000]


def test_all_gpus_are_read_together_between_two_looks_at_the_clock(stub: Stub) -> None:
    sensor = stub.open("gpu\nwatts 100\nenergy 0\ngpu\nwatts 250\nenergy 0\n")
    stub.clock.set_s(2.0)
    read = sensor.read()
    assert [domain.name for domain in sensor.domains] == ["gpu:0", "gpu:1"]
    assert read.counts == (200_000, 500_000)
    assert (read.begin_s, read.end_s, read.faults, read.stamps_s) == (2.0, 2.0, (), ())


def test_the_machines_clock_brackets_a_read(stub: Stub) -> None:
    stub.clock.set_s(-1.0)
    stub.play(PLAIN * 4)
    clock = SystemClock()
    sensor = open_nvml(clock, library=stub.library)
    before_s = clock.now_s()
    read = sensor.read()
    after_s = clock.now_s()
    sensor.close()
    assert before_s <= read.begin_s <= read.end_s <= after_s


def test_without_a_counter_instant_power_is_a_gauge_in_milliwatts(stub: Stub) -> None:
    sensor = stub.open(f"gpu\n{NO_COUNTER}watts 100\nat 1 watts 137.5\n")
    (domain,) = sensor.domains
    assert (domain.kind, domain.quantum, domain.average_s) == ("gauge", 1e-3, 0.0)
    assert domain.source == "NVML instant power, scope GPU, integrated"
    assert domain.note == "no energy counter (Not Supported)"
    stub.clock.set_s(2.0)
    read = sensor.read()
    assert read.counts == (137_500,)  # and not the rubbish that the stub puts in the upper half of the union
    assert list(read.stamps_s) == pytest.approx([2.0])
    stub.clock.set_s(2.05)
    assert list(sensor.read().stamps_s) == pytest.approx([2.0])  # the device's own time of the tick


def test_only_the_module_answers(stub: Stub) -> None:
    sensor = stub.open(f"gpu\n{NO_COUNTER}watts 100\nfield_error 186 0 3\nmodule_watts 55\n")
    stub.clock.set_s(1.0)
    assert sensor.read().counts == (155_000,)
    assert sensor.domains[0].source == "NVML instant power, scope MODULE, integrated"
    assert "holds CPU and memory too" in sensor.domains[0].note


def test_the_average_is_the_last_resort_and_says_over_what(stub: Stub) -> None:
    errors = "".join(f"field_error 186 {scope} 3\n" for scope in (0, 1))
    sensor = stub.open(f"gpu\n{NO_COUNTER}{errors}watts 100\nat 2 watts 300\n")
    (domain,) = sensor.domains
    assert domain.average_s == 1.0
    assert domain.source == "NVML one-second average of power, scope GPU, integrated"
    stub.clock.set_s(2.5)
    assert sensor.read().counts == (200_000,)  # half a second of 100 W and half of 300 W


def test_a_stamp_of_zero_is_no_stamp(stub: Stub) -> None:
    sensor = stub.open(f"gpu\n{NO_COUNTER}watts 100\nstamp 0\n")
    stub.clock.set_s(1.0)
    assert sensor.read().stamps_s == (None,)


def test_an_entry_that_fails_later_is_a_fault_and_never_a_zero(stub: Stub) -> None:
    sensor = stub.open(f"gpu\n{NO_COUNTER}watts 100\nat 2 field_error 186 0 3\ngpu\nwatts 50\nenergy 0\n")
    stub.clock.set_s(2.0)
    read = sensor.read()
    assert read.counts == (None, 100_000)
    assert read.faults == ("Not Supported", "")
    assert read.stamps_s == (None, None)


def test_neither_energy_nor_power_is_no_sensor(stub: Stub) -> None:
    errors = "".join(f"field_error {field} {scope} 3\n" for field in (185, 186) for scope in (0, 1))
    errors += "error nvmlDeviceGetPowerUsage 3\n"
    with pytest.raises(SensorMissing, match=r"GPU 0 \(NVIDIA Stub\) gives neither energy nor power: Not S"):
        stub.open(f"gpu\n{NO_COUNTER}{errors}watts 100\n")


@pytest.mark.parametrize(("architecture", "average_s"), [(4, 0.0), (6, 0.0), (7, 1.0), (9, 1.0)])
def test_power_usage_is_instant_up_to_turing_only(stub: Stub, architecture: int, average_s: float) -> None:
    fails = "error nvmlDeviceGetFieldValues 3\n"
    sensor = stub.open(f"gpu\n{NO_COUNTER}{fails}architecture {architecture}\nwatts 100\n")
    (domain,) = sensor.domains
    assert (domain.kind, domain.average_s) == ("gauge", average_s)
    assert domain.source == "NVML power usage, integrated"
    stub.clock.set_s(2.0)
    read = sensor.read()
    assert (read.counts, read.stamps_s) == ((100_000,), ())


def test_a_gpu_that_is_lost_gives_faults_while_the_other_goes_on(stub: Stub) -> None:
    sensor = stub.open("gpu\nwatts 100\nat 1 lost 1\ngpu\nwatts 100\nenergy 0\n")
    stub.clock.set_s(1.0)
    read = sensor.read()
    assert read.counts == (None, 100_000)
    assert read.faults == ("GPU is lost", "")
    stub.clock.set_s(0.5)
    assert None not in sensor.read().counts
    assert sensor.read().faults == ()


def test_a_reload_of_the_driver_shows_as_a_counter_that_falls(stub: Stub) -> None:
    sensor = stub.open("gpu\nwatts 100\nat 1 reset 1\n")
    stub.clock.set_s(0.9)
    (before,) = sensor.read().counts
    stub.clock.set_s(1.5)
    assert sensor.read().counts == (50_000,)
    assert before == 1_090_000


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (9, "its driver is not loaded"),
        (13, "too old"),
        (18, "different versions"),
        (999, "does not start: Unknown Error"),
    ],
)
def test_what_keeps_the_library_from_starting_is_said(stub: Stub, code: int, said: str) -> None:
    with pytest.raises(SensorMissing, match=said) as caught:
        stub.open(f"error nvmlInitWithFlags {code}\n{PLAIN}")
    assert caught.value.hint


@pytest.mark.parametrize(
    "schedule",
    [
        f"error nvmlInitWithFlags 4\n{PLAIN}",
        f"error nvmlDeviceGetCount_v2 4\n{PLAIN}",
        f"{PLAIN}error nvmlDeviceGetHandleByIndex_v2 4\n",
        f"{PLAIN}error nvmlDeviceGetTotalEnergyConsumption 4\nerror nvmlDeviceGetFieldValues 4\n"
        "error nvmlDeviceGetPowerUsage 4\n",
    ],
)
def test_missing_rights_are_said_with_what_to_do(stub: Stub, schedule: str) -> None:
    with pytest.raises(SensorDenied) as caught:
        stub.open(schedule)
    assert "NVIDIA's driver" in caught.value.message
    assert caught.value.hint


def test_no_gpu_at_all(stub: Stub) -> None:
    with pytest.raises(SensorMissing, match="lists no GPU"):
        stub.open("driver 1.0\n")


def test_a_library_that_is_none(tmp_path: Path) -> None:
    text = tmp_path / "libnvidia-ml.so.1"
    text.write_text("not a library")
    with pytest.raises(SensorMissing, match="cannot load"):
        open_nvml(SystemClock(), library=text)
    with pytest.raises(SensorMissing, match="cannot load"):
        open_nvml(SystemClock(), library=tmp_path / "absent.so")


def test_a_failed_start_leaves_the_place_to_the_next(stub: Stub) -> None:
    with pytest.raises(SensorMissing):
        stub.open(f"error nvmlInitWithFlags 9\n{PLAIN}")
    assert pynvml.nvmlLib is None
    sensor = stub.open(PLAIN)
    assert sensor.read().counts == (1_000_000,)


def test_closing_twice_is_closing_once_and_frees_the_library(stub: Stub) -> None:
    first, second = stub.open(PLAIN), stub.open(PLAIN)
    first.close()
    first.close()
    assert second.read().faults == ()
    second.close()
    assert pynvml.nvmlLib is None


def test_two_libraries_at_once_are_refused(stub: Stub, nvml_library: Build) -> None:
    stub.open(PLAIN)
    with pytest.raises(UsageError, match="in use in this process"):
        open_nvml(SystemClock(), library=nvml_library("ENERGY"))


def test_an_old_library_without_the_counter_falls_back(
    nvml_library: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Stub(nvml_library("ENERGY", "EVENT_REASONS", "PROCESSES_V3"), tmp_path, monkeypatch)
    sensor = old.open("gpu\nwatts 100\nreasons 0x20\nprocess 1\nprocess 4000001\n")
    (domain,), (state,) = sensor.domains, sensor.states()
    old.close()
    assert domain.kind == "gauge"
    assert domain.note == "no energy counter (Function Not Found)"
    assert state.facts["throttle_reasons"] == "software thermal slowdown"
    assert state.facts["other_processes"] == "1, 4000001"


def test_a_library_without_counter_and_fields_is_no_sensor(
    nvml_library: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Stub(nvml_library("ENERGY", "FIELDS"), tmp_path, monkeypatch)
    with pytest.raises(SensorMissing, match="neither energy nor power: Function Not Found"):
        old.open(f"{PLAIN}error nvmlDeviceGetPowerUsage 3\n")


def test_threads_do_not_mix_their_readings(stub: Stub) -> None:
    """Every thread sees a counter that never falls."""
    stub.clock.set_s(-1.0)
    stub.play("gpu\nwatts 100\ntick 0.0001\n" * 2)
    sensor = open_nvml(SystemClock(), library=stub.library)
    fell: list[tuple[int | None, ...]] = []

    def look() -> None:
        last = (0, 0)
        for _ in range(3000):
            counts = sensor.read().counts
            if any(now is None or now < then for now, then in zip(counts, last, strict=True)):
                fell.append(counts)
            last = (counts[0] or 0, counts[1] or 0)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sensor.close()
    assert fell == []
