"""Why a pruning run did what it did, on the terminal: all steps in a table, or one of them in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulecut.pruning.explaining import ExplainedStep, PruneExplanation
from joulecut.reports.prune_tables import refused_table
from joulecut.reports.steps_tables import candidates_table
from joulecut.reports.terminal import print_facts, print_heading, print_note, print_notes, print_table
from joulecut.reports.text import describe, number, printable, quantity
from joulecut.reports.view import Fact

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_run"]


def print_run(explanation: PruneExplanation, console: Console) -> None:
    """Print every step with what else was at hand, then what had to stay; or one step, in words."""
    title = f"{printable(explanation.model)}, {explanation.count} step{'s' if explanation.count != 1 else ''}"
    asked = f"to {printable(explanation.budget)}, on {printable(explanation.device)}"
    print_heading(title, asked, console)
    if len(explanation.steps) == 1:
        _print_step(explanation.steps[0], console)
    elif explanation.steps:
        print_note("\nLoss is that of the calibration samples, in nats; the least price wins.", console)
    print_table(candidates_table(tuple(one.step for one in explanation.steps)), console)
    print_table(refused_table(explanation.refused), console)
    print_notes(explanation.notes, console)


def _print_step(explained: ExplainedStep, console: Console) -> None:
    step = explained.step
    taken = step.taken
    loss = f"calibration loss {number(step.calibration_loss)} after it"
    facts = [
        Fact(f"Step {step.index}", printable(explained.moved), printable(explained.why)),
        Fact("Saves", quantity(taken.saving_j, "J"), f"{describe(step.total)} left"),
        Fact("Left of the original", quantity(step.share, "1")),
        Fact("Loss added", number(taken.loss), loss),
    ]
    if step.accuracy is not None:
        facts.append(Fact("Validation accuracy", quantity(step.accuracy, "1"), "on a part of the samples"))
    print_facts(tuple(facts), console)
