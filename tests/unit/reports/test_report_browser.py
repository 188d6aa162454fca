"""The page in a real Chromium: its script runs, draws, sorts and lets no name become an element."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import report_samples as samples

from joulecut.benchmarks.records import Comparison
from joulecut.hw_models.profile import EnergyProfile
from joulecut.pruning.records import Budget, PruneRecord
from joulecut.reports.html import render

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH"),
]
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=4000",
    "--window-size=1200,900",
)


def dom(page: str, folder: Path) -> str:
    """The document after its script has run, as text."""
    file = folder / "report.html"
    file.write_text(page, encoding="utf-8")
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def driven(record: EnergyProfile | PruneRecord | Comparison, actions: str) -> str:
    """The page with a few lines of script as a user's hands; without the policy, which would stop them."""
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", render(record))
    return page.replace("</body>", f"<script>{actions}</script></body>")


@pytest.mark.parametrize(
    "record",
    [samples.network((16, 32, 64), staircases=True), samples.prune_record(), samples.comparison()],
    ids=["profile", "run", "comparison"],
)
def test_script_runs_under_its_policy(
    record: EnergyProfile | PruneRecord | Comparison, tmp_path: Path
) -> None:
    text = dom(render(record), tmp_path)
    assert 'data-ready="1"' in text
    assert "data-error" not in text
    assert "<svg" in text


def test_a_budget_of_time_alone_draws_no_line(tmp_path: Path) -> None:
    record = replace(samples.prune_record(), budget=Budget(latency_s=1e-3))
    text = dom(render(record), tmp_path)
    assert 'data-ready="1"' in text
    assert "data-error" not in text
    assert 'class="budget"' not in text


def test_hostile_names_become_no_element(tmp_path: Path) -> None:
    text = dom(render(samples.hostile_record()), tmp_path)
    assert 'data-ready="1"' in text
    assert "data-error" not in text
    assert "<img" not in text
    assert "<title>owned" not in text
    assert len(re.findall(r"<script\b", text)) == 2


def test_icicle_and_staircases_are_drawn(tmp_path: Path) -> None:
    text = dom(render(samples.prune_record()), tmp_path)
    assert text.count('class="node') > 2 * 37
    assert 'aria-label="layer1.0.conv1, ' in text
    assert text.count('class="stair"') == 26
    assert text.count('class="range"') == 20
    assert 'class="budget"' in text


SORTING = """
  const heads = [...document.querySelectorAll("#layers thead th")];
  const head = heads.find((th) => th.textContent === "Energy");
  const rows = () => [...document.querySelectorAll("#layers tbody tr")];
  const note = () => {
    const energies = rows().map((row) => row.cells[6].dataset.v);
    notes.push([head.getAttribute("aria-sort"), energies.map(Number)]);
  };
  const notes = [];
  for (let clicks = 0; clicks < 4; clicks++) { note(); head.firstChild.click(); }
  document.body.dataset.notes = JSON.stringify(notes);
"""


def test_heads_sort_by_figure_down_up_and_back(tmp_path: Path) -> None:
    profile = samples.network((16, 32, 64))
    text = dom(driven(profile, SORTING), tmp_path)
    notes = json.loads(html.unescape(re.findall(r'data-notes="([^"]*)"', text)[0]))
    assert [order for order, _ in notes] == [None, "descending", "ascending", None]
    first, down, up, back = (energies for _, energies in notes)
    every = [
        *(layer.energy.value for layer in profile.layers),
        profile.idle.value,
        profile.unattributed.value,
    ]
    assert first == back == pytest.approx(every, rel=1e-5)
    assert down == sorted(first, reverse=True)
    assert up == sorted(first)


ZOOMING = """
  const name = (one) => one.getAttribute("aria-label").split(",")[0];
  const node = (path) => [...document.querySelectorAll(".node")].find((one) => name(one) === path);
  const press = (key) => {
    const event = new KeyboardEvent("keydown", { key, bubbles: true });
    document.activeElement.dispatchEvent(event);
  };
  const note = (key) => {
    const rows = [...document.querySelectorAll("#layers-after tbody tr")];
    const shown = rows.filter((row) => !row.hidden).length;
    document.body.dataset[key] = `${shown} ${name(document.activeElement)}`;
  };
  node("layer2.1").focus();
  press("Enter"); note("inside");
  press("ArrowDown"); press("ArrowRight"); note("below");
  press("Escape"); note("outside");
"""


def test_choosing_a_module_zooms_and_filters_and_escape_goes_back(tmp_path: Path) -> None:
    text = dom(driven(samples.prune_record(), ZOOMING), tmp_path)
    assert "data-error" not in text
    assert 'data-inside="3 layer2.1"' in text
    assert 'data-below="3 layer2.1.conv2"' in text
    assert 'data-outside="39 layer2.1.conv2"' in text
