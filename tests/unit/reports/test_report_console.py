from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import report_samples as samples
from rich.console import Console

from joulecut.hw_models.catalogue import DeviceDescription
from joulecut.hw_models.explaining import Explanation, Term
from joulecut.hw_models.spec import Figure, Source
from joulecut.pruning.explaining import explain_run
from joulecut.pruning.records import PruneRecord
from joulecut.reports.console import print_comparison, print_profile, print_prune, print_prune_in_full
from joulecut.reports.device_console import print_device, print_devices, print_explanation
from joulecut.reports.run_console import print_run

GOLDEN = Path(__file__).parents[2] / "golden"

FIT = Source("fit", "twelve runs at the wall", "measured", "2026-01")
GUESS = Source("guess", "carried over from a neighbour", "assumed")
MAC = Figure("pj_per_mac_dense", 614.1, "pJ/MAC", FIT, 500.0, None)
POWER = Figure("idle_w", 2.82, "W", GUESS)


def made_up_device(name: str = "paper/none/int8") -> DeviceDescription:
    return DeviceDescription(
        name=name,
        core="2 cores",
        category="linux-board",
        boundary="wall_ac",
        mode="datasheet",
        prior_only=True,
        factor_90=3.3,
        channel_step=4,
        clock_hz=1.8e9,
        voltage_v=None,
        runtime_version="",
        note="made up",
        figures=(MAC, POWER),
        sources=(FIT, GUESS),
    )


def explanation() -> Explanation:
    return Explanation(
        subject="head.fc",
        device="paper/none/int8",
        boundary="wall_ac",
        mode="datasheet",
        formula="energy = MACs x pj_per_mac_dense",
        terms=(Term("MACs", 1e6, (MAC,), 6.141e-4, 1.0),),
        power=(POWER,),
        energy_j=6.141e-4,
        static_j=1e-4,
        duration_s=2e-3,
        scale=1.0,
        notes=("no joule of this device was measured",),
    )


def shown(show: Callable[[Console], None], width: int = 110) -> str:
    console = Console(file=StringIO(), width=width, color_system=None, force_terminal=False)
    show(console)
    assert isinstance(console.file, StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


def short_run() -> PruneRecord:
    """Six of the steps, of every kind."""
    record = samples.prune_record()
    return replace(record, steps=(*record.steps[:3], *record.steps[8:10], record.steps[-1]))


NETWORK = samples.network((16, 32, 64), staircases=True)
CASES: dict[str, Callable[[Console], None]] = {
    "profile": lambda console: print_profile(NETWORK, console, limit=8),
    "prune": lambda console: print_prune(samples.prune_record(), console, limit=5),
    "limits": lambda console: print_prune(samples.limited_record(), console, limit=2),
    "prune_in_full": lambda console: print_prune_in_full(short_run(), console),
    "run": lambda console: print_run(explain_run(short_run()), console),
    "step": lambda console: print_run(explain_run(short_run(), 10), console),
    "exchange": lambda console: print_run(explain_run(short_run(), 40), console),
    "comparison": lambda console: print_comparison(samples.comparison(), console),
    "devices": lambda console: print_devices([made_up_device(), made_up_device("b/c/d")], console),
    "device": lambda console: print_device(made_up_device(), console),
    "explanation": lambda console: print_explanation(explanation(), console),
}


@pytest.mark.parametrize("name", CASES)
def test_terminal_text_is_as_agreed(name: str) -> None:
    """JOULECUT_UPDATE_GOLDEN=1 writes the files anew; the change is reviewed like code."""
    path = GOLDEN / f"console_{name}.txt"
    text = shown(CASES[name])
    if os.environ.get("JOULECUT_UPDATE_GOLDEN") == "1":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("name", CASES)
def test_no_line_is_wider_than_the_terminal(name: str, width: int) -> None:
    assert max(map(len, shown(CASES[name], width).splitlines())) <= width


def test_energies_keep_interval_and_origin_at_80_columns() -> None:
    lines = shown(CASES["profile"], 80).splitlines()
    head = next(line for line in lines if line.startswith("Layer "))
    assert all(word in head for word in ("Energy", "90 % interval", "Origin"))
    # 64 x 64 channels, 3 x 3 kernel, 8 x 8 pixels: 2,359,296 MACs at 40 pJ, 180,224 bytes at 300 pJ.
    row = next(line for line in lines if line.startswith("layer3.0.conv2"))
    assert row.split()[5:] == ["148", "µJ", "125", "to", "176", "µJ", "modelled", "4.3", "%"]


def test_the_layers_shown_and_the_row_of_the_others_add_up() -> None:
    profile = samples.network((16, 32, 64))
    lines = shown(lambda console: print_profile(profile, console, limit=5)).splitlines()
    others = next(line for line in lines if "more layers" in line)
    assert others.startswith("32 more layers")
    ordered = sorted((layer.energy.value for layer in profile.layers), reverse=True)
    assert f"{1e3 * sum(ordered[5:]):.2f} mJ" in others


def test_hostile_names_are_printed_letter_by_letter() -> None:
    text = shown(lambda console: print_profile(samples.hostile_profile(), console), 200)
    assert "[bold red]markup[/] \\x1b[31mred\\x07" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\u2028" not in text
    assert max(map(len, text.splitlines())) <= 200


def test_a_hostile_run_prints() -> None:
    text = shown(lambda console: print_prune(samples.hostile_record(), console))
    assert "<img src=x onerror=alert(1)>, pruning run" in text
    text += shown(lambda console: print_prune_in_full(samples.hostile_record(), console))
    text += shown(lambda console: print_run(explain_run(samples.hostile_record()), console))
    text += shown(lambda console: print_run(explain_run(samples.hostile_record(), 2), console))
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_no_color_leaves_no_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(file=StringIO(), width=100, force_terminal=True)
    print_prune(samples.prune_record(), console)
    assert isinstance(console.file, StringIO)
    assert "\x1b[3" not in console.file.getvalue()


def test_unmet_and_unmeasured_are_said() -> None:
    record = replace(samples.prune_record(), met="unsure", quality=None, comparison="", steps=())
    text = shown(lambda console: print_prune(record, console))
    assert "unsure" in text
    assert "no labelled data was given" in text
    assert "not benchmarked" in text


def test_a_device_without_a_model_of_time_has_no_time() -> None:
    profile = samples.network((16, 32, 64))
    profile = replace(profile, duration=replace(profile.duration, value=0.0))
    text = shown(lambda console: print_profile(profile, console))
    assert "unknown" in next(line for line in text.splitlines() if line.startswith("Time"))
