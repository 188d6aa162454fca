"""Which GPUs are visible: by number, by UUID, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nvml_stub import Stub

from joulecut.errors import SensorMissing
from joulecut.profiler.sensors.nvml_devices import visible_indices

UUIDS = ["GPU-1111aaaa-0", "GPU-1111bbbb-0", "GPU-2222aaaa-0"]
THREE = "".join(f"gpu\nwatts 100\nuuid {uuid}\n" for uuid in UUIDS)


@pytest.fixture
def stub(
    nvml_library: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stub]:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    stub = Stub(nvml_library(), tmp_path, monkeypatch)
    yield stub
    stub.close()


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, (0, 1, 2)),
        ("1", (1,)),
        (" 2 , 0 ", (2, 0)),
        ("2,-1,0", (2,)),
        ("0,7,1", (0,)),
        ("GPU-1111bbbb-0", (1,)),
        ("GPU-2", (2,)),
        ("GPU-2222aaaa-0,GPU-1111aaaa-0", (2, 0)),
        ("0,GPU-1111", (0,)),  # the beginning of two UUIDs names none, and hides what follows
    ],
)
def test_cuda_visible_devices(visible: str | None, expected: tuple[int, ...]) -> None:
    assert visible_indices(visible, UUIDS) == expected


@pytest.mark.parametrize("visible", ["", "-1", "7", "GPU-1111", "aaaa", "NoDevFiles", "-1,0"])
def test_nothing_visible(visible: str) -> None:
    with pytest.raises(SensorMissing, match="hides every GPU") as caught:
        visible_indices(visible, UUIDS)
    assert "2 (GPU-2222aaaa-0)" in caught.value.hint


def test_a_gpu_named_twice() -> None:
    with pytest.raises(SensorMissing, match="names a GPU twice"):
        visible_indices("0,GPU-1111a", UUIDS)


def test_a_mig_instance_is_refused_with_the_reason() -> None:
    with pytest.raises(SensorMissing, match="whole boards only"):
        visible_indices("MIG-4f0f0d3e-0000", UUIDS)


def test_the_numbers_stay_those_of_nvidia_smi(stub: Stub) -> None:
    sensor = stub.open(THREE, visible="GPU-2222,0")
    assert [domain.name for domain in sensor.domains] == ["gpu:2", "gpu:0"]
    assert [state.facts["uuid"] for state in sensor.states()] == [UUIDS[2], UUIDS[0]]


def test_the_variable_of_the_environment_counts(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [domain.name for domain in stub.open(THREE).domains] == ["gpu:1"]


def test_a_gpu_in_mig_mode_is_refused_unless_it_is_hidden(stub: Stub) -> None:
    schedule = "gpu\nwatts 100\ngpu\nwatts 100\nmig 1\n"
    with pytest.raises(SensorMissing, match=r"GPU 1 \(NVIDIA Stub\) is split by MIG") as caught:
        stub.open(schedule)
    assert "nvidia-smi -i 1 -mig 0" in caught.value.hint
    assert [domain.name for domain in stub.open(schedule, visible="0").domains] == ["gpu:0"]


def test_a_lost_gpu_is_named_unless_it_is_hidden(stub: Stub) -> None:
    schedule = "gpu\nwatts 100\ngpu\nwatts 100\nlost 1\n"
    with pytest.raises(SensorMissing, match="does not give GPU 1: GPU is lost"):
        stub.open(schedule)
    assert [domain.name for domain in stub.open(schedule, visible="GPU-00000000").domains] == ["gpu:0"]


def test_numbers_of_unlike_gpus_need_cudas_order(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = "gpu\nname NVIDIA T4\nwatts 50\nuuid GPU-a\ngpu\nname NVIDIA H100\nwatts 100\nuuid GPU-b\n"
    with pytest.raises(SensorMissing, match="may mean other GPUs to CUDA") as caught:
        stub.open(schedule, visible="0")
    assert "PCI_BUS_ID" in caught.value.hint
    assert [domain.name for domain in stub.open(schedule).domains] == ["gpu:0", "gpu:1"]
    assert [domain.name for domain in stub.open(schedule, visible="GPU-b").domains] == ["gpu:1"]
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert [domain.name for domain in stub.open(schedule, visible="0").domains] == ["gpu:0"]
