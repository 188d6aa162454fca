"""``joulecut explain`` and ``joulecut report`` on a pruning run, and the sentences that they are made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import report_samples as samples
from jsonschema import Draft202012Validator

import joulecut as jc
from joulecut.errors import UsageError
from joulecut.estimate import exact
from joulecut.pruning.explaining import explain_run, explained, move, removal
from joulecut.pruning.records import Candidate, PruneStep
from joulecut.reports.sections import report_of
from joulecut.reports.steps_tables import steps_table
from joulecut.schemas import schema_path

Cli = Callable[..., tuple[int, str, str]]
TOTAL = exact(1e-3, "J", "assumed", "demo")


def step(taken: Candidate, *others: Candidate, reason: str = "least loss per joule") -> PruneStep:
    return PruneStep(3, taken, others, reason, TOTAL, 0.9, 0.4, None, 0.1)


def candidate(group: str, loss: float, price: float) -> Candidate:
    return Candidate(group, (0, 1), 1e-3, loss, price)


@pytest.mark.parametrize(
    ("kind", "channels", "words"),
    [
        ("channels", (1, 2, 3), "3 filters of a.b"),
        ("channels", (1,), "1 filter of a.b"),
        ("nodes", (1, 2), "2 nodes of a.b"),
        ("nodes", (7,), "1 node of a.b"),
        ("block", (), "block a.b"),
        ("layer", (), "layer a.b"),
        ("weights", (), "weights of a.b"),
    ],
)
def test_every_kind_of_removal_has_its_words(kind: str, channels: tuple[int, ...], words: str) -> None:
    assert removal(Candidate("a.b", channels, 1.0, 0.1, 0.1, kind)) == words  # type: ignore[arg-type]


def test_a_name_without_end_is_cut_in_the_middle() -> None:
    words = removal(Candidate("x" * 5_000 + ".end", (), 1.0, 0.1, 0.1, "block"))
    assert len(words) < 80
    assert words.endswith(".end")


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (
            step(candidate("a", 0.02, 20.0), candidate("b", 0.04, 40.0), candidate("c", 0.03, 30.0)),
            "least loss per joule: 20 against 30 of 2 filters of c, the next",
        ),
        (
            step(candidate("a", -0.002, -2e-6), candidate("b", 0.04, 40.0)),
            "least loss per joule: the loss falls by 0.002; with 2 filters of b, the next, it rises by 0.04",
        ),
        (
            step(candidate("a", 0.0, 0.0), candidate("b", -0.0, 0.0), reason="lowest score"),
            "lowest score: the loss stays; with 2 filters of b, the next, it stays",
        ),
        (step(candidate("a", 0.02, 20.0)), "least loss per joule; nothing else could go"),
        (
            replace(
                step(candidate("a", 0.02, 20.0), candidate("b", 0.04, 40.0), reason="exchange: a for b"),
                put_back=candidate("b", -0.1, -0.1),
            ),
            "exchange: a for b",
        ),
    ],
)
def test_why_a_step_won(made: PruneStep, why: str) -> None:
    assert explained(made).why == why


def test_a_step_may_only_put_back() -> None:
    """A refill takes nothing, and what comes back may be of several groups."""
    nothing, back = Candidate("", (), 0.0, -0.01, -0.01), Candidate("a, b", (), -1e-6, -0.01, -0.01)
    refill = replace(step(nothing, reason="refill: room for both"), put_back=back)
    assert move(refill) == "filters of a, b come back"
    assert move(replace(refill, put_back=candidate("a", -0.1, -0.1))) == "2 filters of a come back"
    record = replace(samples.prune_record(), steps=(refill,))
    cells = steps_table(record.steps, TOTAL).rows[0]
    assert [cell.text for cell in cells[1:5]] == ["filters of a, b come back", "–", "-0.01", "–"]
    assert report_of(record).figures["path"]["points"][0]["t"].startswith("step 3: filters of a, b come back")


def test_one_step_is_asked_for_and_a_missing_one_refused() -> None:
    record = samples.prune_record()
    assert [one.step.index for one in explain_run(record).steps] == list(range(1, 41))
    only = explain_run(record, 10)
    assert [one.moved for one in only.steps] == ["block layer1.3"]
    assert (only.count, only.refused, only.notes) == (40, (), ())
    with pytest.raises(UsageError, match="the run has no step 99; they are 1 to 40"):
        explain_run(record, 99)
    with pytest.raises(UsageError, match="the run has no step 0; it took none"):
        explain_run(replace(record, steps=()), 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "small"
    path.mkdir()
    jc.save(samples.prune_record(), path / "result.json")
    return path


def test_a_result_folder_is_explained(cli: Cli, folder: Path) -> None:
    code, printed, _ = cli("explain", folder)
    assert code == 0
    lines = printed.splitlines()
    assert lines[0] == "resnet-26, 40 steps"
    assert sum(line.lstrip().startswith("or 4 filters of") for line in lines) == 39
    assert "model.py:88" in printed
    code, printed, _ = cli("explain", folder, "--step", 10)
    assert code == 0
    assert "block layer1.3" in printed
    assert "layer2.1.conv1" not in printed


def test_the_json_of_an_explanation_holds_figures_and_reasons(cli: Cli, folder: Path) -> None:
    code, printed, _ = cli("explain", folder, "--step", 1, "--json")
    assert code == 0
    found = json.loads(printed)
    schema = json.loads(schema_path("prune_explanation").read_text())
    assert list(Draft202012Validator(schema).iter_errors(found)) == []
    (one,) = found["steps"]
    assert one["why"] == "least loss per joule: 4.18 against 10.5 of 4 filters of stem.conv, the next"
    assert one["step"]["runners_up"][1]["kind"] == "nodes"
    assert jc.explain_steps(folder, 1) == explain_run(samples.prune_record(), 1)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--step", "99"), "no step 99"),
        (("--step", "1", "stem.conv"), "steps are those of a pruning run"),
        (("no.such.layer",), "'no.such.layer'"),
    ],
)
def test_what_is_not_there_is_refused_in_one_sentence(
    cli: Cli, folder: Path, more: tuple[str, ...], says: str
) -> None:
    if more[0].startswith("--step") and len(more) == 3:
        more = (more[2], *more[:2])
    code, printed, said = cli("explain", folder, *more)
    assert (code, printed) == (2, "")
    assert says in said
    assert said.count("\n") == 1


def test_a_layer_of_the_result_is_explained_too(cli: Cli, folder: Path) -> None:
    code, printed, _ = cli("explain", folder, "stem.conv")
    assert code == 0
    assert printed.startswith("stem.conv")


def test_a_profile_has_no_steps(cli: Cli, tmp_path: Path) -> None:
    jc.save(samples.network((16, 32, 64)), tmp_path / "p.json")
    code, _, said = cli("explain", tmp_path / "p.json", "--step", 1)
    assert code == 2
    assert "steps are those of a pruning run" in said
    with pytest.raises(UsageError, match="is no pruning run"):
        jc.explain_steps(tmp_path / "p.json")


def test_the_report_is_compact_and_in_full_with_v(cli: Cli, folder: Path) -> None:
    compact, full = cli("report", folder)[1], cli("report", folder, "-v")[1]
    assert "and 28 more" in compact
    assert "or 4 filters of stem.conv" not in compact
    assert sum(line.lstrip().startswith("or 4 filters of") for line in full.splitlines()) == 39
    assert "more\n" not in full
