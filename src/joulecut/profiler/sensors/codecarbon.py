"""CPU and GPU energy as codecarbon reads it, for those who want its figures.

Its counters only: what codecarbon models (RAM by the number of modules, a CPU by its TDP and load) is no
measurement and is left out. Known limits of codecarbon 3.3.2, seen on counters whose joules were known: DRAM
is not added by default, a counter that starts again from 0 is taken for one that wrapped, and a counter of a
GPU that stands still is 0 J. (Its trackers see no GPU where the program ``nvidia-smi`` is missing; this
sensor sees them.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from joulecut.errors import SensorDenied, SensorMissing
from joulecut.profiler.clock import Clock
from joulecut.profiler.optional import hushed, import_optional
from joulecut.profiler.records import DeviceState, Domain, Read
from joulecut.profiler.sensors import nvml_meters, roles
from joulecut.profiler.sensors.cpu_state import cpu_state

__all__ = ["CodecarbonSensor", "open_codecarbon"]

_CPU_NOTE: Final = (
    "codecarbon adds the packages and no DRAM, and takes a counter that restarts for one that wraps"
)
_GPU_NOTE: Final = "codecarbon takes a counter that stands still for a GPU that draws nothing"
_ROOT: Final = Path("/sys/class/powercap")


class CodecarbonSensor:
    """The sums of codecarbon's energy deltas since it was opened; open it with ``open_codecarbon``."""

    def __init__(self, clock: Clock, rapl: Any, gpus: Any) -> None:
        self._clock = clock
        self._rapl = rapl
        self._gpus = gpus
        units = _codecarbon("core.units")
        self._time = units.Time
        self._rapl_kwh_per_j = units.Energy.from_ujoules(1e6).kWh
        self._gpu_kwh_per_j = units.Energy.from_millijoules(1e3).kWh
        self._gpu_indices = [] if gpus is None else [device.gpu_index for device in gpus.devices]
        self._domains = tuple(
            [_domain("cpu", "cpu", _CPU_NOTE)] * (rapl is not None)
            + [_domain(f"gpu:{index}", f"gpu:{index}", _GPU_NOTE) for index in self._gpu_indices]
        )
        self._joules = [0.0] * len(self._domains)
        with hushed("codecarbon"):
            for reader in (rapl, gpus):
                if reader is not None:
                    reader.start()
        self._last_s = clock.now_s()

    @property
    def name(self) -> str:
        """``codecarbon``."""
        return "codecarbon"

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The processor's packages together, and each GPU."""
        return self._domains

    def read(self) -> Read:
        """All of them now; what codecarbon could not read is a fault."""
        begin_s = self._clock.now_s()
        span = self._time(seconds=max(begin_s - self._last_s, 1e-9))
        with hushed("codecarbon"):
            steps = self._cpu_step(span) + self._gpu_steps(span)
        self._last_s = begin_s
        counts = tuple(self._count(column, step_j) for column, step_j in enumerate(steps))
        faults = tuple("codecarbon could not read it" if count is None else "" for count in counts)
        return Read(begin_s, self._clock.now_s(), counts, faults if None in counts else ())

    def states(self) -> tuple[DeviceState, ...]:
        """The processor."""
        return (cpu_state(self._clock.now_s(), Path("/")),)

    def close(self) -> None:
        """Nothing is held: codecarbon opens its files anew for each read."""

    def _count(self, column: int, step_j: float | None) -> int | None:
        """The sum in microjoules; what codecarbon skipped is lost, so that the sum starts again after it."""
        self._joules[column] = 0.0 if step_j is None else self._joules[column] + step_j
        return None if step_j is None else round(self._joules[column] * 1e6)

    def _cpu_step(self, span: Any) -> list[float | None]:
        if self._rapl is None:
            return []
        details: dict[str, float] = self._rapl.get_cpu_details(span)
        skipped = any(file.sample_skipped for file in self._rapl._rapl_files)
        found = [kwh for name, kwh in details.items() if "Energy" in name]
        return [None if skipped or not found else sum(found) / self._rapl_kwh_per_j]

    def _gpu_steps(self, span: Any) -> list[float | None]:
        if self._gpus is None:
            return []
        rows = {row["gpu_index"]: row for row in self._gpus.get_delta(span)}
        return [
            rows[index]["delta_energy_consumption"].kWh / self._gpu_kwh_per_j if index in rows else None
            for index in self._gpu_indices
        ]


def open_codecarbon(clock: Clock, root: Path = _ROOT) -> CodecarbonSensor:
    """Open the counters through codecarbon.

    Args:
        clock: the time.
        root: the folder of powercap zones.

    Raises:
        MissingExtra: codecarbon is not installed.
        SensorMissing: codecarbon finds no counter here and would model.
        SensorDenied: the counters may not be read.
    """
    rapl, gpus = _open_rapl(root), _open_gpus()
    if rapl is None and gpus is None:
        denied = [path for path in root.glob("intel-rapl:*/energy_uj") if not _readable(path)]
        if denied:
            raise SensorDenied(
                f"codecarbon may not read {denied[0]}.",
                hint="`joulecut doctor` prints the command that helps.",
            )
        raise SensorMissing(
            "codecarbon finds no energy counter on this machine; what it would model is no measurement.",
            hint="`joulecut doctor` says what is missing.",
        )
    return CodecarbonSensor(clock, rapl, gpus)


def _open_rapl(root: Path) -> Any:
    cpu = _codecarbon("core.cpu")
    folder = root / "intel-rapl" / "subsystem"
    with hushed("codecarbon"):
        if not folder.exists() or not cpu.is_rapl_available(str(folder)):
            return None
        rapl = cpu.IntelRAPL(rapl_dir=str(folder))
    return rapl if rapl._rapl_files else None


def _open_gpus() -> Any:
    gpu = _codecarbon("core.gpu")
    with hushed("codecarbon"):
        if not gpu.is_gpu_details_available():
            return None
        gpus = gpu.AllGPUDevices()
    gpus.devices = [device for device in gpus.devices if device.last_energy is not None]
    gpus.device_count = len(gpus.devices)
    return gpus if gpus.devices else None


def _readable(path: Path) -> bool:
    try:
        return bool(path.read_bytes())
    except OSError:
        return False


def _domain(name: str, device: str, note: str) -> Domain:
    on_board = device != "cpu"
    return Domain(
        name=name,
        kind="counter",
        quantum=1e-6,
        counts=0,
        counted=True,
        boundary="board_dc" if on_board else "cpu_package",
        peak_w=0.0,
        gain=nvml_meters.GAIN if on_board else roles.GAIN,
        device=device,
        source="codecarbon, NVML total energy" if on_board else "codecarbon, RAPL packages",
        note=note,
    )


def _codecarbon(module: str) -> Any:
    return import_optional(
        f"codecarbon.{module}", package="codecarbon", extra="carbon", purpose="the sensor codecarbon"
    )
