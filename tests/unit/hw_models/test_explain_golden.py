"""What ``explain`` says of a layer and of a network, word for word.

The board and the core are the tests' own (``hw_devices``): new figures of real devices change nothing here.
By hand, for the layer on the board: 32,768 MACs at 600 pJ are 19.7 uJ, 2,176 bytes at 1.5 nJ 3.26 uJ,
12,288 at 2.5 nJ 30.7 uJ; with 400 uJ a layer 454 uJ, which take 90.7 us at 5 W, 181 uJ of them at 2 W idle.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from hw_devices import BOARD, CORE
from hw_networks import add, conv, depthwise, linear
from rich.console import Console

import joulecut as jc
from joulecut.hw_models import estimate, explain
from joulecut.hw_models.spec import DeviceSpec
from joulecut.hw_models.writing import to_toml
from joulecut.reports.device_console import print_explanation
from joulecut.workload.layer import Workload

GOLDEN = Path(__file__).parents[2] / "golden"
NET = Workload(
    "little",
    (
        conv("c", 8, 8, 16, 32, 1),
        depthwise("d", 8, 32),
        add("a", 8, 32),
        linear("fc", 32, 10, writes_output=True),
    ),
)


@pytest.mark.parametrize("spec", [BOARD, CORE], ids=["board", "core"])
@pytest.mark.parametrize(("name", "path"), [("layer", "c"), ("network", "")])
def test_explanations_are_as_agreed(name: str, path: str, spec: DeviceSpec) -> None:
    """JOULECUT_UPDATE_GOLDEN=1 writes the files anew; the change is reviewed like code."""
    console = Console(file=StringIO(), width=110, color_system=None, force_terminal=False)
    print_explanation(explain(NET, path, device=spec), console)
    assert isinstance(console.file, StringIO)
    text = "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"
    kept = GOLDEN / f"explain_{name}_{'core' if spec is CORE else 'board'}.txt"
    if os.environ.get("JOULECUT_UPDATE_GOLDEN") == "1":
        kept.write_text(text, encoding="utf-8")
    assert text == kept.read_text(encoding="utf-8")


def test_a_device_file_of_ones_own_is_explained_on_the_command_line(
    cli: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    profile, file = tmp_path / "p.json", tmp_path / "board.toml"
    jc.save(estimate(NET, BOARD), profile)
    file.write_text(to_toml([BOARD]), encoding="utf-8")
    code, _, error = cli("explain", profile, "c")
    assert (code, "unknown device 'board/rt/float32'" in error) == (2, True)
    code, text, _ = cli("explain", profile, "c", "--device", file)
    assert (code, "600 pJ/MAC" in text) == (0, True)
