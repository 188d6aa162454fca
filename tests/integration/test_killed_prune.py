"""SIGKILL amid ``joulecut prune``: the resumed run gives the same recipe and weights, byte for byte."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from command_line import DEVICE

NETWORK = "joulecut.benchmarks.networks.digits_cnn:trained_digits_cnn"
CHECKPOINT = "checkpoint.safetensors"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def prune(out: Path, *more: str) -> list[str]:
    options = ["--data", "digits", "--budget", "80%", "--device", DEVICE, "-q", "-o", str(out)]
    return [sys.executable, "-m", "joulecut", "prune", NETWORK, *options, *more]


def killed_after(out: Path, saves: int) -> None:
    """Start a run and kill it when its state has been written so many times."""
    child = subprocess.Popen(prune(out), env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    checkpoint, seen = out / CHECKPOINT, set[int]()
    try:
        while len(seen) < saves and child.poll() is None:
            if checkpoint.exists():
                seen.add(checkpoint.stat().st_ino)
            time.sleep(0.002)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


def test_a_killed_run_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    subprocess.run(prune(whole), env=ENVIRONMENT, check=False, stdout=subprocess.DEVNULL)
    out = tmp_path / "killed"
    killed_after(out, saves=3)
    assert [path.name for path in out.iterdir()] == [CHECKPOINT]
    refused = subprocess.run(prune(out), env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "holds a run that was stopped" in refused.stderr
    again = subprocess.run(prune(out, "--resume"), env=ENVIRONMENT, capture_output=True, check=False)
    assert again.returncode in (0, 1)
    assert not (out / CHECKPOINT).exists()
    for name in ("recipe.json", "weights.safetensors"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
