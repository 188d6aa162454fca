"""GPUs work through a queue: what a program has called is not what the GPU has done."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType

__all__ = ["finish_gpu_work"]


def finish_gpu_work(modules: Mapping[str, ModuleType] | None = None) -> None:
    """Wait until everything that torch has queued on this process's GPUs is done.

    To be called before a window begins and before it ends, so that work counts in the window in which it was
    called. Does nothing where torch is not loaded or has not used a GPU; other frameworks have to be waited
    for by the caller.

    Args:
        modules: where a loaded torch is looked up, by default among this process's modules.

    >>> finish_gpu_work({})
    """
    torch = (sys.modules if modules is None else modules).get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return
    for index in range(cuda.device_count()):
        # waiting on a device that was never used would open it, and hold memory there
        if cuda.memory_reserved(index) > 0 or index == cuda.current_device():
            cuda.synchronize(index)
