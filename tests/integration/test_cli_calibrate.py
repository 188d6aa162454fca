"""joulecut calibrate, as a stranger uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Cli, assert_refused

import joulecut as jc

NETS = "joulecut.benchmarks.networks"
TABLE = f"""model,input,energy,latency
{NETS}.autoencoder:autoencoder_machine_sound,1x640,210 uJ,5.2 ms
{NETS}.digits_cnn:digits_cnn,1x1x8x8,150uJ,
"""
HEAD = f"model,input,energy\n{NETS}.digits_cnn:digits_cnn,1x1x8x8,"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(TABLE)
    return path


def test_from_a_table_to_a_device_that_profiles(cli: Cli, table: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    code, printed, said = cli(
        "calibrate", "nucleo-l4r5zi/x-cube-ai/int8", str(table), "--name", "mine", "-o", str(file)
    )
    assert code == 0
    assert "calibrated-2" in printed
    assert "Measured over fitted" in printed
    assert "use it with --device" in said
    spec = jc.device(str(file))
    assert spec.name == "mine/x-cube-ai/int8"
    assert spec.calibration is not None
    assert [row.latency_s for row in spec.calibration.rows] == [0.0052, None]
    net = f"{NETS}.autoencoder:autoencoder_machine_sound"
    code, printed, _ = cli("profile", net, "--input", "1x640", "--device", str(file), "--json")
    assert code == 0
    assert json.loads(printed)["total"]["value"] == pytest.approx(210e-6, rel=0.1)
    assert json.loads(printed)["mode"] == "calibrated-2"


def test_json_holds_rows_and_residuals(cli: Cli, table: Path) -> None:
    code, printed, _ = cli("calibrate", "nucleo-l4r5zi/x-cube-ai/int8", str(table), "--json")
    assert code == 0
    found = json.loads(printed)
    assert [row["energy_j"] for row in found["calibration"]["rows"]] == [210e-6, 150e-6]
    assert found["calibration"]["prior"] == "nucleo-l4r5zi/x-cube-ai/int8"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n", "is no table of measured networks. Its first line names: model, input,"),
        ("model,energy\n,1 mJ\n", "line 2 names no model"),
        (HEAD + "1 mW\n", "line 2, energy: '1 mW' is not in J"),
        (HEAD + "0 mJ\n", "is not a positive number"),
        ("model,energy\n", "takes 1 to 16 rows, not 0"),
        (TABLE + TABLE.splitlines()[1], "rows 1 and 3 are the same"),
    ],
)  # fmt: skip
def test_tables_that_say_nothing(cli: Cli, tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    assert_refused(cli("calibrate", "nucleo-l4r5zi/x-cube-ai/int8", str(path)), 2, says)


def test_a_modelled_profile_is_no_measurement(cli: Cli, tmp_path: Path) -> None:
    saved = tmp_path / "p.json"
    net = f"{NETS}.digits_cnn:digits_cnn"
    cli("profile", net, "--input", "1x1x8x8", "--device", "reference/edge/float32", "-o", str(saved))
    assert_refused(
        cli("calibrate", "nucleo-l4r5zi/x-cube-ai/int8", str(saved)), 2, "was modelled (definition)"
    )
    assert_refused(cli("calibrate", "nucleo-l4r5zi/x-cube-ai/int8", "none.csv"), 2, "cannot read none.csv")
