"""``joulecut measure`` and ``replay`` as programs, over a powercap tree whose true joules are known."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from joulecut.schemas import schema_path

sys.path.append(str(Path(__file__).parents[1] / "stubs"))
from powercap_tree import PowercapTree

PYTHON = sys.executable


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """20 W of package and 3 W of DRAM, by a process of its own."""
    made = PowercapTree(tmp_path_factory.mktemp("powercap"))
    made.add("intel-rapl:0", "package-0", watts=20.0)
    made.add("intel-rapl:0:0", "dram", watts=3.0)
    with made.live_process():
        yield made.root


def joulecut(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PYTHON, "-m", "joulecut", *words],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def measure(tree: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return joulecut("measure", "--powercap-root", str(tree), "--idle", "0.3", *words, stdin=stdin)


def test_figures_go_to_stderr_and_the_command_keeps_its_streams(tree: Path) -> None:
    done = measure(tree, "--", PYTHON, "-c", "print(input()[::-1]); raise SystemExit(3)", stdin="drawer\n")
    assert (done.returncode, done.stdout) == (3, "reward\n")
    assert "Energy" in done.stderr
    assert "package:0" in done.stderr


def test_json_is_one_line_after_the_commands_own(tree: Path) -> None:
    done = measure(tree, "--json", "--", PYTHON, "-c", "import time; print('mine'); time.sleep(0.5)")
    first, line = done.stdout.splitlines()
    measured: dict[str, Any] = json.loads(line)
    assert (first, done.returncode) == ("mine", 0)
    assert (
        list(Draft202012Validator(json.loads(schema_path("measurement").read_text())).iter_errors(measured))
        == []
    )
    assert measured["total"]["value"] == pytest.approx(23.0 * measured["duration_s"], rel=0.15)
    assert measured["exit_code"] == 0
    assert {domain["name"] for domain in measured["domains"]} == {"package:0", "dram:0"}


def test_a_recorded_run_replays_byte_for_byte(tree: Path, tmp_path: Path) -> None:
    record, first, again = (tmp_path / name for name in ("run.json", "first.json", "again.json"))
    words = ("--json", "--record", str(record), "-o", str(first), "--", PYTHON, "-c", "")
    measured, replayed = measure(tree, *words), joulecut("replay", str(record), "--json", "-o", str(again))
    assert (measured.returncode, replayed.returncode) == (0, 0)
    assert measured.stdout == replayed.stdout
    assert first.read_bytes() == again.read_bytes()
    shown = joulecut("replay", str(record))
    assert "Energy" in shown.stderr


def test_a_signal_is_128_and_its_number(tree: Path) -> None:
    done = measure(tree, "--", PYTHON, "-c", "import os; os.kill(os.getpid(), 15)")
    assert done.returncode == 143


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--", "nonesuch"], 127, "cannot run nonesuch"),
        (["--", str(Path(__file__).parent)], 126, "cannot run"),
        ([], 125, "there is no command to measure"),
        (["--repeat", "none", "--", "true"], 125, "is not a whole number"),
        (["--mistake", "--", "true"], 125, "unrecognized arguments: --mistake"),
        (["--sensor", "nonesuch", "--", "true"], 125, "no sensor is called 'nonesuch'"),
        (["--region", "here", "--", "true"], 125, "--region needs --country"),
        (["--record", "nowhere/run.json", "--", "true"], 125, "there is no folder nowhere"),
    ],
)
def test_failures_of_its_own_are_125_to_127(tree: Path, words: list[str], code: int, says: str) -> None:
    done = measure(tree, *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_sensor_is_said_before_the_command_runs(tmp_path: Path) -> None:
    done = measure(tmp_path, "--sensor", "rapl", "--", PYTHON, "-c", "print('ran')")
    assert (done.returncode, done.stdout) == (125, "")
    assert "no RAPL package" in done.stderr


def test_nothing_is_saved_where_the_command_could_not_run(tree: Path, tmp_path: Path) -> None:
    measure(tree, "--record", str(tmp_path / "run.json"), "-o", str(tmp_path / "m.json"), "--", "nonesuch")
    assert list(tmp_path.iterdir()) == []


def test_repeated_runs_have_a_cost_each(tree: Path) -> None:
    done = measure(tree, "--json", "--repeat", "3", "--", PYTHON, "-c", "")
    measured: dict[str, Any] = json.loads(done.stdout)
    assert measured["iterations"] == 3
    assert measured["per_iteration"]["value"] == pytest.approx(measured["total"]["value"] / 3)
