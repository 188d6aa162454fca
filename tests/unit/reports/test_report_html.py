from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import report_samples as samples

from joulecut.benchmarks.records import Comparison
from joulecut.hw_models.profile import EnergyProfile
from joulecut.pruning.records import Budget, PruneRecord
from joulecut.reports.html import embed, render
from joulecut.reports.sections import report_of

RECORDS: dict[str, EnergyProfile | PruneRecord | Comparison] = {
    "profile": samples.network((16, 32, 64), staircases=True),
    "prune": samples.prune_record(),
    "limits": samples.limited_record(),
    "comparison": samples.comparison(),
    "hostile profile": samples.hostile_profile(),
    "hostile run": samples.hostile_record(),
}
VOID = {"meta", "br", "col"}


class Page(HTMLParser):
    """Elements, texts and attributes of a page; end tags must match."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: Counter[str] = Counter()
        self.attributes: Counter[str] = Counter()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.rows: list[list[str]] = []
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.style = ""
        self.policy = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        found = dict(attrs)
        self.attributes.update(list(found))
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found.get("content") or ""
        if identifier := found.get("id"):
            self.ids.append(identifier)
        self.links.extend(found[key] or "" for key in ("href", "src") if key in found)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append((tag, found))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        tag, attributes = self.open[-1] if self.open else ("", {})
        if tag == "script":
            self.scripts[attributes.get("type") or "script"] = data
        elif tag == "style":
            self.style += data
        elif tag in ("td", "th"):
            self.rows[-1][-1] += data


def digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@pytest.mark.parametrize("name", RECORDS)
def test_page_is_well_formed_and_needs_no_network(name: str) -> None:
    text = render(RECORDS[name])
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert "url(" not in page.style.replace("url(#", "")
    assert re.findall(r"https?://[^\s\"'<]+", text) == [
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xhtml",
    ]
    text.encode()


@pytest.mark.parametrize("name", RECORDS)
def test_policy_allows_this_script_and_this_style_only(name: str) -> None:
    page = Page(render(RECORDS[name]))
    assert page.policy.split("; ") == [
        "default-src 'none'",
        f"script-src {digest(page.scripts['script'])}",
        f"style-src {digest(page.style)}",
        "base-uri 'none'",
    ]
    assert not any(key.startswith("on") or key == "style" for key in page.attributes)


@pytest.mark.parametrize("name", RECORDS)
def test_embedded_data_round_trips(name: str) -> None:
    page = Page(render(RECORDS[name]))
    expected = json.loads(json.dumps(report_of(RECORDS[name]).figures))
    assert json.loads(page.scripts["application/json"]) == expected


def test_hostile_names_create_no_element() -> None:
    hostile, plain = Page(render(RECORDS["hostile run"])), Page(render(RECORDS["prune"]))
    assert set(hostile.elements) <= set(plain.elements)
    assert hostile.elements["script"] == 2
    assert hostile.elements["img"] == 0
    assert any(row[0] == "<img src=x onerror=alert(1)>" for row in hostile.rows if row)


def test_embed_leaves_nothing_that_ends_the_element() -> None:
    value = {"</script>": "<!--\u2028&\u2029]]>"}
    text = embed(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value


def test_embed_refuses_what_json_cannot_hold() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        embed(float("inf"))


def test_run_shows_budget_accuracy_latency_and_refusals() -> None:
    text = render(RECORDS["prune"])
    for phrase in (
        "asked for 50.0 % of the original, accuracy of at least 96.0 %".replace("50.0 %", "50.0\u00a0%"),
        "−0.3 points",
        "model.py:88",
        "stm32h743/cmsis-nn/int8",
        "batch norm recalibrated",
    ):
        assert phrase.replace("96.0 %", "96.0\u00a0%") in text


def test_each_step_folds_what_else_was_at_hand_below_why_it_won() -> None:
    text = render(RECORDS["prune"]).replace("\u00a0", " ")
    why = "least loss per joule: 4.18 against 10.5 of 4 filters of stem.conv, the next"
    others = "".join(
        f"<li>{line}</li>"
        for line in (
            "4 filters of stem.conv: saves 19.1 µJ, adds 0.0002, price 10.5",
            "1 node of head.fc1: saves 4.78 µJ, adds 0.0002, price 41.8",
        )
    )
    assert f"<details><summary>{why}</summary><ul>{others}</ul></details>" in text
    assert text.count("<details><summary>least loss per joule: ") == 39
    assert "block layer1.3" in text
    exchange = "exchange: 4 channels of stem.conv put back, and the held-out loss falls from 0.2412 to 0.2372"
    assert f">{exchange}</td>" in text


def test_every_limit_has_its_figure_and_its_verdict() -> None:
    page = render(RECORDS["limits"]).replace("\u00a0", " ")
    assert '<dt>Budget</dt><dd class="bad">not met</dd>' in page
    assert "2 of 4 limits met at 90 % confidence" in page
    assert '<dt>Limit: latency</dt><dd class="unsure">unsure</dd>' in page
    assert "at most 1.45 ms; reached 1.44 ms [1.41 to 1.47 ms] measured" in page
    assert "at most 50.0 % of the original; reached 49.1 % [48.6 to 49.7 %] modelled" in page
    assert '<dt>Limit: memory peak</dt><dd class="bad">not met</dd>' in page


def test_classes_trainings_and_notes_are_there() -> None:
    page = Page(render(RECORDS["prune"]))
    rows = {row[0]: row[1:] for row in page.rows if row and row[:2] != ["1", "4 filters of layer2.1.conv1"]}
    assert rows["1"][:5] == ["130", "94.2 %", "92.2 % to 96.2 %", "93.9 %", "91.9 % to 95.9 %"]
    assert rows["fine-tune"][-2:] == ["rolled back", "modelled on generic-x86-64-avx2/any/float32"]
    assert rows["Memory peak"] == ["at least 1.78 MB, modelled", "at least 842 kB, modelled", "47.4 % left"]
    assert any(row and row[0].startswith("The weights of the fine-tune") for row in page.rows)


def test_a_budget_without_joules_has_no_line_to_reach() -> None:
    record = replace(samples.prune_record(), budget=Budget(latency_s=1e-3))
    assert report_of(record).figures["path"]["budget"] is None
    assert report_of(samples.prune_record()).figures["path"]["budget"]["x"] == 0.5


def test_layers_are_in_the_order_of_execution_with_their_figures() -> None:
    profile = samples.network((16, 32, 64))
    rows = [row for row in Page(render(profile)).rows if row and row[0].startswith(("stem.", "layer"))]
    assert [row[0] for row in rows] == [layer.path for layer in profile.layers[:-1]]
    # 3 x 16 channels, 3 x 3 kernel, 32 x 32 pixels: 432 weights, 442,368 MACs, 77,824 bytes of activations;
    # 40 pJ a MAC and 300 pJ a byte make 41.56 uJ.
    assert rows[0][:7] == ["stem.conv", "conv2d", "3 × 16", "442 k", "1.73 kB", "77.8 kB", "41.6 µJ"]


def test_run_without_steps_data_or_refusals_renders() -> None:
    bare = replace(
        samples.prune_record(), steps=(), refused=(), kept={}, rows=(), quality=None, comparison="", also={}
    )
    page = Page(render(bare))
    assert not {"steps", "refused", "kept", "stages", "quality", "also"} & set(page.ids)


def test_page_stays_small() -> None:
    text = render(samples.network((16, 32, 64)))
    page = Page(text)
    assert len(page.scripts["script"]) + len(page.style) < 40_000
    assert len(text.encode()) < 80_000
