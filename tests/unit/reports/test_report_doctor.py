"""What the doctor prints: every command whole on one line, every doubt said."""

import io

from rich.console import Console

from joulecut.estimate import exact
from joulecut.profiler.doctor import Diagnosis, DomainCheck, SensorCheck
from joulecut.profiler.sensors.remedies import remedies
from joulecut.profiler.simulate.tree import SimulatedRun, TrueEnergy
from joulecut.reports.doctor_console import print_diagnosis, print_simulated

GPU = DomainCheck("gpu:0", "counter", True, "NVML total energy counter", "", 0.1, 71.3)
PSYS = DomainCheck("psys", "counter", False, "powercap intel-rapl:1", "contains the packages", None, None)
STUCK = DomainCheck("package:0", "counter", True, "powercap", "", None, None, "stood still for 2 s")
DIAGNOSIS = Diagnosis(
    usable=("nvml",),
    sensors=(
        SensorCheck(
            "nvml", "usable", domains=(GPU,), concerns=("gpu:0 was slowed down (software power cap)",)
        ),
        SensorCheck(
            "perf", "denied", "the event may not be opened.", "a hint that the commands replace.",
            remedies=remedies("perf"),
        ),
        SensorCheck("powercap", "failing", "package:0 stood still for 2 s.", domains=(STUCK, PSYS)),
        SensorCheck("pyrapl", "missing", "needs the package pyRAPL.", "Run: pip install x\x1b[2J"),
    ),
    machine={"virtual_machine": True, "container": "docker", "governor": "performance"},
)  # fmt: skip


def printed(diagnosis: Diagnosis = DIAGNOSIS, width: int = 80) -> str:
    stream = io.StringIO()
    print_diagnosis(diagnosis, Console(file=stream, width=width, highlight=False))
    return stream.getvalue()


def test_each_sensor_has_its_status_and_reason() -> None:
    lines = printed(width=160).splitlines()
    starts = {words[0]: words[1] for words in map(str.split, lines[3:7])}
    assert starts == {"nvml": "usable", "perf": "denied", "powercap": "failing", "pyrapl": "missing"}
    assert lines[1] == "Usable: nvml."
    assert "The commands below grant access." in lines[4]
    assert "a hint that the commands replace" not in printed(width=160)


def test_every_command_stands_whole_on_a_line_of_its_own() -> None:
    lines = printed(width=40).splitlines()
    for remedy in remedies("perf"):
        assert remedy.command in lines
        assert any(remedy.family in line for line in printed(width=200).splitlines())


def test_ticks_watts_and_doubts_are_shown() -> None:
    text = printed(width=160)
    (gpu,) = [line for line in text.splitlines() if line.startswith("gpu:0")]
    assert all(part in gpu for part in ("100 ms", "71.3 W", "yes"))
    (psys,) = [line for line in text.splitlines() if line.startswith("psys")]
    assert "contains the packages" in psys
    assert " no " in psys
    assert "Note: gpu:0 was slowed down (software power cap)." in text
    assert "stood still for 2 s" in text


def test_the_machine_is_described_and_nothing_reaches_the_terminal_raw() -> None:
    text = printed(width=160)
    assert "\x1b" not in text
    for words in ("Virtual machine", "its host decides", "docker", "performance"):
        assert words in text


def test_without_any_sensor_it_says_so() -> None:
    none = Diagnosis((), DIAGNOSIS.sensors[3:], {"virtual_machine": False})
    assert "No sensor can be used." in printed(none)
    assert "What they read" not in printed(none)


def test_a_simulated_run_shows_its_true_joules() -> None:
    zone = TrueEnergy("intel-rapl:0", "package-0", 20.0, exact(40.0, "J", "assumed", "stated watts x time"))
    stream = io.StringIO()
    print_simulated(SimulatedRun("counters", 2.0, (zone,)), Console(file=stream, width=80, highlight=False))
    (line,) = [line for line in stream.getvalue().splitlines() if line.startswith("intel-rapl:0")]
    assert line.split() == ["intel-rapl:0", "package-0", "20.0", "W", "40.0", "J"]
