"""Waiting for queued work, on the GPUs that were used and no others."""

from __future__ import annotations

from types import ModuleType

import pytest

from joulecut.profiler.gpu_queue import finish_gpu_work


class Cuda:
    """As much of torch.cuda as is asked, with three GPUs of which the first and the last were used."""

    def __init__(self, used: bool) -> None:
        self._used = used
        self.waited_for: list[int] = []

    def is_initialized(self) -> bool:
        return self._used

    def device_count(self) -> int:
        return 3

    def memory_reserved(self, index: int) -> int:
        return 1 << 20 if index == 2 else 0

    def current_device(self) -> int:
        return 0

    def synchronize(self, index: int) -> None:
        self.waited_for.append(index)


@pytest.mark.parametrize(("used", "expected"), [(True, [0, 2]), (False, [])])
def test_used_gpus_are_waited_for(used: bool, expected: list[int]) -> None:
    torch, cuda = ModuleType("torch"), Cuda(used)
    vars(torch)["cuda"] = cuda
    finish_gpu_work({"torch": torch})
    assert cuda.waited_for == expected


def test_with_the_torch_that_is_here() -> None:
    pytest.importorskip("torch")
    finish_gpu_work()
