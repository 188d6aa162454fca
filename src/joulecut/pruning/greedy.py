"""The greedy search: at every step the removal with the least loss per joule, of whatever kind."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from joulecut.errors import ModelError
from joulecut.pruning.candidates.option import Option, Source, View
from joulecut.pruning.limits import Needs
from joulecut.pruning.network import Network, Values
from joulecut.pruning.pricing import Pricer
from joulecut.pruning.records import Candidate
from joulecut.pruning.refit import Teacher
from joulecut.pruning.settings import SearchSettings
from joulecut.pruning.weights.aligning import realigned
from joulecut.pruning.weights.options import repriced
from joulecut.pruning.weights.prices import declared_patterns

__all__ = ["Search", "Step", "loss_against"]

_UNITS: Final = {"J": "joule", "s": "second", "B": "byte", "1": "share of what is missing"}


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One removal: the network after it, and the candidates in the order of preference."""

    network: Network
    candidates: tuple[Candidate, ...]
    reason: str
    energy_j: float
    loss: float
    duration_s: float


def loss_against(logits: Tensor, labels: Tensor | None, reference: Tensor) -> float:
    """Mean cross-entropy with the labels, or without labels the divergence from the original, in nats.

    Args:
        logits: [samples, classes].
        labels: [samples], or None.
        reference: the original's logits, [samples, classes].
    """
    if labels is not None:
        each = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    else:
        wanted, predicted = reference.log_softmax(-1), logits.log_softmax(-1)
        each = torch.nn.functional.kl_div(predicted, wanted, reduction="none", log_target=True).sum(-1)
    return float(each.double().mean())  # a sum over all elements at once depends on the number of threads


@dataclass(frozen=True, slots=True, eq=False)
class _Tried:
    """An option whose true loss was measured."""

    key: tuple[str, str]
    record: Candidate
    network: Network


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """Greedy removal, one heap for all kinds of candidates.

    Attributes:
        teacher: the original's pre-activations on the calibration inputs.
        labels: classes of the calibration inputs, or None: then the original's own predictions count.
        reference: the original's logits on the calibration inputs.
        pricer: joules by width.
        step: the device's channel step.
        settings: see ``SearchSettings``.
        sources: what may be removed.
        refit: re-solves a network on the way, and gives its output and some values on the teacher's inputs.
    """

    teacher: Teacher
    labels: Tensor | None
    reference: Tensor
    pricer: Pricer
    step: int
    settings: SearchSettings
    sources: tuple[Source, ...]
    refit: Callable[[Network, frozenset[str]], tuple[Network, Tensor, Values]]

    def loss(self, logits: Tensor) -> float:
        """Cross-entropy with the labels, or the divergence from the original without labels."""
        return loss_against(logits, self.labels, self.reference)

    def steps(
        self, network: Network, needs: Callable[[Network], Needs], banned: Callable[[Option], bool]
    ) -> Iterator[Step]:
        """Removals from a network, until nothing is missing or nothing is left to remove."""
        count = 0
        while (step := self.next(network, needs(network), banned, count)) is not None:
            yield step
            network, count = step.network, count + 1

    def next(
        self, network: Network, needs: Needs, banned: Callable[[Option], bool], count: int
    ) -> Step | None:
        """The next removal; a function of what it is given, so that a run that was killed goes on alike.

        Args:
            network: the network now.
            needs: what is still missing to the budget.
            banned: options that must not be taken now.
            count: removals before, for the rhythm of refits and the seeds.

        Returns:
            None where nothing is missing, or nothing can go.

        Raises:
            ModelError: the network's loss on the calibration samples is not finite.
        """
        started = time.perf_counter()
        if not needs.missing:
            return None
        read = network.frontier() | self.teacher.sources
        if count and count % self.settings.refit_every == 0:
            network, logits, values = self.refit(network, read)
        else:
            logits, values = network.observe(self.teacher.inputs, read)
        loss = self.loss(logits)
        if not math.isfinite(loss):
            raise ModelError(f"the loss on the calibration samples is {loss}.", hint="Check the data.")
        view = View(network, values, self.teacher, self.pricer, self.step, count, self.loss, loss)
        tried = [
            self._measured(view, option, useful) for option, useful in self._shortlist(view, needs, banned)
        ]
        tried = sorted(
            (t for t in tried if math.isfinite(t.record.loss)), key=lambda t: (t.record.price, t.key)
        )
        if not tried:
            return None
        taken, network = tried[0].record, tried[0].network
        return Step(
            network=network,
            candidates=tuple(t.record for t in tried),
            reason=_reason(needs, taken),
            energy_j=self.energy_j(network),
            loss=loss + taken.loss,
            duration_s=time.perf_counter() - started,
        )

    def energy_j(self, network: Network) -> float:
        """Joules of one inference."""
        return self.pricer.total_j(network.widths, network.gone)

    def _shortlist(
        self, view: View, needs: Needs, banned: Callable[[Option], bool]
    ) -> list[tuple[Option, float]]:
        """The options of each kind that promise the least loss for what they give, and how much that is.

        A saving counts up to what is still missing: near the end, a large removal that overshoots must beat
        the small ones that would do.
        """
        found: list[tuple[Option, float]] = []
        for source in self.sources:
            options = repriced((option for option in source(view) if not banned(option)), view)
            useful = [(option, needs.useful(option.saving_j, option.build)) for option in options]
            helping = [(option, amount) for option, amount in useful if amount > 0]
            helping.sort(key=lambda item: (item[0].cost / item[1], item[0].key))
            found.extend(helping[: source.most])
        return found

    def _measured(self, view: View, option: Option, useful: float) -> _Tried:
        """An option with its true loss."""
        patterns = declared_patterns(self.pricer.device)
        network = realigned(option.build(), view.network, self.teacher.layers, patterns)
        rise = self.loss(view.rerun(network, option.starts)) - view.now
        price = rise / useful if rise > 0 else rise * useful
        record = Candidate(option.name, option.channels, option.saving_j, rise, price, option.kind)
        return _Tried(option.key, record, network)


def _reason(needs: Needs, taken: Candidate) -> str:
    """Why the cheapest one was taken."""
    last = needs.unit == "J" and taken.saving_j >= sum(needs.missing.values())
    return f"least loss per {_UNITS[needs.unit]}{' needed' if last else ''}"
