from pathlib import Path

import pytest

from joulecut.profiler.sensors.cpu_state import container, cpu_facts, cpu_state, is_amd, is_virtual_machine

CPU = "sys/devices/system/cpu/cpu0"


def write(machine: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (machine / name).parent.mkdir(parents=True, exist_ok=True)
        (machine / name).write_text(text)
    return machine


def test_a_real_machine_tells_its_governor_clock_and_throttling(tmp_path: Path) -> None:
    write(tmp_path, {
        "proc/cpuinfo": "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu vme sse2\n",
        f"{CPU}/cpufreq/scaling_governor": "powersave\n",
        f"{CPU}/cpufreq/scaling_cur_freq": "2800000\n",
        f"{CPU}/thermal_throttle/core_throttle_count": "3\n",
        f"{CPU}/thermal_throttle/package_throttle_count": "41\n",
    })  # fmt: skip
    assert cpu_facts(tmp_path) == {
        "virtual_machine": False, "governor": "powersave", "clock_hz": 2_800_000_000,
        "core_throttle_count": 3, "package_throttle_count": 41,
    }  # fmt: skip
    assert cpu_state(1.5, tmp_path).at_s == 1.5


def test_what_is_not_told_is_absent(tmp_path: Path) -> None:
    assert cpu_facts(tmp_path) == {"virtual_machine": False}


def test_a_hypervisor_shows_among_the_flags_of_the_first_processor(tmp_path: Path) -> None:
    write(tmp_path, {"proc/cpuinfo": "model name\t: hypervisor of fun\nflags\t\t: fpu hypervisor lahf_lm\n"})
    assert is_virtual_machine(tmp_path)
    write(tmp_path, {"proc/cpuinfo": "model name\t: hypervisor of fun\nflags\t\t: fpu lahf_lm\n"})
    assert not is_virtual_machine(tmp_path)


@pytest.mark.parametrize(
    ("vendor", "amd"), [("AuthenticAMD", True), ("HygonGenuine", True), ("GenuineIntel", False)]
)
def test_the_maker_is_told_by_the_vendor(tmp_path: Path, vendor: str, amd: bool) -> None:
    write(tmp_path, {"proc/cpuinfo": f"processor\t: 0\nvendor_id\t: {vendor}\n"})
    assert is_amd(tmp_path) is amd


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({".dockerenv": ""}, "docker"),
        ({"run/.containerenv": ""}, "podman"),
        ({"proc/1/cgroup": "0::/kubepods.slice/pod1/cri-containerd-7.scope\n"}, "kubernetes"),
        ({"proc/1/cgroup": "12:pids:/docker/0123abcd\n"}, "docker"),
        ({"proc/1/cgroup": "0::/lxc.payload.web\n"}, "lxc"),
        ({"proc/1/cgroup": "0::/init.scope\n"}, ""),
    ],
)
def test_containers_are_told_by_their_marks(tmp_path: Path, files: dict[str, str], kind: str) -> None:
    assert container(write(tmp_path, files)) == kind
    assert cpu_facts(tmp_path).get("container", "") == kind
