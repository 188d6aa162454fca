"""Why a pruning run did what it did: every step with what else was at hand, and why it won."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from joulecut.errors import UsageError
from joulecut.pruning.records import Candidate, Kind, PruneRecord, PruneStep, Refusal

__all__ = ["ExplainedStep", "PruneExplanation", "explain_run", "explained", "move", "removal"]

_ONE_OF: Final[dict[Kind, tuple[str, str]]] = {"channels": ("filter", "filters"), "nodes": ("node", "nodes")}
_WHOLE: Final[dict[Kind, str]] = {"block": "block", "layer": "layer", "weights": "weights of"}
_LONGEST: Final = 64


@dataclass(frozen=True, slots=True)
class ExplainedStep:
    """A step in words.

    Attributes:
        moved: what went, as "4 filters of stem.conv", and what came back.
        why: why that and nothing else, a sentence without its full stop.
        step: its figures.
    """

    moved: str
    why: str
    step: PruneStep


@dataclass(frozen=True, slots=True)
class PruneExplanation:
    """Why a run did what it did.

    Attributes:
        model: name of the network.
        device: device that priced it.
        budget: what was asked for, in words.
        steps: the steps that were asked about, in order.
        count: how many steps the run took.
        refused: channels that had to stay, each with its reason, operation and source line.
        notes: what else there is to know.
    """

    model: str
    device: str
    budget: str
    steps: tuple[ExplainedStep, ...]
    count: int
    refused: tuple[Refusal, ...]
    notes: tuple[str, ...] = ()


def explain_run(record: PruneRecord, step: int | None = None) -> PruneExplanation:
    """Explain all steps of a run, or one.

    Args:
        record: a finished run.
        step: the index of a step; all by default.

    Raises:
        UsageError: the run has no such step.
    """
    chosen = tuple(one for one in record.steps if step is None or one.index == step)
    if step is not None and not chosen:
        there = [one.index for one in record.steps]
        known = f"they are {there[0]} to {there[-1]}" if there else "it took none"
        raise UsageError(f"the run has no step {step}; {known}.", hint="Leave --step out to see them all.")
    return PruneExplanation(
        model=record.model,
        device=record.device,
        budget=str(record.budget),
        steps=tuple(explained(one) for one in chosen),
        count=len(record.steps),
        refused=record.refused if step is None else (),
        notes=record.notes if step is None else (),
    )


def removal(candidate: Candidate) -> str:
    """What a candidate takes, in words.

    >>> removal(Candidate("stem.conv", (1, 2), 1e-6, 0.1, 1e5))
    '2 filters of stem.conv'
    >>> removal(Candidate("layer2.0", (), 1e-6, 0.1, 1e5, "block"))
    'block layer2.0'
    """
    name = candidate.group
    if not name:
        return "nothing"
    if len(name) > _LONGEST:
        name = f"{name[: _LONGEST // 2]}…{name[-_LONGEST // 2 :]}"
    if candidate.kind in _WHOLE:
        return f"{_WHOLE[candidate.kind]} {name}"
    one, several = _ONE_OF[candidate.kind]
    count = len(candidate.channels)
    return f"{count or ''} {one if count == 1 else several} of {name}".lstrip()


def move(step: PruneStep) -> str:
    """What a step takes, and what it puts back.

    >>> from joulecut.estimate import exact
    >>> nothing, back = Candidate("", (), 0.0, 0.0, 0.0), Candidate("a", (0, 1), -1e-6, -0.1, -0.1)
    >>> total = exact(0.1, "J", "assumed", "demo")
    >>> move(PruneStep(7, nothing, (), "refill", total, 0.9, 0.5, None, 0.1, back))
    '2 filters of a come back'
    """
    if step.put_back is None:
        return removal(step.taken)
    back = f"{removal(step.put_back)} come back"
    return f"{removal(step.taken)}; {back}" if step.taken.group else back


def explained(step: PruneStep) -> ExplainedStep:
    """A step in words.

    >>> from joulecut.estimate import exact
    >>> taken, other = Candidate("a", (0,), 1e-3, 0.02, 20.0), Candidate("b", (0, 1), 1e-3, 0.03, 30.0)
    >>> total = exact(0.1, "J", "assumed", "demo")
    >>> explained(PruneStep(0, taken, (other,), "least loss per joule", total, 0.9, 0.5, None, 0.1)).why
    'least loss per joule: 20 against 30 of 2 filters of b, the next'
    """
    return ExplainedStep(move(step), _why(step), step)


def _why(step: PruneStep) -> str:
    if step.put_back is not None:
        return step.reason
    if not step.runners_up:
        return f"{step.reason}; nothing else could go"
    follower = min(step.runners_up, key=lambda one: one.price)
    if step.taken.price > 0 and follower.price > 0:
        prices = f"{_number(step.taken.price)} against {_number(follower.price)}"
        return f"{step.reason}: {prices} of {removal(follower)}, the next"
    other = f"with {removal(follower)}, the next, it {_moves(follower)}"
    return f"{step.reason}: the loss {_moves(step.taken)}; {other}"


def _moves(candidate: Candidate) -> str:
    if candidate.loss == 0:
        return "stays"
    return f"{'rises' if candidate.loss > 0 else 'falls'} by {_number(abs(candidate.loss))}"


def _number(amount: float) -> str:
    return f"{float(f'{amount:.3g}'):,g}"
