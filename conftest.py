"""What all tests share; they come from tests/ and src/, never again through the links at the root."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("joulecut", derandomize=True)
settings.load_profile("joulecut")
"""The same cases in every run, so that a change is judged by what it changes; ``--hypothesis-seed=0`` and
other profiles look further (``--hypothesis-profile=default``)."""

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


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Compiles the stand-in for NVIDIA's library (tests/stubs/nvml_stub.c says how to drive it).

    Returns the path of ``libnvidia-ml.so.1``; ``nvml_library("ENERGY")`` lacks what an old driver lacks.
    """
    source = Path(__file__).parent / "tests/stubs/nvml_stub.c"
    compiler = shutil.which("gcc") or shutil.which("cc")
    built: dict[tuple[str, ...], Path] = {}

    def build(*without: str) -> Path:
        if compiler is None:
            pytest.skip("needs a C compiler (gcc or cc) for the NVML stub")
        if without not in built:
            library = tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1"
            flags = ["-shared", "-fPIC", "-O2", "-pthread", "-Wl,-soname,libnvidia-ml.so.1"]
            left_out = [f"-DWITHOUT_{name}" for name in without]
            subprocess.run([compiler, *flags, *left_out, "-o", library, source, "-lm"], check=True)
            built[without] = library
        return built[without]

    return build
