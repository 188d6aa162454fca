"""The greedy search: at every step the removal with the least loss per joule, until the budget is met."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from joulecut.pruning.coupling.groups import Group
from joulecut.pruning.elimination import Proposal, Statistics, gather, propose
from joulecut.pruning.network import Network, Values
from joulecut.pruning.pricing import Pricer
from joulecut.pruning.records import Candidate
from joulecut.pruning.refit import Teacher, refit
from joulecut.pruning.settings import SearchSettings

__all__ = ["Search", "Step", "chunk", "loss_against"]


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One accepted removal: the network after it, and the candidates in the order of preference."""

    network: Network
    candidates: tuple[Candidate, ...]
    reason: str
    energy_j: float
    loss: float
    duration_s: float


def chunk(width: int, step: int) -> int:
    """Channels to remove so that the width left is a multiple of the step; 0 if none would be left.

    >>> [chunk(w, 4) for w in (16, 10, 5, 4, 3)]
    [4, 2, 1, 0, 0]
    """
    left = (width - 1) // step * step
    return width - left if left > 0 else 0


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
    """A proposal whose true loss was measured."""

    proposal: Proposal
    network: Network
    record: Candidate


class Search:
    """Greedy removal of channels.

    Args:
        teacher: the original's pre-activations on the calibration inputs.
        labels: classes of the calibration inputs, or None: then the original's own predictions count.
        reference: the original's logits on the calibration inputs.
        pricer: joules by width.
        step: the device's channel step.
        settings: see ``SearchSettings``.
    """

    def __init__(
        self,
        teacher: Teacher,
        labels: Tensor | None,
        reference: Tensor,
        pricer: Pricer,
        step: int,
        settings: SearchSettings,
    ) -> None:
        self.teacher = teacher
        self.labels = labels
        self.reference = reference
        self.pricer = pricer
        self.step = step
        self.settings = settings

    def loss(self, logits: Tensor) -> float:
        """Cross-entropy with the labels, or the divergence from the original without labels."""
        return loss_against(logits, self.labels, self.reference)

    def steps(
        self,
        network: Network,
        allowed_j: Callable[[Network], float],
        banned: Callable[[str], bool],
        taken: int = 0,
    ) -> Iterator[Step]:
        """Remove channels until the energy is allowed or nothing is left to remove.

        Args:
            network: where to start.
            allowed_j: the energy that the budget allows a network.
            banned: groups that must not be cut now, by name.
            taken: steps taken before, for the rhythm of refits and the seeds.
        """
        count = taken
        while True:
            started = time.perf_counter()
            widths = self._widths(network)
            limit = allowed_j(network)
            if self.pricer.total_j(widths) <= limit:
                return
            if count > taken and count % self.settings.refit_every == 0:
                network = refit(network, self.teacher, self.settings.refit)
            with torch.no_grad():
                logits, values = network.run(self.teacher.inputs, keep=None)
            statistics = self.statistics(network, values, count)
            needed_j = self.pricer.total_j(widths) - limit
            tried = self._tried(network, values, self.loss(logits), statistics, widths, needed_j, banned)
            if not tried:
                return
            ordered = sorted(tried, key=lambda t: (t.record.price, t.record.group))
            network = ordered[0].network
            reaches = ordered[0].record.saving_j >= needed_j
            reason = "least loss per joule needed" if reaches else "least loss per joule"
            count += 1
            energy_j = self.pricer.total_j(self._widths(network))
            candidates = tuple(t.record for t in ordered)
            yield Step(
                network,
                candidates,
                reason,
                energy_j,
                self.loss(logits) + candidates[0].loss,
                time.perf_counter() - started,
            )

    def _widths(self, network: Network) -> dict[str, int]:
        return {name: len(kept) for name, kept in network.kept.items()}

    def statistics(self, network: Network, values: Values, count: int) -> Statistics:
        """What proposals need to know of every reader at the current widths."""
        settings = self.settings
        samples = self.teacher.inputs[: settings.gradient_samples]
        return gather(
            network,
            self.teacher.layers,
            values,
            samples,
            rows=settings.gram_rows,
            ridge=settings.ridge,
            seed=settings.seed + count,
        )

    def _tried(
        self,
        network: Network,
        values: Values,
        loss: float,
        statistics: Statistics,
        widths: dict[str, int],
        needed_j: float,
        banned: Callable[[str], bool],
    ) -> list[_Tried]:
        """Propose in every group, then measure the true loss of the best few.

        A saving counts up to what is still needed: near the end, a large removal that overshoots must beat
        the small ones that would do.
        """
        proposals: list[tuple[float, float, Proposal]] = []
        for group in network.coupling.groups():
            channels = chunk(widths[group.name], self.step)
            saving_j = self.pricer.saving_j(widths, group.name, channels) if channels else 0.0
            if saving_j > 0 and not banned(group.name):
                proposal = propose(network, group, self.teacher.layers, statistics, channels)
                proposals.append((proposal.cost / min(saving_j, needed_j), saving_j, proposal))
        proposals.sort(key=lambda item: (item[0], item[2].group.name))
        tried = []
        for _, saving_j, proposal in proposals[: self.settings.shortlist]:
            smaller = network.with_weights(proposal.weights).cut(proposal.group, proposal.channels)
            rise = self.loss(self._rerun(network, values, smaller, proposal)) - loss
            useful_j = min(saving_j, needed_j)
            price = rise / useful_j if rise > 0 else rise * useful_j
            record = Candidate(proposal.group.name, tuple(sorted(proposal.channels)), saving_j, rise, price)
            tried.append(_Tried(proposal, smaller, record))
        return tried

    def _rerun(self, network: Network, values: Values, smaller: Network, proposal: Proposal) -> Tensor:
        """Run a candidate, reusing every value that its cut leaves unchanged."""
        module = network.coupling.module
        readers = {part.node for part in proposal.group.slices if part.role == "reader"}
        changed: set[str] = set()
        beside: dict[fx.Node, None] = {}
        for node in module.graph.nodes:
            if node.op == "output":
                continue
            inexact = proposal.group.inexact and _touches(network, node, proposal.group)
            if node.name in readers or inexact or any(read.name in changed for read in node.all_input_nodes):
                changed.add(node.name)
                beside.update(dict.fromkeys(node.all_input_nodes))
        known = network.sliced_values(
            values, smaller, [n for n in beside if n.name not in changed and n.op != "get_attr"]
        )
        with torch.no_grad():
            return smaller.run(self.teacher.inputs, known=known)[0]


def _touches(network: Network, node: fx.Node, group: Group) -> bool:
    """Whether a computed value carries channels of a group."""
    seen = network.coupling.cutter.all_classes(node)
    return node.op == "call_function" and bool(torch.isin(seen, group.classes).any())
