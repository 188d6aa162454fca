"""The examples of docs/how-to/measure.md, run as they stand."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs/how-to/measure.md"


def test_the_examples_run_and_give_what_their_comments_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 6
    names: dict[str, object] = {}
    exec("\n".join(blocks), names)
    lines = capsys.readouterr().out.splitlines()
    shown = [float(re.findall(r"\d+\.?\d*", line)[0]) for line in lines]
    assert shown[:3] == pytest.approx([400.0, 280.0, 0.8 if " mJ" not in lines[2] else 800.0], rel=0.02)
    assert (tmp_path / "training.json").exists()
