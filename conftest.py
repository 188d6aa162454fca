"""What all tests share; they come from tests/ and src/, never again through the links at the root."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""Before torch is imported. Measured on two busy cores for the tests that need torch: 129 s with one thread,
167 s with two that sleep while idle, over 300 s with two that spin, which is torch's default."""
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
"""As ``joulecut.benchmarks.session`` sets it; some tests import onnxruntime first."""

collect_ignore = ["profiler", "pruning", "benchmarks", "hw_models"]


@pytest.fixture
def cpu_seconds(tmp_path: Path) -> Callable[[list[str]], float]:
    """CPU seconds of a joulecut command line in a process of its own: the least of five runs.

    CPU time and not wall time, because other work on the machine must not fail a test; and with compiled
    modules, as in an installed package, whatever the environment says about writing them.
    """
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(tmp_path)

    def once(argv: list[str]) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "joulecut", *argv], check=True, capture_output=True, env=environment
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def least(argv: list[str]) -> float:
        once(argv)
        return min(once(argv) for _ in range(5))

    return least


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in this process: exit code, stdout, stderr."""
    from joulecut.cli.main import main

    def run(*argv: object) -> tuple[int, str, str]:
        code = main([str(part) for part in argv])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run
