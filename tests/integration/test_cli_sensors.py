"""``joulecut doctor`` and ``joulecut simulate-sensors``, as a user without any rights types them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Cli
from jsonschema import Draft202012Validator
from powercap_tree import PowercapTree

from joulecut.schemas import schema_path


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The root of a machine without any sensor."""
    root = tmp_path / "machine"
    (root / "proc").mkdir(parents=True)
    (root / "proc/cpuinfo").write_text("vendor_id : GenuineIntel\nflags : fpu vme\n")
    return root


@pytest.fixture
def live(tmp_path: Path) -> Iterator[PowercapTree]:
    """A powercap tree with a writer in a process of its own."""
    tree = PowercapTree(tmp_path / "tree")
    tree.add("intel-rapl:0", "package-0", watts=20.0)
    tree.add("intel-rapl:0:0", "dram", watts=3.0)
    tree.add("intel-rapl:1", "psys", watts=40.0)
    with tree.live_process():
        yield tree


def validated(text: str, name: str) -> Any:
    plain = json.loads(text)
    Draft202012Validator(json.loads(schema_path(name).read_text())).validate(plain)
    return plain


def test_a_machine_without_sensors_exits_4_and_says_what_each_would_need(cli: Cli, machine: Path) -> None:
    code, shown, _ = cli("doctor", "--machine-root", machine, "--nvml-library", machine / "none.so", "--json")
    diagnosis = validated(shown, "diagnosis")
    assert code == 4
    assert diagnosis["usable"] == []
    assert {check["status"] for check in diagnosis["sensors"]} == {"missing"}
    assert all(
        check["reason"] and check["hint"] for check in diagnosis["sensors"] if check["sensor"] != "nvml"
    )
    assert diagnosis["machine"] == {"virtual_machine": False}


def test_a_live_tree_is_found_with_its_watts(cli: Cli, machine: Path, live: PowercapTree) -> None:
    code, shown, _ = cli(
        "doctor", "--machine-root", machine, "--nvml-library", machine / "none.so",
        "--powercap-root", live.root, "--json",
    )  # fmt: skip
    diagnosis = validated(shown, "diagnosis")
    assert (code, diagnosis["usable"]) == (0, ["powercap"])
    (check,) = [check for check in diagnosis["sensors"] if check["sensor"] == "powercap"]
    seen = {domain["name"]: domain for domain in check["domains"]}
    assert [name for name, domain in seen.items() if domain["counted"]] == ["package:0", "dram:0"]
    assert 10.0 < seen["package:0"]["power_w"] < 40.0  # a busy machine bends it; the unit tests are exact


def test_a_counter_that_stands_still_is_not_usable(cli: Cli, machine: Path, tmp_path: Path) -> None:
    tree = PowercapTree(tmp_path / "dead")
    tree.add("intel-rapl:0", "package-0", watts=20.0)
    code, shown, _ = cli(
        "doctor",
        "--machine-root",
        machine,
        "--nvml-library",
        machine / "none.so",
        "--powercap-root",
        tree.root,
        "--seconds",
        "0.2",
    )
    assert code == 4
    assert "failing" in shown
    assert "package:0 stood still for" in " ".join(shown.split())


def test_what_is_denied_comes_with_commands_on_lines_of_their_own(
    cli: Cli, machine: Path, live: PowercapTree
) -> None:
    for counter in live.counters.values():
        counter.path.chmod(0)
        if os.access(counter.path, os.R_OK):
            pytest.skip("root may read everything")
    code, shown, _ = cli(
        "doctor",
        "--machine-root",
        machine,
        "--nvml-library",
        machine / "none.so",
        "--powercap-root",
        live.root,
    )
    assert code == 4
    assert "denied" in shown
    assert any(line.startswith("sudo groupadd") and "70-energy.rules" in line for line in shown.splitlines())
    for family in ("Debian and Ubuntu", "Fedora and RHEL", "Arch", "openSUSE", "Alpine", "containers"):
        assert family in shown


def test_simulated_sensors_end_with_the_truth_and_leave_nothing(cli: Cli, tmp_path: Path) -> None:
    code, shown, said = cli(
        "simulate-sensors", tmp_path / "sim", "--power", "30W", "--seconds", "0.2", "--json"
    )
    run = validated(shown, "simulated_run")
    assert code == 0
    assert "33 J count for each second" in said
    energies = {zone["name"]: zone["energy"]["value"] for zone in run["zones"]}
    assert energies["package-0"] == pytest.approx(30.0 * run["duration_s"])
    assert energies["dram"] == pytest.approx(3.0 * run["duration_s"])
    assert run["duration_s"] >= 0.2
    assert not list((tmp_path / "sim").iterdir())


def test_simulated_sensors_are_seen_by_the_doctor_and_end_at_ctrl_c(
    cli: Cli, machine: Path, tmp_path: Path, wait_for: Callable[[Callable[[], bool]], None]
) -> None:
    root = tmp_path / "sim"
    command = [sys.executable, "-m", "joulecut", "simulate-sensors", str(root), "--power", "30W"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: (root / "intel-rapl:1/energy_uj").exists())
        code, shown, _ = cli(
            "doctor",
            "--machine-root",
            machine,
            "--nvml-library",
            machine / "none.so",
            "--powercap-root",
            root,
            "--json",
        )
        process.send_signal(signal.SIGINT)
        truth, _ = process.communicate(timeout=30)
    assert (code, json.loads(shown)["usable"]) == (0, ["powercap"])
    assert process.returncode == 0
    assert "package-0" in truth
    assert not list(root.iterdir())


@pytest.fixture
def wait_for() -> Callable[[Callable[[], bool]], None]:
    """Wait until something has happened, for half a minute at most."""

    def wait(happened: Callable[[], bool]) -> None:
        for _ in range(3000):
            if happened():
                return
            time.sleep(0.01)
        raise AssertionError("it did not happen")

    return wait


def test_measuring_on_simulated_sensors_finds_their_joules(
    tmp_path: Path, wait_for: Callable[[Callable[[], bool]], None]
) -> None:
    root = tmp_path / "sim"
    joulecut = [sys.executable, "-m", "joulecut"]
    with subprocess.Popen(
        [*joulecut, "simulate-sensors", str(root), "-q"], stdout=subprocess.DEVNULL
    ) as simulated:
        wait_for(lambda: (root / "intel-rapl:1/energy_uj").exists())
        command = [
            *joulecut,
            "measure",
            "--powercap-root",
            str(root),
            "--idle",
            "0",
            "--sensor",
            "rapl",
            "--json",
        ]
        measured = subprocess.run(
            [*command, "--", "sleep", "0.5"], capture_output=True, text=True, check=True
        )
        simulated.send_signal(signal.SIGINT)
    found = json.loads(measured.stdout.splitlines()[-1])
    assert found["total"]["lo"] <= 23.0 * found["duration_s"] <= found["total"]["hi"]
    assert {d["name"]: d["counted"] for d in found["domains"]} == {
        "package:0": True, "core:0": False, "dram:0": True, "psys": False,
    }  # fmt: skip


def test_a_folder_that_holds_something_is_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    code, shown, said = cli("simulate-sensors", tmp_path)
    assert (code, shown) == (2, "")
    assert "is not empty" in said
