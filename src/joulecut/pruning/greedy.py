"""The greedy search: at every step the removal with the least loss per joule, of whatever kind."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from joulecut.errors import ModelError
from joulecut.pruning.candidates.channels import chunk
from joulecut.pruning.candidates.option import Option, Source, View
from joulecut.pruning.network import Network
from joulecut.pruning.pricing import Pricer
from joulecut.pruning.records import Candidate
from joulecut.pruning.refit import Teacher, refit
from joulecut.pruning.settings import SearchSettings

__all__ = ["Search", "Step", "chunk", "loss_against"]


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
        return float(torch.nn.functional.cross_entropy(logits, labels))
    wanted, predicted = reference.log_softmax(-1), logits.log_softmax(-1)
    return float(torch.nn.functional.kl_div(predicted, wanted, reduction="batchmean", log_target=True))


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
    """

    teacher: Teacher
    labels: Tensor | None
    reference: Tensor
    pricer: Pricer
    step: int
    settings: SearchSettings
    sources: tuple[Source, ...]

    def loss(self, logits: Tensor) -> float:
        """Cross-entropy with the labels, or the divergence from the original without labels."""
        return loss_against(logits, self.labels, self.reference)

    def steps(
        self, network: Network, allowed_j: Callable[[Network], float], banned: Callable[[Option], bool]
    ) -> Iterator[Step]:
        """Removals from a network, until the energy is allowed or nothing is left to remove."""
        count = 0
        while (step := self.next(network, allowed_j(network), banned, count)) is not None:
            yield step
            network, count = step.network, count + 1

    def next(
        self, network: Network, allowed_j: float, banned: Callable[[Option], bool], count: int
    ) -> Step | None:
        """The next removal; a function of what it is given, so that a run that was killed goes on alike.

        Args:
            network: the network now.
            allowed_j: the energy that the budget allows.
            banned: options that must not be taken now.
            count: removals before, for the rhythm of refits and the seeds.

        Returns:
            None where the energy is allowed, or nothing can go.

        Raises:
            ModelError: the network's loss on the calibration samples is not finite.
        """
        started = time.perf_counter()
        needed_j = self.energy_j(network) - allowed_j
        if needed_j <= 0:
            return None
        if count and count % self.settings.refit_every == 0:
            network = refit(network, self.teacher, self.settings.refit)
        with torch.no_grad():
            logits, values = network.run(self.teacher.inputs, keep=None)
        loss = self.loss(logits)
        if not math.isfinite(loss):
            raise ModelError(f"the loss on the calibration samples is {loss}.", hint="Check the data.")
        view = View(network, values, self.teacher, self.pricer, self.step, count, self.loss, loss)
        shortlist = self._shortlist(view, banned, needed_j)
        tried = [self._measured(view, option, needed_j) for option in shortlist]
        tried = sorted(
            (t for t in tried if math.isfinite(t.record.loss)), key=lambda t: (t.record.price, t.key)
        )
        if not tried:
            return None
        taken, network = tried[0].record, tried[0].network
        return Step(
            network=network,
            candidates=tuple(t.record for t in tried),
            reason="least loss per joule needed" if taken.saving_j >= needed_j else "least loss per joule",
            energy_j=self.energy_j(network),
            loss=loss + taken.loss,
            duration_s=time.perf_counter() - started,
        )

    def energy_j(self, network: Network) -> float:
        """Joules of one inference."""
        return self.pricer.total_j({name: len(kept) for name, kept in network.kept.items()}, network.gone)

    def _shortlist(self, view: View, banned: Callable[[Option], bool], needed_j: float) -> list[Option]:
        """The options of each kind that promise the least loss per joule needed.

        A saving counts up to what is still needed: near the end, a large removal that overshoots must beat
        the small ones that would do.
        """
        found: list[Option] = []
        for source in self.sources:
            options = [option for option in source(view) if not banned(option)]
            options.sort(key=lambda option: (option.cost / min(option.saving_j, needed_j), option.key))
            found.extend(options[: source.most])
        return found

    def _measured(self, view: View, option: Option, needed_j: float) -> _Tried:
        """An option with its true loss."""
        network = option.build()
        rise = self.loss(view.rerun(network, option.starts)) - view.now
        useful_j = min(option.saving_j, needed_j)
        price = rise / useful_j if rise > 0 else rise * useful_j
        record = Candidate(option.name, option.channels, option.saving_j, rise, price, option.kind)
        return _Tried(option.key, record, network)
