"""What all tests share; they come from tests/ and src/, never again through the links at the root."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""Before torch is imported. Measured on two busy cores for the tests that need torch: 129 s with one thread,
167 s with two that sleep while idle, over 300 s with two that spin, which is torch's default."""
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
"""As ``joulecut.benchmarks.session`` sets it; some tests import onnxruntime first."""

collect_ignore = ["profiler", "pruning", "benchmarks", "hw_models"]


@pytest.fixture
def modules_of() -> Callable[[list[str]], set[str]]:
    """The modules that a joulecut command line imports in a process of its own.

    What a command imports decides how fast it answers, and no busy machine changes it; the seconds are for
    ``python -m perf.startup`` to say.
    """

    def imported(argv: list[str]) -> set[str]:
        command = [sys.executable, "-X", "importtime", "-m", "joulecut", *argv]
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stderr
        return {line.rpartition("|")[2].strip() for line in shown.splitlines() if "import time:" in line}

    return imported


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in this process: exit code, stdout, stderr."""
    from joulecut.cli.main import main

    def run(*argv: object) -> tuple[int, str, str]:
        code = main([str(part) for part in argv])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run
