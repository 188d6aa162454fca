"""Which of the processes on a GPU are ours, on the machine and in a container."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from joulecut.profiler.sensors.gpu_processes import other_processes

ME = os.getpid()
STRANGERS = (4_000_001, 4_000_002)


def proc(folder: Path, namespace: str, *open_files: str) -> Path:
    """As much of /proc as is asked: the numbering, and what this process holds open."""
    (folder / "self/ns").mkdir(parents=True)
    (folder / "self/ns/pid").symlink_to(namespace)
    (folder / str(ME) / "fd").mkdir(parents=True)
    for number, path in enumerate(open_files):
        (folder / str(ME) / "fd" / str(number)).symlink_to(path)
    return folder


def test_we_and_what_we_started_are_not_others() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert other_processes([ME, child.pid]) == ()
        assert other_processes([ME, child.pid, *STRANGERS]) == STRANGERS
    finally:
        child.communicate(b"\n")


def test_on_the_machine_every_unknown_number_is_another(tmp_path: Path) -> None:
    machine = proc(tmp_path, "pid:[4026531836]", "/dev/nvidia-uvm")
    assert other_processes([ME, STRANGERS[0]], machine) == STRANGERS[:1]


@pytest.mark.parametrize(
    ("open_files", "listed", "others"),
    [
        (["/dev/nvidia-uvm", "/dev/null"], STRANGERS[:1], ()),  # our own, by the machine's number
        (["/dev/nvidia-uvm"], STRANGERS, STRANGERS),  # one of them is ours, and one is not
        (["/dev/nvidiactl", "/dev/nvidia0"], STRANGERS[:1], STRANGERS[:1]),  # we only ask NVML
    ],
)
def test_in_a_container_our_number_is_not_known(
    tmp_path: Path, open_files: list[str], listed: tuple[int, ...], others: tuple[int, ...]
) -> None:
    assert other_processes(listed, proc(tmp_path, "pid:[4026532000]", *open_files)) == others


def test_without_proc(tmp_path: Path) -> None:
    assert other_processes(STRANGERS, tmp_path) == STRANGERS
