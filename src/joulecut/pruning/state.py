"""State of a pruning run: what it was given, what it has found, what it has booked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, fx

from joulecut.errors import BudgetUnreachable
from joulecut.estimate import Estimate
from joulecut.hw_models.spec import DeviceSpec
from joulecut.pruning.budget import allowed_j
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.folding import FoldedNorm
from joulecut.pruning.network import Network
from joulecut.pruning.pricing import Pricer
from joulecut.pruning.records import Budget, PruneStep
from joulecut.pruning.settings import SearchSettings
from joulecut.units import format_percent

__all__ = ["Judge", "Progress", "Run", "Samples", "samples_that_fit", "silent", "stuck", "widths"]

Judge = Callable[[Callable[[Tensor], Tensor], bool], float]
"""Validation accuracy (0 to 1) of anything that maps a batch of inputs to logits; a quick answer, from a part
of the samples, is enough where the second argument is true."""

Progress = Callable[[str, int, int], None]
"""``progress(stage, done, total)``."""

_FEWEST_SAMPLES = 64
_CACHE_BYTES = 2 << 30
"""Most memory for the activations that a search step keeps."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Calibration data: inputs [n, ...] and, where known, their classes [n]."""

    inputs: Tensor
    labels: Tensor | None

    def part(self, start: int, stop: int) -> Samples:
        """Samples ``start`` to ``stop``."""
        return Samples(self.inputs[start:stop], None if self.labels is None else self.labels[start:stop])

    def __len__(self) -> int:
        return len(self.inputs)


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(slots=True, eq=False)
class Run:
    """State of a run."""

    device: DeviceSpec
    budget: Budget
    calibration: Samples
    judge: Judge | None
    progress: Progress
    settings: SearchSettings
    coupling: Coupling
    folded: Network
    pairs: tuple[FoldedNorm, ...]
    pricer: Pricer
    rows: list[tuple[str, float]] = field(default_factory=list)
    steps: list[PruneStep] = field(default_factory=list)
    banned: set[str] = field(default_factory=set)
    rejected: bool = False

    @property
    def before(self) -> Estimate:
        """The original's energy."""
        return self.pricer.total(self.pricer.sizes)

    def note(self, stage: str, network: Callable[[Tensor], Tensor]) -> None:
        """Book the validation accuracy of a stage."""
        if self.judge is not None:
            self.rows.append((stage, self.judge(network, False)))

    def allowed_j(self, network: Network) -> float:
        """The energy that the budget allows a network of these widths."""
        return allowed_j(self.budget, self.before, self.pricer.total(widths(network)))

    @property
    def search_samples(self) -> Samples:
        """Calibration samples of the search: what fits the cache of activations, two thirds at most."""
        fit = samples_that_fit(self.folded.coupling.module)
        return self.calibration.part(0, min(self.settings.samples, fit, -(-2 * len(self.calibration) // 3)))

    @property
    def held_out_samples(self) -> Samples:
        """Calibration samples that the search does not see: up to twice as many."""
        count = len(self.search_samples)
        return self.calibration.part(count, 3 * count)

    @property
    def final_samples(self) -> Samples:
        """Calibration samples of the last refit."""
        share = self.settings.final_samples / self.settings.samples
        return self.calibration.part(0, round(share * len(self.search_samples)))


def samples_that_fit(module: fx.GraphModule) -> int:
    """Samples whose activations fit into 2 GiB all together; 64 at least, as fewer say too little."""
    values = [node.meta.get("val") for node in module.graph.nodes if node.op == "call_function"]
    per_sample = sum(value.numel() * value.element_size() for value in values if isinstance(value, Tensor))
    return max(_CACHE_BYTES // max(per_sample, 1), _FEWEST_SAMPLES)


def widths(network: Network) -> dict[str, int]:
    """Living channels by group."""
    return {name: len(kept) for name, kept in network.kept.items()}


def stuck(run: Run, network: Network) -> BudgetUnreachable:
    """What to raise when nothing more can go."""
    total = run.pricer.total(widths(network))
    left = format_percent(total.value / run.before.value)
    floor = run.budget.min_accuracy
    without = (
        f" without falling below {format_percent(floor)} validation accuracy" if floor is not None else ""
    )
    return BudgetUnreachable(
        f"a budget of {run.budget} cannot be met on {run.device.name}{without}: "
        f"the best point found takes {total}, {left} of the original.",
        best=total,
        hint="Allow a lower accuracy or a larger budget.",
    )
