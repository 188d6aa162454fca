"""One tool measures windows whose true joules are known, in a process of its own; driven by perf.sensors.

Takes a job as JSON and prints what the tool said, window by window. It imports nothing of joulecut unless
joulecut is the tool, so that it runs in any environment.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

Say = tuple[float | None, str]
"""Joules, or None with the tool's reason."""
Measure = Callable[[Callable[[], None]], Say]


def zeus(job: dict[str, Any]) -> Measure:
    from zeus.monitor import ZeusMonitor

    on_gpu = job["on"] == "gpu"
    approx = job["tool"].endswith("approx")
    monitor = (
        ZeusMonitor(gpu_indices=[0], cpu_indices=[], approx_instant_energy=approx)
        if on_gpu
        else ZeusMonitor(gpu_indices=[])
    )

    def measure(work: Callable[[], None]) -> Say:
        monitor.begin_window("window", sync_execution=False)
        work()
        found = monitor.end_window("window", sync_execution=False)
        if on_gpu:
            return sum(found.gpu_energy.values()), ""
        parts = [*(found.cpu_energy or {}).values(), *(found.dram_energy or {}).values()]
        if not parts:
            return None, "lists no CPU"
        return sum(parts), f"{len(found.cpu_energy)} CPUs" if len(found.cpu_energy) > 1 else ""

    return measure


def pyrapl(job: dict[str, Any]) -> Measure:
    import pyRAPL

    if job["on"] == "gpu":
        raise NotImplementedError("reads no GPU")
    pyRAPL.setup()

    def measure(work: Callable[[], None]) -> Say:
        window = pyRAPL.Measurement("window")
        window.begin()
        work()
        window.end()
        parts = [*(window.result.pkg or []), *(window.result.dram or [])]
        if window.result.pkg is None:
            return None, "None"
        return sum(part for part in parts if part is not None) / 1e6, ""

    return measure


def pyjoules(job: dict[str, Any]) -> Measure:
    from pyJoules.device import DeviceFactory
    from pyJoules.energy_meter import EnergyMeter

    unit = 1e-3 if job["on"] == "gpu" else 1e-6
    wanted = ("nvidia",) if job["on"] == "gpu" else ("package", "dram")
    meter = EnergyMeter(DeviceFactory.create_devices())

    def measure(work: Callable[[], None]) -> Say:
        meter.start()
        work()
        meter.stop()
        (sample,) = meter.get_trace()
        parts = [joules for name, joules in sample.energy.items() if name.startswith(wanted)]
        return (sum(parts) * unit, "") if parts else (None, "finds nothing to read")

    return measure


def codecarbon(job: dict[str, Any]) -> Measure:
    from codecarbon import OfflineEmissionsTracker

    tracker = OfflineEmissionsTracker(
        country_iso_code="FRA", save_to_file=False, log_level="critical", allow_multiple_runs=True
    )

    def measure(work: Callable[[], None]) -> Say:
        tracker.start_task("window")
        work()
        data = tracker.stop_task("window")
        tracker._tasks.clear()
        return (data.gpu_energy if job["on"] == "gpu" else data.cpu_energy) * 3.6e6, ""

    return measure


TOOLS: dict[str, Callable[[dict[str, Any]], Measure]] = {
    "zeus": zeus,
    "zeus approx": zeus,
    "pyrapl": pyrapl,
    "pyjoules": pyjoules,
    "codecarbon": codecarbon,
}


class Load:
    """Work whose true joules are known.

    On a CPU tree of constant watts they follow from the time; the NVML stand-in tells them itself.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.calls: list[tuple[float, float]] = []
        self.stub: Any = None
        if job["on"] == "gpu":
            self.stub = ctypes.CDLL(job["library"])
            self.stub.nvmlStubNow.restype = ctypes.c_double
            self.stub.nvmlStubJoules.restype = ctypes.c_double
            self.stub.nvmlStubJoules.argtypes = [ctypes.c_uint, ctypes.c_double, ctypes.c_double]
            self.stub.nvmlStubSetWatts.argtypes = [ctypes.c_uint, ctypes.c_double]

    def now_s(self) -> float:
        return float(self.stub.nvmlStubNow()) if self.stub else time.perf_counter()

    def call(self) -> None:
        """One iteration: the steps of the job, one after the other, each as long as it is stated."""
        end_s = begin_s = self.now_s()
        for seconds, watts in self.job["steps"]:
            if watts is not None:
                self.stub.nvmlStubSetWatts(0, watts)
            end_s += seconds
            time.sleep(max(end_s - self.now_s() - 0.0002, 0.0))
            while self.now_s() < end_s:
                pass
        self.calls.append((begin_s, self.now_s()))

    def window(self) -> None:
        """As many iterations as the job wants in one window."""
        self.calls.clear()
        for _ in range(self.job["calls"]):
            self.call()

    def truth_j(self) -> float:
        """Joules from the begin of the first call to the end of the last."""
        return self.spent_j(self.calls[0][0], self.calls[-1][1])

    def between_j(self, spans: list[tuple[float, float]]) -> float:
        """Joules in stretches of the machine's own time."""
        later_s = self.now_s() - time.perf_counter()
        return sum(self.spent_j(begin_s + later_s, end_s + later_s) for begin_s, end_s in spans)

    def spent_j(self, begin_s: float, end_s: float) -> float:
        if self.stub:
            return float(self.stub.nvmlStubJoules(0, begin_s, end_s))
        return float(self.job["watts"]) * (end_s - begin_s)


def peers_rows(job: dict[str, Any], load: Load) -> dict[str, Any]:
    started = time.perf_counter()
    measure = TOOLS[job["tool"]](job)
    opened_s = time.perf_counter() - started
    rows = []
    for _ in range(job["windows"]):
        time.sleep(0.013)  # windows begin anywhere in a tick
        said, note = measure(load.window)
        rows.append([load.truth_j(), said, note])
    costs = [_timed(lambda: measure(_nothing)) for _ in range(job["costs"])]
    return {"rows": rows, "opened_s": opened_s, "cost_s": statistics.median(costs) if costs else None}


def our_rows(job: dict[str, Any], load: Load) -> dict[str, Any]:
    from sensors_ours import Ours, said

    started = time.perf_counter()
    ours = Ours(job)
    opened_s = time.perf_counter() - started
    rows = []
    for _ in range(job["windows"]):
        time.sleep(0.013)
        if job["repeat_s"]:
            measured, spans = ours.repeated(load.call, job["repeat_s"])
            rows.append(said(measured, load.between_j(spans), measured.iterations))
        else:
            measured = ours.block(load.window)
            rows.append(said(measured, load.truth_j()))
    costs = ours.windows(job["costs"], _timed) if job["costs"] else []
    return {"rows": rows, "opened_s": opened_s, "cost_s": statistics.median(costs) if costs else None}


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _nothing() -> None:
    pass


def main() -> None:
    job = json.loads(sys.argv[1])
    words = io.StringIO()
    try:
        with contextlib.redirect_stdout(words), contextlib.redirect_stderr(words):
            load = Load(job)
            answer = our_rows(job, load) if job["tool"] == "joulecut" else peers_rows(job, load)
    except Exception as error:  # noqa: BLE001 - whatever a tool raises is its answer
        answer = {"refused": f"{type(error).__name__}: {error}"[:200]}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
