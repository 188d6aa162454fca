"""Commands that are measured: exit codes, signals, and who may not be run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from joulecut.profiler.acquire import Recorder
from joulecut.profiler.aligning import find_ticks
from joulecut.profiler.command import CommandNotFound, CommandNotRun, record_command, run_command
from joulecut.profiler.evaluate import evaluate
from joulecut.profiler.simulate import Load, SimulatedSensor, World, energy_counter


def recorder() -> Recorder:
    """Of a simulated sensor: no time passes in it while a real command runs."""
    world = World(Load("cpu", idle_w=30.0))
    made = Recorder(SimulatedSensor(world, [energy_counter("package:0", "cpu", tick_s=0.001)]), world)
    find_ticks(made)
    return made


@pytest.mark.parametrize(
    ("script", "code"), [("", 0), ("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_exit_codes_are_those_of_shells(script: str, code: int) -> None:
    assert run_command([sys.executable, "-c", script]) == code


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(CommandNotFound, match="cannot run nonesuch: No such file") as caught:
        run_command(["nonesuch"])
    assert caught.value.exit_code == 127


def test_a_command_that_cannot_be_executed(tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_text("no program")
    with pytest.raises(CommandNotRun, match="Permission denied") as caught:
        run_command([str(file)])
    assert caught.value.exit_code == 126


def test_handlers_are_as_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    run_command([sys.executable, "-c", ""])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_the_command(number: signal.Signals, tmp_path: Path) -> None:
    """The command says that it lives, waits, and exits with 5 on the signal."""
    ready = tmp_path / "ready"
    inner = (
        "import pathlib, signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(5))\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        "time.sleep(60)\n"
    )
    outer = (
        "import sys; from joulecut.profiler.command import run_command\n"
        f"sys.exit(run_command([sys.executable, '-c', {inner!r}]))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", outer], start_new_session=True)
    for _ in range(600):
        if ready.exists():
            break
        time.sleep(0.05)
    os.kill(process.pid, number)
    assert process.wait(timeout=60) == 5


def test_runs_are_counted_until_one_fails(tmp_path: Path) -> None:
    script = "import pathlib, sys; p = pathlib.Path(sys.argv[1]); p.write_text(p.read_text() + 'x'); "
    script += "sys.exit(len(p.read_text()) == 3)"
    log = tmp_path / "log"
    log.write_text("")
    trace = record_command(recorder(), [sys.executable, "-c", script, str(log)], "it", repeat=5)
    assert trace.exit_code == 1
    assert [mark.kind for mark in trace.marks] == ["begin", *["iteration"] * 3, "end"]


def test_what_was_run_is_measured_with_its_idle_time() -> None:
    trace = record_command(recorder(), [sys.executable, "-c", ""], "python -c ''", idle_s=0.5)
    measured = evaluate(trace)
    assert measured.label == "python -c ''"
    assert measured.exit_code == 0
    assert [mark.kind for mark in trace.marks if "idle" in mark.kind] == ["idle_begin", "idle_end"] * 2
