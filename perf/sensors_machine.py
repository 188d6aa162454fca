"""Runs one tool on one case: in a process of its own, on a stand-in for the sensor that it reads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perf.sensors_cases import Case

ROOT = Path(__file__).parents[1]
STUBS = ROOT / "tests" / "stubs"
WORKER = Path(__file__).with_name("sensors_worker.py")
sys.path.insert(0, str(STUBS))

from powercap_tree import PowercapTree  # noqa: E402

LIMIT_S = 900.0
MOUNT = """
set -e
mount -t tmpfs tmpfs /sys/class
ln -s "$1" /sys/class/powercap
shift
while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done
shift
exec "$@"
"""
"""A mount namespace in which /sys/class/powercap is the tree, and CPUs lie on stated sockets."""


class Machine:
    """Where tools run.

    Args:
        folder: for what is built.
        peers: the Python that has the peers.
    """

    def __init__(self, folder: Path, peers: Path) -> None:
        self.folder = folder
        self.peers = peers
        self.library = folder / "nvml" / "libnvidia-ml.so.1"
        self.programs = folder / "bin"

    def prepare(self) -> None:
        """Compile the NVML stand-in, and write a program ``nvidia-smi`` that does nothing."""
        self.library.parent.mkdir()
        flags = ["-shared", "-fPIC", "-O2", "-pthread", "-Wl,-soname,libnvidia-ml.so.1"]
        source = STUBS / "nvml_stub.c"
        subprocess.run([compiler(), *flags, "-o", self.library, source, "-lm"], check=True)
        self.programs.mkdir()
        program = self.programs / "nvidia-smi"
        program.write_text("#!/bin/sh\nexit 0\n")
        program.chmod(0o755)

    def run(self, case: Case, tool: str, windows: int, costs: int = 0) -> dict[str, Any]:
        """What a tool says: ``rows`` of windows, or ``refused`` with its reason."""
        job = {
            "tool": tool,
            "on": case.on,
            "steps": [list(step) for step in case.steps],
            "calls": case.calls,
            "windows": windows,
            "costs": costs,
            "repeat_s": case.repeat_s if tool == "joulecut" else 0.0,
            "watts": case.watts,
            "library": str(self.library),
        }
        return self._on_gpu(case, job) if case.on == "gpu" else self._on_cpu(case, job)

    def _on_gpu(self, case: Case, job: dict[str, Any]) -> dict[str, Any]:
        with tempfile.NamedTemporaryFile("w", dir=self.folder, suffix=".txt") as schedule:
            schedule.write("\n".join(case.schedule) + "\n")
            schedule.flush()
            path = os.environ["PATH"]
            environment = os.environ | {
                "NVML_STUB_SCHEDULE": schedule.name,
                "LD_LIBRARY_PATH": str(self.library.parent),
                "PATH": f"{self.programs}:{path}" if case.nvidia_smi else path,
            }
            return self._run(self._python(job), job, environment)

    def _on_cpu(self, case: Case, job: dict[str, Any]) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            tree = PowercapTree(Path(folder))
            for identity, name, more in case.tree:
                tree.add(identity, name, **more)
            job["root"] = str(tree.root)
            command = self._python(job)
            if job["tool"] != "joulecut":
                command = [*self._mounted(case, tree), *command]
            with tree.live_process():
                return self._run(command, job, dict(os.environ))

    def _mounted(self, case: Case, tree: PowercapTree) -> list[str]:
        binds = []
        for cpu, socket in enumerate(case.sockets):
            file = self.folder / f"socket-{socket}"
            file.write_text(f"{socket}\n")
            binds += [str(file), f"/sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id"]
        return ["unshare", "-m", "sh", "-c", MOUNT, "sh", str(tree.root), *binds, "--"]

    def _python(self, job: dict[str, Any]) -> list[str]:
        return [sys.executable if job["tool"] == "joulecut" else str(self.peers), str(WORKER)]

    def _run(self, command: list[str], job: dict[str, Any], environment: dict[str, str]) -> dict[str, Any]:
        environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "0"}
        done = subprocess.run(
            [*command, json.dumps(job)],
            env=environment, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if not lines:
            return {"refused": (done.stderr.strip().splitlines() or ["no answer"])[-1][:200]}
        answer: dict[str, Any] = json.loads(lines[-1])
        return answer


def compiler() -> str:
    """A C compiler, or a sentence that says that there is none."""
    found = shutil.which("gcc") or shutil.which("cc")
    if found is None:
        raise SystemExit("perf.sensors needs a C compiler (gcc or cc) for its stand-in for NVIDIA's library.")
    return found


def why_no_namespace() -> str:
    """Why peers cannot be given a powercap tree here; "" where they can."""
    if shutil.which("unshare") is None:
        return "no program unshare"
    tried = subprocess.run(
        ["unshare", "-m", "sh", "-c", "mount -t tmpfs tmpfs /sys/class"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return tried.stderr.strip() if tried.returncode else ""


@contextmanager
def machine(peers: Path) -> Iterator[Machine]:
    """A machine with a folder of its own, which goes away."""
    with tempfile.TemporaryDirectory(prefix="joulecut-sensors-") as folder:
        found = Machine(Path(folder), peers)
        found.prepare()
        yield found
