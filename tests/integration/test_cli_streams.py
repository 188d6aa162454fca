"""The command line among other programs: full disks, closed streams, old terminals, Ctrl-C."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import DEVICE, STRANGERS

JOULECUT = (sys.executable, "-m", "joulecut")
PROFILE = ("profile", f"{STRANGERS}:tiny", "--input", "1x1x4x4", "--device", DEVICE)
PRUNE = (
    "prune",
    f"{STRANGERS}:tiny",
    "--data",
    f"{STRANGERS}:samples",
    "--device",
    DEVICE,
    "--budget",
    "60%",
)
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}


def shell(line: str, **environment: str) -> tuple[int, str, str]:
    """A line of shell in which ``joulecut`` is the command."""
    call = f"joulecut() {{ '{sys.executable}' -m joulecut \"$@\"; }}; {line}"
    done = subprocess.run(["bash", "-c", call], env=ONE_THREAD | environment, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("line", ["joulecut devices", "joulecut devices --json"])
def test_a_full_disk_behind_stdout(line: str) -> None:
    code, _, said = shell(f"{line} >/dev/full")
    assert (code, said) == (2, "joulecut: cannot write the output: No space left on device.\n")


def test_closed_streams_swallow_what_they_get() -> None:
    assert shell("joulecut devices >&-") == (0, "", "")
    assert shell("joulecut devices nobody 2>&- >&- <&-") == (2, "", "")


def test_a_terminal_of_ascii_gets_ascii() -> None:
    old = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    code, printed, _ = shell("joulecut devices raspberry-pi-4b/tflite/float32", **old)
    assert code == 0
    assert printed.isascii()
    assert " uJ/layer" in printed
    assert "x// 1.25" in printed
    assert "\\u" not in printed
    listed = shell("joulecut devices raspberry-pi-4b/tflite/float32 --json", **old)[1]
    assert json.loads(listed)["name"] == "raspberry-pi-4b/tflite/float32"


def test_a_file_that_grows_too_large_is_not_left_behind(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = subprocess.run(
        [*JOULECUT, *PROFILE, "--html", page],
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)),
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"joulecut: cannot write {page}: File too large. "
        "Choose a folder that exists, can be written and is not full.\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stage", ["pruning", "benchmarking in onnxruntime"])
def test_ctrl_c_at_any_stage_leaves_the_state_of_the_search_alone(tmp_path: Path, stage: str) -> None:
    made, scratch = tmp_path / "made", tmp_path / "scratch"
    made.mkdir()
    scratch.mkdir()
    running = subprocess.Popen(
        [*JOULECUT, *PRUNE, "-v", "-o", str(made / "small")],
        env=ONE_THREAD | {"TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stderr is not None
    heard = next((line for line in running.stderr if line.startswith(stage)), "")
    running.send_signal(signal.SIGINT)
    printed, said = running.communicate(timeout=120)
    assert heard
    assert (running.returncode, printed) == (130, ""), said
    assert said.endswith("joulecut: interrupted; nothing half-written.\n")
    assert "the steps taken are kept: go on with --resume." in said
    assert [path.relative_to(made).as_posix() for path in made.rglob("*")] == [
        "small",
        "small/checkpoint.safetensors",
    ]
    assert list(scratch.glob("joulecut*")) == []
