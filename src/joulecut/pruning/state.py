"""State of a pruning run: what it was given, what it has found, what it has booked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor, fx

from joulecut.errors import BudgetUnreachable
from joulecut.estimate import Estimate
from joulecut.hw_models.spec import DeviceSpec
from joulecut.pruning.candidates.option import Option
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.execution import bytes_per_sample
from joulecut.pruning.folding import FoldedNorm
from joulecut.pruning.limits import Limits, limits
from joulecut.pruning.measured import Measuring, Meters, cut_module
from joulecut.pruning.modelled import without
from joulecut.pruning.network import Network, Values
from joulecut.pruning.pricing import Pricer
from joulecut.pruning.records import Budget, Candidate, PruneStep
from joulecut.pruning.refit import Teacher, refit, refit_observed, teach
from joulecut.pruning.settings import SearchSettings
from joulecut.pruning.weights.options import refit_with_zeros
from joulecut.pruning.weights.prices import declared_patterns, saved_j
from joulecut.units import format_percent

__all__ = ["Judge", "Progress", "Run", "Samples", "samples_that_fit", "silent", "stuck"]

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
    """State of a run.

    Attributes:
        device: prices joules and sets the channel step.
        budget: what is to be met.
        calibration: all samples that may be fitted to or chosen by.
        judge: validation accuracy, or None.
        progress: who is told.
        settings: of the search.
        coupling: groups of the network whose batch norms are recalibrated.
        folded: that network with its batch norms folded, whole.
        pairs: the folded batch norms.
        pricer: joules by width.
        here: where the search stands: its network after the last step that was no exchange.
        rows: validation accuracy by stage.
        steps: what was removed, in order.
        banned: options that the guard rejected, and the number of steps at which they may be tried again.
        exchanged: what the last exchange kept, by group; None before the first.
        trials: end points that exchanges have compared.
        save: keeps the state, so that a run that is killed goes on from it.
        meters: measure what the budget limits; None: all of it is modelled.
        limits: those of the budget.
    """

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
    here: Network
    rows: list[tuple[str, float]] = field(default_factory=list)
    steps: list[PruneStep] = field(default_factory=list)
    banned: dict[tuple[str, str], int] = field(default_factory=dict)
    exchanged: Mapping[str, tuple[int, ...]] | None = None
    trials: int = 0
    save: Callable[[Run], None] = field(default=lambda _: None)
    meters: Meters | None = None
    limits: Limits = field(init=False)
    _teacher: Teacher | None = None

    def __post_init__(self) -> None:
        self.aim(self.budget)

    @property
    def before(self) -> Estimate:
        """The original's energy."""
        return self.pricer.total(self.pricer.sizes)

    @property
    def teacher(self) -> Teacher:
        """The original on the samples of the search; made once."""
        if self._teacher is None:
            self.progress("watching the original", 0, 1)
            self._teacher = teach(self.folded, self.search_samples.inputs, self.settings.refit)
        return self._teacher

    def aim(self, budget: Budget) -> None:
        """Go on towards another budget; exchanges at the end of the last one are undone."""
        measuring = None
        if self.meters is not None:
            build = partial(cut_module, self.coupling)
            measuring = Measuring(self.meters, self.coupling.module, build, lambda: len(self.steps))
        self.budget, self.limits = budget, limits(budget, self.pricer, measuring, self.spared_j)
        self.steps = [step for step in self.steps if step.put_back is None]
        self.exchanged, self.trials = None, 0

    def total(self, network: Network) -> Estimate:
        """The energy of a network on its way."""
        return without(self.pricer.total(network.widths, network.gone), self.spared_j(network))

    @property
    def zeroing(self) -> bool:
        """Whether zero weights are candidates: the strategy takes them, and the device saves by them."""
        return self.settings.strategy in ("weights", "auto") and bool(declared_patterns(self.device))

    def spared_j(self, network: Network) -> float:
        """Joules that the zero weights of a network save."""
        return saved_j(network, self.teacher.layers, self.pricer) if self.zeroing else 0.0

    def refit(self, network: Network) -> Network:
        """A network refitted as on the way; weights that are candidates at zero stay there."""
        if not self.zeroing:
            return refit(network, self.teacher, self.settings.refit)
        patterns = declared_patterns(self.device)
        return refit_with_zeros(network, self.teacher, self.settings.refit, patterns)

    def refit_observed(self, network: Network, keep: frozenset[str]) -> tuple[Network, Tensor, Values]:
        """The same with its first output on the samples of the search and some values, in parts."""
        if not self.zeroing:
            return refit_observed(network, self.teacher, self.settings.refit, keep)
        network = self.refit(network)
        return network, *network.observe(self.teacher.inputs, keep)

    def reached(self, network: Network) -> bool:
        """Whether a network meets the budget."""
        return self.limits.met(network) == "yes"

    def allowed_j(self, network: Network) -> float:
        """The energy that the budget allows a network of these widths."""
        return self.limits.allowed_j(network)

    def is_banned(self, option: Option) -> bool:
        """Whether the guard has rejected an option lately."""
        return self.banned.get(option.key, 0) > len(self.steps)

    def note(self, stage: str, network: Callable[[Tensor], Tensor]) -> None:
        """Book the validation accuracy of a stage."""
        if self.judge is not None:
            self.rows.append((stage, self.judge(network, False)))

    def book(
        self,
        network: Network,
        candidates: Sequence[Candidate],
        *,
        reason: str,
        loss: float,
        accuracy: float | None,
        duration_s: float,
        put_back: Candidate | None = None,
    ) -> None:
        """Book a step, with the runners-up, and keep the state."""
        before, total = self.before, self.total(network)
        taken, *others = candidates
        self.steps.append(
            PruneStep(
                index=len(self.steps),
                taken=taken,
                runners_up=tuple(others[:3]),
                reason=reason,
                total=total,
                share=total.value / before.value,
                calibration_loss=loss,
                accuracy=accuracy,
                duration_s=duration_s,
                put_back=put_back,
            )
        )
        if put_back is None:
            self.here = network
        else:
            self.exchanged = dict(network.kept)
        self.save(self)
        done = (before.value - total.value) / max(before.value - self.allowed_j(network), 1e-30)
        stage = "pruning" if put_back is None else "exchanging"
        self.progress(stage, round(100 * min(max(done, 0.0), 1.0)), 100)

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
    return max(_CACHE_BYTES // bytes_per_sample(module), _FEWEST_SAMPLES)


def stuck(run: Run, network: Network) -> BudgetUnreachable:
    """What to raise when nothing more can go."""
    total = run.total(network)
    left = format_percent(total.value / run.before.value)
    floor = run.budget.min_accuracy
    without = (
        f" without falling below {format_percent(floor)} validation accuracy" if floor is not None else ""
    )
    return BudgetUnreachable(
        f"a budget of {run.budget} cannot be met on {run.device.name}{without}: "
        f"the best point found takes {total}, {left} of the original{run.limits.missed(network)}.",
        best=total,
        hint="Allow a lower accuracy or a larger budget.",
    )
