"""NVIDIA GPUs through NVML: the energy counter first, power where there is none."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from joulecut.profiler.clock import Clock
from joulecut.profiler.records import DeviceState, Domain, Read
from joulecut.profiler.sensors.nvml_devices import Gpu, find_gpus
from joulecut.profiler.sensors.nvml_library import start, stop
from joulecut.profiler.sensors.nvml_meters import Meter, PowerField, find_meter
from joulecut.profiler.sensors.nvml_states import facts_of

__all__ = ["NvmlSensor", "open_nvml"]


def open_nvml(clock: Clock, *, library: Path | None = None, visible: str | None = None) -> NvmlSensor:
    """Open the GPUs that CUDA programs see.

    Args:
        clock: what readings are timed by.
        library: the file to load instead of the system's ``libnvidia-ml.so.1``.
        visible: as ``CUDA_VISIBLE_DEVICES``; None takes that variable.

    Raises:
        SensorMissing: no library, driver or GPU.
        SensorUnusable: a GPU without a power reading, or split by MIG.
        SensorDenied: the driver may not be used; the hint is the command that grants access.
        UsageError: another NVML library is in use in this process.
    """
    environment = dict(os.environ) if visible is None else os.environ | {"CUDA_VISIBLE_DEVICES": visible}
    nvml = start(library)
    with ExitStack() as undo:
        undo.callback(stop, nvml, library)
        gpus = find_gpus(nvml, environment)
        meters, domains = zip(*(find_meter(nvml, gpu) for gpu in gpus), strict=True)
        undo.pop_all()  # the sensor holds the library from here on
    return NvmlSensor(clock, nvml, library, gpus, meters, domains)


class NvmlSensor:
    """All visible GPUs, read together; made by :func:`open_nvml`. Safe to be read from several threads."""

    name = "nvml"

    def __init__(
        self,
        clock: Clock,
        nvml: Any,
        library: Path | None,
        gpus: tuple[Gpu, ...],
        meters: tuple[Meter, ...],
        domains: tuple[Domain, ...],
    ) -> None:
        self._clock, self._nvml, self._library = clock, nvml, library
        self._gpus, self._meters, self._domains = gpus, meters, domains
        self._stamped = any(isinstance(meter, PowerField) for meter in meters)
        self._lock = threading.Lock()
        self._open = True

    @property
    def domains(self) -> tuple[Domain, ...]:
        """One a GPU, ``gpu:0`` and on, numbered as nvidia-smi does."""
        return self._domains

    def read(self) -> Read:
        """Counters in mJ (or power in mW) of all GPUs, one right after the other."""
        meters, now = self._meters, self._clock.now_s
        with self._lock:
            begin_s = now()
            counts = tuple([meter.read() for meter in meters])
            end_s = now()
            faults = tuple([meter.fault for meter in meters]) if None in counts else ()
            stamps_s = tuple([meter.stamp_s for meter in meters]) if self._stamped else ()
        return Read(begin_s, end_s, counts, faults, stamps_s)

    def states(self) -> tuple[DeviceState, ...]:
        """One a GPU, with the facts that :func:`~joulecut.profiler.sensors.nvml_states.facts_of` lists."""
        return tuple(
            DeviceState(f"gpu:{gpu.index}", self._clock.now_s(), facts_of(self._nvml, gpu.handle))
            for gpu in self._gpus
        )

    def close(self) -> None:
        """Shut NVML down, once."""
        if self._open:
            self._open = False
            stop(self._nvml, self._library)
