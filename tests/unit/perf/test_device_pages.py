"""The committed device pages are what the generator writes, and say first what stands behind them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from perf.device_pages import FOLDER, pages
from perf.device_plot import validation_svg

from joulecut.hw_models.catalogue import all_devices

PAGES = pages()


def test_the_committed_pages_are_up_to_date() -> None:
    kept = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.*")}
    stale = sorted(name for name in {*kept, *PAGES} if kept.get(name) != PAGES.get(name))
    assert not stale, "run `python -m perf.device_pages`"


@pytest.mark.parametrize("chip", sorted({spec.chip for spec in all_devices()}))
def test_the_first_line_says_whether_energy_was_measured(chip: str) -> None:
    specs = [spec for spec in all_devices() if spec.chip == chip]
    first = PAGES[f"{chip}.md"].splitlines()[0]
    assert ("prior only" in first) == all(spec.prior_only for spec in specs)
    assert ("measured energy stands behind" in first) == any(
        not spec.prior_only and spec.mode != "definition" for spec in specs
    )
    assert f"[{chip}]({chip}.md)" in PAGES["README.md"]


def test_every_figure_is_on_its_page_with_unit_and_source() -> None:
    for spec in all_devices():
        text = PAGES[f"{spec.chip}.md"]
        for figure in spec.figures.values():
            assert re.search(
                rf"\| {figure.key} \| [\d.,e+-]+ {re.escape(figure.unit)} \|.*\| {figure.source.id} \|", text
            )
            assert f"**{figure.source.id}**" in text


def test_every_plot_is_shown_and_well_formed() -> None:
    plots = [name for name in PAGES if name.endswith(".svg")]
    assert len(plots) >= 20
    pointed = {name for text in PAGES.values() for name in re.findall(r"\]\(([^)]+\.svg)\)", text)}
    assert pointed == set(plots)
    for name in plots:
        ET.fromstring(PAGES[name])


def test_a_perfect_prediction_lies_on_the_line() -> None:
    root = ET.fromstring(validation_svg("demo", [("a", 1e-3, 1e-3), ("b", 1e-1, 1e-1)], 2.0))
    dots = [node for node in root if node.tag.endswith("circle")]
    assert [float(node.get("cx", 0)) + float(node.get("cy", 0)) for node in dots] == pytest.approx([360, 360])
