"""The commands are run, on a machine of stand-ins: what they would change is then looked at."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from powercap_tree import PowercapTree

from joulecut.profiler.sensors.remedies import Access, remedies, remedy

ACCESSES: tuple[Access, ...] = ("powercap", "perf")
STAND_INS = (
    "addgroup", "apk", "apt-get", "chgrp", "dnf", "groupadd", "pacman", "rc-update", "setcap", "udevadm",
    "usermod", "zypper",
)  # fmt: skip


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of programs that write down how they were called; sudo and doas run what they are given."""
    folder = tmp_path / "bin"
    folder.mkdir()
    bodies = dict.fromkeys(STAND_INS, f'echo "$(basename "$0") $*" >> {tmp_path}/calls')
    bodies |= {"sudo": 'exec "$@"', "doas": 'DOAS_USER=ada exec "$@"'}
    for name, body in bodies.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    return folder


def run(command: str, programs: Path) -> list[str]:
    """Run a command with the stand-ins first in the path; how they were called."""
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "USER": "ada"}
    subprocess.run(["/bin/sh", "-euc", command], env=environment, check=True, capture_output=True)
    return (programs.parent / "calls").read_text().splitlines()


def command(access: Access, family: str) -> str:
    return next(each.command for each in remedies(access) if each.family == family)


@pytest.mark.parametrize("access", ACCESSES)
def test_every_family_has_one_line(access: Access) -> None:
    families = [each.family for each in remedies(access)]
    assert families == [
        "Debian and Ubuntu", "Fedora and RHEL", "Arch", "openSUSE", "other systems with udev", "Alpine",
        "containers",
    ]  # fmt: skip
    assert all("\n" not in each.command and each.effect for each in remedies(access))


def test_the_udev_rule_gives_a_group_the_right_to_each_zone(programs: Path, tmp_path: Path) -> None:
    rules = tmp_path / "70-energy.rules"
    line = command("powercap", "Debian and Ubuntu").replace("/etc/udev/rules.d/70-energy.rules", str(rules))
    assert run(line, programs) == [
        "groupadd -f energy",
        "usermod -aG energy ada",
        "udevadm control --reload",
        "udevadm trigger --action=add --subsystem-match=powercap",
    ]
    (rule,) = rules.read_text().splitlines()
    pairs = [re.fullmatch(r'([A-Z]+)(==|\+=)"([^"]*)"', pair) for pair in rule.split(", ")]
    assert [pair[1] for pair in pairs if pair] == ["ACTION", "SUBSYSTEM", "TEST", "RUN", "RUN"]
    tree = PowercapTree(tmp_path)
    folder = tree.add("intel-rapl:0", "package-0")
    for name in ("energy_uj", "max_energy_range_uj"):
        (folder / name).chmod(0o400)
    for pair in pairs:
        if pair and pair[1] == "RUN":
            place = str(folder)
            subprocess.run(
                [programs / Path(word).name if word == "/bin/chgrp" else word.replace("/sys%p", place)
                 for word in pair[3].split()], check=True,
            )  # fmt: skip
    assert {(folder / name).stat().st_mode & 0o777 for name in ("energy_uj", "max_energy_range_uj")} == {
        0o440
    }
    assert "chgrp energy" in (tmp_path / "calls").read_text()


def test_the_start_script_of_alpine_gives_a_group_the_right_to_each_zone(
    programs: Path, tmp_path: Path
) -> None:
    local = tmp_path / "local.d"
    local.mkdir()
    tree = PowercapTree(tmp_path)
    folder = tree.add("intel-rapl:0", "package-0")
    (folder / "energy_uj").chmod(0o400)
    line = command("powercap", "Alpine").replace("/etc/local.d", str(local))
    calls = run(line.replace("/sys/class/powercap", str(tree.root)), programs)
    assert calls[:3] == ["addgroup -S energy", "addgroup ada energy", "rc-update add local default"]
    assert calls[3] == f"chgrp energy {tree.root}/intel-rapl:0/energy_uj"
    assert (folder / "energy_uj").stat().st_mode & 0o777 == 0o440
    assert (local / "energy.start").stat().st_mode & 0o111


@pytest.mark.parametrize(
    ("family", "installs"),
    [
        ("Debian and Ubuntu", ["apt-get install -y libcap2-bin"]),
        ("Fedora and RHEL", ["dnf install -y libcap"]),
        ("Arch", ["pacman -S --needed --noconfirm libcap"]),
        ("openSUSE", ["zypper --non-interactive install libcap-progs"]),
        ("Alpine", ["apk add libcap"]),
        ("other systems with udev", []),
    ],
)
def test_the_capability_goes_to_the_interpreter_itself(
    programs: Path, family: str, installs: list[str]
) -> None:
    real = programs / "python3.11"
    real.write_text("")
    real.chmod(0o755)
    (programs / "python3").symlink_to(real)
    assert run(command("perf", family), programs) == [*installs, f"setcap cap_perfmon=ep {real}"]


@pytest.mark.parametrize(
    ("os_release", "family"),
    [
        ("ID=debian", "Debian and Ubuntu"),
        ('NAME="Linux Mint"\nID=linuxmint\nID_LIKE="ubuntu debian"', "Debian and Ubuntu"),
        ('ID="rhel"\nID_LIKE="fedora"', "Fedora and RHEL"),
        ('ID="almalinux"\nID_LIKE="rhel centos fedora"', "Fedora and RHEL"),
        ("ID=manjaro\nID_LIKE=arch", "Arch"),
        ('ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"', "openSUSE"),
        ("ID=alpine", "Alpine"),
        ("ID=nixos", "other systems with udev"),
        ("", "other systems with udev"),
    ],
)
def test_the_machine_is_told_by_its_os_release(tmp_path: Path, os_release: str, family: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text(os_release)
    assert remedy("powercap", tmp_path).family == family


def test_inside_a_container_the_host_is_what_must_change(tmp_path: Path) -> None:
    (tmp_path / ".dockerenv").touch()
    assert "--powercap-root /powercap" in remedy("powercap", tmp_path).command
