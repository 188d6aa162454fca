"""`joulecut measure` on the stand-in for NVIDIA's library, in a process of its own and in real time.

The power is constant, so the true joules are watts times the seconds that the measurement itself states.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Build = Callable[..., Path]
Measure = Callable[..., dict[str, Any]]
STUCK = "at 0.5 stuck 1\n"


@pytest.fixture
def measure(nvml_library: Build, tmp_path: Path) -> Measure:
    """The measurement of a second's sleep, as JSON."""

    def run(schedule: str, *arguments: str, **environment: str) -> dict[str, Any]:
        path = tmp_path / "schedule.txt"
        path.write_text(schedule)
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("CUDA_")}
        mine = {"NVML_STUB_SCHEDULE": str(path), "LD_LIBRARY_PATH": str(nvml_library().parent)}
        command = [sys.executable, "-m", "joulecut", "measure", "--sensor", "nvml", "--idle", "0", "--json"]
        done = subprocess.run(
            [*command, *arguments, "--", "sleep", "1"],
            env=inherited | mine | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        measured: dict[str, Any] = json.loads(done.stdout)
        return measured

    return run


def test_two_gpus_add_up_and_the_truth_is_in_the_interval(measure: Measure) -> None:
    result = measure("gpu\nphase 0.03\nwatts 100\ngpu\nphase 0.07\nwatts 250\n")
    assert [domain["name"] for domain in result["domains"]] == ["gpu:0", "gpu:1"]
    assert result["total"]["lo"] <= 350.0 * result["duration_s"] <= result["total"]["hi"]
    assert result["total"]["origin"] == "measured"
    assert result["quality"] == "good"


def test_only_what_cuda_sees_is_measured(measure: Measure) -> None:
    result = measure("gpu\nwatts 100\ngpu\nwatts 250\nuuid GPU-beef\n", CUDA_VISIBLE_DEVICES="GPU-beef")
    assert [domain["name"] for domain in result["domains"]] == ["gpu:1"]
    assert result["total"]["lo"] <= 250.0 * result["duration_s"] <= result["total"]["hi"]


def test_a_stuck_counter_is_no_figure_and_never_a_zero(measure: Measure) -> None:
    result = measure(f"gpu\nwatts 100\n{STUCK}")
    assert result["total"] is None
    assert result["quality"] == "invalid"
    assert "did not change" in "; ".join(result["reasons"])


def test_a_replayed_recording_gives_the_same_bytes(
    measure: Measure, tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    record, saved = tmp_path / "trace.json", tmp_path / "measured.json"
    measure("gpu\nwatts 100\nprocess 4000001\n", "--record", str(record), "-o", str(saved))
    again = tmp_path / "again.json"
    code, _, said = cli("replay", record, "-o", again)
    assert code == 0, said
    assert again.read_bytes() == saved.read_bytes()
