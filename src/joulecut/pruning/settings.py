"""Settings of the search and of the refits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from joulecut.pruning.rankings import Ranking, WeightScore

__all__ = ["Effort", "RefitSettings", "SearchSettings", "Strategy", "search_settings"]

Effort = Literal["quick", "full"]
Strategy = Literal["channels", "nodes", "blocks", "weights", "auto"]


@dataclass(frozen=True, slots=True)
class RefitSettings:
    """How a refit samples and solves.

    Attributes:
        rows: most rows (samples x positions) of one layer's problem.
        ridge: pull towards the weights before, relative to the mean diagonal of the Gram; 1e-5 to 1e-2
            measured equal with 10 or more rows per unknown.
        passes: how often the target is set anew for the side where a ReLU cuts off.
        sensitivity: how far a row's weight follows the loss gradient that reaches it (0: all rows weigh the
            same). A position of the background may be wrong at no cost; measured on nine channel sets of
            a ResNet-8, 0.5 takes 0.0 to 0.1, 0.3 and 0.6 points off the loss at 50, 30 and 20 % energy; 0.9
            adds to it.
        draws: labels drawn from the original's predictions for each sample, for those gradients.
    """

    rows: int = 20_000
    ridge: float = 1e-3
    passes: int = 2
    sensitivity: float = 0.5
    draws: int = 2


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How the search looks for its next removal.

    Attributes:
        samples: calibration samples of the search; as many again, twice, score the exchanges.
        final_samples: calibration samples of the last refit.
        refit_every: removals between two sequential refits.
        shortlist: candidates whose true loss is measured at each step. In 93 of 98 steps of a
            ResNet-8 and a DS-CNN the winner is among the first four; asking all saved no accuracy.
        gram_rows: rows of the Grams behind the proposals.
        gradient_samples: samples behind the gradient covariance.
        ridge: ridge of the proposals.
        refit: settings of the refits on the way.
        exchange_rounds: most exchanges at the end; 0 leaves them out.
        exchange_trials: most end points that one exchange compares.
        exchange_macs: most multiply-accumulate operations that all exchanges may run, so that a large network
            does not spend hours on them.
        seed: for sampled labels.
        strategy: what may go: ``channels`` (nodes are channels, too), ``nodes``, ``blocks``, ``weights`` or
            ``auto``, all of them.
        layer: the only layer whose channels, nodes or weights may go; "" for all.
        effort: ``full`` measures the loss of the best candidates of every step; ``quick`` cuts along a
            ranking and refits a few times.
        ranking: what ranks the channels, by name or as a function; one that is named is cut along as with
            ``quick``. "" for the search's own: least squares with ``full``, ``fisher`` with ``quick``.
        fit_labels: the last layer may be solved on the labels of the calibration samples; validation decides.
    """

    samples: int = 2048
    final_samples: int = 8192
    refit_every: int = 2
    shortlist: int = 4
    gram_rows: int = 6_000
    gradient_samples: int = 512
    ridge: float = 1e-3
    refit: RefitSettings = field(default_factory=lambda: RefitSettings(rows=6_000))
    exchange_rounds: int = 6
    exchange_trials: int = 8
    exchange_macs: float = 5e12
    seed: int = 0
    strategy: Strategy = "channels"
    layer: str = ""
    effort: Effort = "full"
    ranking: str | Ranking | WeightScore = ""
    fit_labels: bool = False


def search_settings(effort: Effort, **others: Any) -> SearchSettings:
    """The settings of an effort: ``quick`` refits on fewer samples, as it saves at the search already.

    Args:
        effort: how hard to look.
        others: further fields of ``SearchSettings``.

    >>> search_settings("quick").final_samples, search_settings("full", seed=3).seed
    (2048, 3)
    """
    if effort == "quick":
        others = {"samples": 1024, "final_samples": 2048, **others}
    return SearchSettings(effort=effort, **others)
