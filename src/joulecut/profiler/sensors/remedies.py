"""Commands that let an ordinary user read the energy counters of a processor, for good.

Since Linux 5.10 the counters are for root alone, because power tells secrets (CVE-2020-8694, "PLATYPUS":
kernel commit 949dd0104c49). A ``chmod`` is lost at the next boot; these last.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from joulecut.profiler.sensors.cpu_state import container
from joulecut.profiler.sensors.files import read_text

__all__ = ["Access", "Remedy", "remedies", "remedy"]

Access = Literal["powercap", "perf"]


@dataclass(frozen=True, slots=True)
class Remedy:
    """One way to get access.

    Attributes:
        family: where it applies, ``Debian and Ubuntu``.
        command: one line to copy.
        effect: what it changes, for whom, and how long it lasts.
    """

    family: str
    command: str
    effect: str


_UDEV: Final = (
    'sudo groupadd -f energy && sudo usermod -aG energy "$USER" && echo \'ACTION=="add", '
    'SUBSYSTEM=="powercap", TEST=="energy_uj", '
    'RUN+="/bin/chgrp energy /sys%p/energy_uj /sys%p/max_energy_range_uj", '
    'RUN+="/bin/chmod g+r /sys%p/energy_uj /sys%p/max_energy_range_uj"\' '
    "| sudo tee /etc/udev/rules.d/70-energy.rules && sudo udevadm control --reload "
    "&& sudo udevadm trigger --action=add --subsystem-match=powercap"
)
_UDEV_EFFECT: Final = (
    "a udev rule lets the group `energy` read the counters after every boot, and puts you in that group "
    "(log in again for that); others still may not read them"
)
_LOCAL: Final = (
    'doas sh -c \'addgroup -S energy; addgroup "$DOAS_USER" energy; cd /etc/local.d && '
    'echo "for f in /sys/class/powercap/*/energy_uj /sys/class/powercap/*/max_energy_range_uj; '
    'do chgrp energy \\$f; chmod g+r \\$f; done" > energy.start && chmod +x energy.start && '
    "rc-update add local default; sh energy.start'"
)
_LOCAL_EFFECT: Final = (
    "a start script lets the group `energy` read the counters after every boot, and puts you in that group "
    "(log in again for that); others still may not read them"
)
_MOUNT: Final = (
    "docker run --mount type=bind,src=/sys/devices/virtual/powercap,dst=/powercap,readonly IMAGE "
    "joulecut measure --powercap-root /powercap -- COMMAND"
)
_MOUNT_EFFECT: Final = (
    "the container sees the host's counters under another path, because engines hide the usual one; "
    "its user must be root or in the group that may read them on the host"
)
_SETCAP: Final = 'sudo setcap cap_perfmon=ep "$(readlink -f "$(command -v python3)")"'
_SETCAP_EFFECT: Final = (
    "every program of this Python may read the counters of the whole machine, whoever starts it, until that "
    "Python is upgraded; Linux 5.8 or newer"
)
_PERF_MOUNT: Final = "docker run --cap-add PERFMON --security-opt seccomp=unconfined IMAGE COMMAND"
_PERF_MOUNT_EFFECT: Final = (
    "the container's root may open performance events of the whole machine, without a filter of system calls"
)
_UNKNOWN: Final = "other systems with udev"
_CONTAINER: Final = "containers"
_FAMILIES: Final = (
    ("Debian and Ubuntu", ("debian", "ubuntu"), "sudo apt-get install -y libcap2-bin && "),
    ("Fedora and RHEL", ("fedora", "rhel", "centos"), "sudo dnf install -y libcap && "),
    ("Arch", ("arch",), "sudo pacman -S --needed --noconfirm libcap && "),
    ("openSUSE", ("suse", "opensuse", "sles"), "sudo zypper --non-interactive install libcap-progs && "),
    (_UNKNOWN, (), ""),
)


def remedies(access: Access) -> tuple[Remedy, ...]:
    """One remedy for each family of distributions, and for containers.

    >>> [each.family for each in remedies("powercap")][:2]
    ['Debian and Ubuntu', 'Fedora and RHEL']
    """
    if access == "powercap":
        ordinary = [Remedy(family, _UDEV, _UDEV_EFFECT) for family, _, _ in _FAMILIES]
        alpine = Remedy("Alpine", _LOCAL, _LOCAL_EFFECT)
        return (*ordinary, alpine, Remedy(_CONTAINER, _MOUNT, _MOUNT_EFFECT))
    ordinary = [Remedy(family, install + _SETCAP, _SETCAP_EFFECT) for family, _, install in _FAMILIES]
    alpine = Remedy("Alpine", f"doas apk add libcap && {_SETCAP.replace('sudo', 'doas')}", _SETCAP_EFFECT)
    return (*ordinary, alpine, Remedy(_CONTAINER, _PERF_MOUNT, _PERF_MOUNT_EFFECT))


def remedy(access: Access, machine: Path = Path("/")) -> Remedy:
    """The remedy for the machine that joulecut runs on.

    Args:
        access: what was denied.
        machine: root of the file system that holds ``etc/os-release`` and ``proc``.
    """
    wanted = _CONTAINER if container(machine) else _family(read_text(machine / "etc/os-release"))
    return next(each for each in remedies(access) if each.family == wanted)


def _family(os_release: str) -> str:
    """By ``ID`` and ``ID_LIKE`` of os-release(5)."""
    lines = re.findall(r"^(?:ID|ID_LIKE)=(.*)$", os_release, re.MULTILINE)
    words = {word.partition("-")[0] for line in lines for word in line.strip("\"'").lower().split()}
    if "alpine" in words:
        return "Alpine"
    return next((family for family, known, _ in _FAMILIES if words & set(known)), _UNKNOWN)
