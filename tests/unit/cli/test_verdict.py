import io
from dataclasses import replace

import pytest

from joulecut.benchmarks.records import Comparison, PairRatio, Verdict
from joulecut.cli.output import Output
from joulecut.cli.verdict import exit_code
from joulecut.estimate import exact
from joulecut.hw_models.profile import EnergyProfile
from joulecut.pruning.records import Budget, Met, PruneRecord

NOTHING = exact(0.0, "J", "assumed", "none")
PROFILE = EnergyProfile(
    "net", "reference/edge/float32", "definition", "definition", 1, NOTHING, NOTHING, NOTHING,
    exact(0.0, "s", "assumed", "none"), (),
)  # fmt: skip
RECORD = PruneRecord(
    "net", PROFILE.device, "yes", Budget(share=0.5), PROFILE, PROFILE, (), (), {}, (), comparison="Why."
)
RATIO = exact(1.2, "1", "measured", "paired")


def judged(met: Met, verdict: Verdict | None) -> tuple[int, str]:
    """Exit code and words of a run."""
    out = Output(io.StringIO(), io.StringIO())
    pair = PairRatio("a", "b", RATIO, RATIO, verdict or "same", 0.02, False, 3)
    code = exit_code(replace(RECORD, met=met), out, Comparison((), (pair,)) if verdict else None)
    assert isinstance(out.stderr, io.StringIO)
    return code, out.stderr.getvalue()


@pytest.mark.parametrize("verdict", ["faster", "same", "inconclusive", None])
def test_a_budget_that_is_met_is_success(verdict: Verdict | None) -> None:
    assert judged("yes", verdict) == (0, "")


def test_a_slower_result_fails_with_the_reason() -> None:
    assert judged("yes", "slower") == (
        1,
        "the budget is met, but the result is slower in onnxruntime. Why.\n",
    )


@pytest.mark.parametrize(("met", "code", "says"), [("no", 3, "not met"), ("unsure", 5, "is unsure")])
def test_a_budget_that_is_not_surely_met_says_so(met: Met, code: int, says: str) -> None:
    for verdict in ("faster", "slower"):
        found, said = judged(met, verdict)
        assert found == code
        assert says in said
