"""``joulecut battery`` over a saved profile: figures by hand, JSON under its schema, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

import joulecut as jc
from joulecut.hw_models import estimate
from joulecut.schemas import schema_path
from joulecut.workload.layer import LayerWork, Workload

Cli = Callable[..., tuple[int, str, str]]

NET = Workload("net", (LayerWork("fc", "linear", "dense", 10**6, 0, 0, 0, (1, 1000), (1, 1000)),))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """10^6 MACs at 4 pJ on the reference device: 4 uJ, without an interval and without a time."""
    path = tmp_path / "p.json"
    jc.save(estimate(NET, "reference/edge/float32"), path)
    return path


def test_a_charge_by_hand(cli: Cli, saved: Path, tmp_path: Path) -> None:
    """1 mWh = 3.6 J; 4 uJ each 10 s and 1.6 uW asleep make 2 uW: 1.8 million s, 180,000 inferences."""
    ask = ("battery", saved, "--capacity", "1 mWh", "--every", "360/h", "--sleep", "1.6uW")
    code, text, noted = cli(*ask, "--json", "-o", tmp_path / "life.json")
    life = json.loads(text)
    jsonschema.validate(life, json.loads(schema_path("battery_life").read_text()))
    assert (code, life["life"]["unit"]) == (0, "s")
    assert life["life"]["value"] == pytest.approx(1.8e6)
    assert life["inferences"]["bounds"]["0.9"] == pytest.approx([180_000, 180_000])
    assert "saved" in noted
    again = jc.load(tmp_path / "life.json")
    assert again == jc.battery(saved, "1 mWh", every=10.0, sleep="1.6uW")
    shown = cli(*ask)[1]
    assert "180 k" in shown
    assert "20.8 days" in shown
    assert "sleep power is counted all the" in shown


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--capacity", "1200 mAh", "--every", "10s"), "add the battery's voltage"),
        (("--capacity", "1 Wh", "--every", "never"), "is not a quantity in s"),
        (("--capacity", "1 Wh"), "say how often it runs"),
        (("--capacity", "1 Wh", "--every", "10s", "--self-discharge", "200%"), "is no share"),
        (("--capacity", "1 Wh", "--every", "10s", "--sleep", "5 mJ"), "is not in W"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    cli: Cli, saved: Path, options: tuple[str, ...], said: str
) -> None:
    code, text, error = cli("battery", saved, *options)
    assert (code, text) == (2, "")
    assert said in error
    assert error.count("\n") == 1


def test_joules_at_the_wall_have_no_battery(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "wall.json"
    jc.save(estimate(NET, "raspberry-pi-4b/tflite/float32"), path)
    code, _, error = cli("battery", path, "--capacity", "1Wh", "--every", "10s")
    assert (code, "counted at the wall" in error) == (2, True)
