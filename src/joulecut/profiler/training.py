"""The joules of a training loop: per epoch and step, with forward, backward and optimiser apart.

    with TrainingMeter() as meter:
        for epoch in meter.epochs(3):
            for x, y in loader:
                with meter.step():
                    with meter.forward():
                        loss = criterion(model(x), y)
                    with meter.backward():
                        loss.backward()
                    with meter.optimizer():
                        optimizer.step()
    print(meter.energy().epochs[0].parts)

Instead of the three inner blocks, ``meter.watch(model, optimizer)`` marks them by hooks of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from joulecut.errors import UsageError
from joulecut.profiler.gpu_queue import finish_gpu_work
from joulecut.profiler.measure import Meter
from joulecut.profiler.training_energy import training_energy
from joulecut.profiler.training_records import PARTS, TrainingEnergy

if TYPE_CHECKING:
    import torch

__all__ = ["TrainingMeter"]

Item = TypeVar("Item")


class TrainingMeter(Meter):
    """A ``Meter`` that knows epochs, steps and the parts of a step.

    Only marks and readings are taken while the training runs; ``energy`` evaluates them all at once.
    """

    _epoch = -1
    _steps = 0
    _part = ""

    def epochs(self, count: int | Iterable[Item]) -> Iterator[int | Item]:
        """Go through epochs, each a window.

        Args:
            count: how many, or what to go through.
        """
        for item in range(count) if isinstance(count, int) else count:
            self._epoch += 1
            with self._marked(f"epoch {self._epoch}"):
                yield item

    @contextmanager
    def step(self) -> Iterator[None]:
        """One step; a window inside that of its epoch.

        Raises:
            UsageError: a step inside a step.
        """
        if self._part:
            raise UsageError("a step cannot begin inside a step.")
        name = f"step {self._steps}"
        self._steps += 1
        self._part = "rest"
        try:
            with self._marked(name):
                yield
                self._turn_to("rest")
        finally:
            self._part = ""

    def forward(self) -> AbstractContextManager[None]:
        """The part of a step that computes the loss."""
        return self._within("forward")

    def backward(self) -> AbstractContextManager[None]:
        """The part of a step that computes the gradients."""
        return self._within("backward")

    def optimizer(self) -> AbstractContextManager[None]:
        """The part of a step that changes the weights."""
        return self._within("optimizer")

    @contextmanager
    def watch(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        """Mark the parts by hooks: the forward pass of the model, what follows it, and the optimiser's step.

        What runs between the end of the forward pass and the begin of the optimiser's step counts as
        backward, the loss included. Outside of steps the hooks do nothing.
        """

        def turn(part: str) -> Callable[..., None]:
            def hook(*_: Any) -> None:
                if self._part:
                    self._turn_to(part)

            return hook

        with ExitStack() as stack:
            for handle in (
                model.register_forward_pre_hook(turn("forward")),
                model.register_forward_hook(turn("backward")),
                optimizer.register_step_pre_hook(turn("optimizer")),
                optimizer.register_step_post_hook(turn("rest")),
            ):
                stack.callback(handle.remove)
            yield

    def energy(self) -> TrainingEnergy:
        """The joules of all epochs, steps and parts so far."""
        return training_energy(self.trace())

    @contextmanager
    def _within(self, part: str) -> Iterator[None]:
        if not self._part:
            raise UsageError(f"{part} is a part of a step.", hint="Enter `with meter.step():` first.")
        self._turn_to(part)
        yield
        self._turn_to("rest")

    def _turn_to(self, part: str) -> None:
        """End the part that runs and begin another, at one reading."""
        if part == self._part:
            return
        finish_gpu_work()
        recorder = self.recorder
        if self._part in PARTS:
            recorder.mark("end", self._part)
        recorder.read()
        if part in PARTS:
            recorder.mark("begin", part)
        self._part = part

    @contextmanager
    def _marked(self, name: str) -> Iterator[None]:
        finish_gpu_work()
        self.recorder.begin(name)
        try:
            yield
        finally:
            finish_gpu_work()
            self.recorder.end(name)
