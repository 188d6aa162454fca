"""The command line from end to end, on small networks and the bundled digits."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import DEVICE, Cli, assert_refused
from jsonschema import Draft202012Validator

from joulecut.schemas import schema_path

NETWORK = '''
import torch
from torch import nn

print("a model that chats while it is loaded")


class Odd(nn.Module):
    def __init__(self, name):
        super().__init__()
        self.add_module(name, nn.Conv2d(1, 4, 1))

    def forward(self, x):
        return next(self.children())(x)


def hand():
    """A convolution 1x1 from 2 to 4 channels on 3x3: 72 MACs, 48 B of weights, 72 + 144 B of activations."""
    return nn.Sequential(nn.Conv2d(2, 4, 1))


def hostile():
    return Odd("\\x1b[2J<script>alert(1)</script>" + "x" * 10_000)


def by_value():
    class Branch(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    return Branch()


def broken():
    raise RuntimeError("no weights here")
'''
HAND_J = 72 * 4e-12 + (48 + 72 + 144) * 20e-12
"""Joules of ``hand`` on the reference device: 4 pJ per MAC and 20 pJ per byte."""


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A file with networks in it."""
    path = tmp_path / "net.py"
    path.write_text(NETWORK)
    return path


def valid(text: str, name: str) -> dict[str, Any]:
    """Printed or saved JSON that keeps to its published schema."""
    plain: dict[str, Any] = json.loads(text)
    Draft202012Validator(json.loads(schema_path(name).read_text())).validate(plain)
    return plain


def test_devices_lists_all_and_shows_one_whole(cli: Cli) -> None:
    code, listed, _ = cli("devices", "--json")
    names = [device["name"] for device in json.loads(listed)["devices"]]
    assert code == 0
    assert DEVICE in names
    assert len(names) >= 7
    assert DEVICE in cli("devices")[1]
    assert "4 pJ/MAC" in cli("devices", DEVICE)[1]
    shown = valid(cli("devices", DEVICE, "--json")[1], "device_description")
    assert all(figure["source"]["text"] for figure in shown["figures"])


def test_devices_import_nothing_heavy(modules_of: Callable[[list[str]], set[str]]) -> None:
    loaded = modules_of(["devices"])
    assert "joulecut.hw_models.catalogue" in loaded
    assert not loaded & {"torch", "numpy", "onnx", "onnxruntime", "scipy"}


def test_an_unknown_device_has_close_names(cli: Cli) -> None:
    assert_refused(cli("devices", "reference/edge/float23"), 2, f"Close names: {DEVICE}")


def test_a_device_file_with_a_misspelt_key_names_its_path(cli: Cli, tmp_path: Path, network: Path) -> None:
    shown, code = tmp_path / "board.toml", f"{network}:hand"
    shown.write_text('[runtime.any.float32]\npj_per_mak = "4 pJ"\n')
    assert_refused(cli("profile", code, "--input", "1x2x3x3", "--device", shown), 2, "board.toml")


def test_a_profile_is_what_one_works_out_by_hand(cli: Cli, network: Path, tmp_path: Path) -> None:
    saved = tmp_path / "p.json"
    argv = ("profile", f"{network}:hand", "--input", "1x2x3x3", "--device", DEVICE, "-o", saved)
    code, printed, said = cli(*argv, "--json")
    profile = valid(printed, "energy_profile")
    assert code == 0
    assert profile["total"]["value"] == pytest.approx(HAND_J, rel=1e-12)
    assert [layer["macs"] for layer in profile["layers"]] == [72]
    assert "a model that chats" in said
    assert json.loads(saved.read_text()) == profile
    assert cli(*argv, "-q")[1].count(DEVICE) == 1


def test_a_batch_and_an_onnx_file_are_profiled(cli: Cli, network: Path, tmp_path: Path) -> None:
    import torch

    from joulecut.benchmarks.export import export_onnx
    from joulecut.benchmarks.networks.digits_cnn import trained_digits_cnn

    file = tmp_path / "digits.onnx"
    export_onnx(trained_digits_cnn(), torch.zeros(1, 1, 8, 8), file)
    from_file = json.loads(cli("profile", file, "--device", DEVICE, "--json")[1])
    digits = "joulecut.benchmarks.networks.digits_cnn:trained_digits_cnn"
    from_torch = json.loads(cli("profile", digits, "--input", "1x1x8x8", "--device", DEVICE, "--json")[1])
    macs = [sum(layer["macs"] for layer in profile["layers"]) for profile in (from_file, from_torch)]
    assert macs[0] == macs[1] > 0
    four = cli(
        "profile", f"{network}:hand", "--input", "1x2x3x3", "--batch", "4", "--device", DEVICE, "--json"
    )
    assert sum(layer["macs"] for layer in json.loads(four[1])["layers"]) == 4 * 72


def test_a_saved_profile_is_explained_and_rendered_again(cli: Cli, network: Path, tmp_path: Path) -> None:
    saved, page = tmp_path / "p.json", tmp_path / "p.html"
    cli("profile", f"{network}:hand", "--input", "1x2x3x3", "--device", DEVICE, "-o", saved)
    whole = valid(cli("explain", saved, "--json")[1], "explanation")
    assert [(term["name"], term["quantity"]) for term in whole["terms"]] == [
        ("MACs", 72), ("weight bytes", 48), ("activation bytes", 216),
    ]  # fmt: skip
    assert "pj_per_mac" in cli("explain", saved)[1]
    assert_refused(cli("explain", saved, "nope"), 2, "'nope'")
    assert "nJ" in cli("report", saved)[1]
    code, printed, said = cli("report", saved, "--html", page)
    assert (code, printed, said) == (0, "", f"wrote {page}\n")
    assert page.read_text().startswith("<!doctype html>")


def test_a_hostile_layer_name_is_text_everywhere(cli: Cli, network: Path, tmp_path: Path) -> None:
    saved, page = tmp_path / "p.json", tmp_path / "p.html"
    code, printed, said = cli(
        "profile", f"{network}:hostile", "--input", "1x1x2x2", "--device", DEVICE, "-o", saved, "--html", page
    )
    assert code == 0
    assert "\x1b" not in printed + said
    assert max(map(len, printed.splitlines())) < 200
    assert "<script>alert" not in page.read_text()
    assert "\x1b" not in cli("explain", saved)[1]


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (("profile", "{net}:hand", "--device", DEVICE), 2, "--input"),
        (("profile", "{net}:hand", "--input", "1x2xq", "--device", DEVICE), 2, "1x2xq"),
        (("profile", "{net}:hand", "--input", "1x5x3x3", "--device", DEVICE), 6, "cannot capture"),
        (("profile", "{net}:by_value", "--input", "1x2", "--device", DEVICE), 6, "cannot capture"),
        (("profile", "{net}:broken", "--input", "1x2", "--device", DEVICE), 6, "no weights here"),
        (("profile", "{net}:missing", "--input", "1x2", "--device", DEVICE), 2, "missing"),
        (
            ("profile", "no.such.package:net", "--input", "1x2", "--device", DEVICE),
            2,
            "there is no module no.",
        ),
        (("profile", "weights.pth", "--device", DEVICE), 2, "pickle"),
        (("profile", "missing.onnx", "--device", DEVICE), 2, "missing.onnx"),
        (("report", "missing.json"), 2, "missing.json"),
        (("report", "{net}"), 2, "is not JSON"),
        (("report", "{folder}"), 2, "result.json"),
        (("explain", "missing.json"), 2, "missing.json"),
        (("bench", "missing.onnx"), 2, "missing.onnx"),
        (("bench", "{net}"), 6, "net.py"),
        (
            ("profile", "{net}:hand", "--input", "1x2x3x3", "--device", DEVICE, "-o", "{net}/p.json"),
            2,
            "cannot write",
        ),
    ],
)
def test_bad_input_is_one_sentence(
    cli: Cli, network: Path, argv: tuple[str, ...], code: int, says: str
) -> None:
    filled = [part.format(net=network, folder=network.parent) for part in argv]
    outcome = cli(*filled, "-q")
    assert_refused(
        (outcome[0], outcome[1], outcome[2].removeprefix("a model that chats while it is loaded\n")),
        code,
        says,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence(cli: Cli, network: Path) -> None:
    code, printed, said = cli(
        "profile", f"{network}:hand", "--input", "1x2x3x3", "--device", DEVICE, "-o", "/dev/full"
    )
    assert (code, printed) == (2, "")
    assert "cannot write /dev/full: No space left on device." in said


def test_without_colour_there_is_none(network: Path) -> None:
    """FORCE_COLOR makes rich believe in a terminal; NO_COLOR wins over it."""
    environment = os.environ | {"NO_COLOR": "1", "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    done = subprocess.run(
        [sys.executable, "-m", "joulecut", "devices"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\x1b[3" not in done.stdout


def test_a_pipe_that_closes_early_is_silent() -> None:
    done = subprocess.run(
        f"'{sys.executable}' -m joulecut devices --json | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("{\n", "")


DIGITS = (
    "prune",
    "joulecut.benchmarks.networks.digits_cnn:trained_digits_cnn",
    "--data",
    "digits",
    "--device",
    DEVICE,
)


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The digits network cut to 60 %, by a process of its own."""
    folder = tmp_path_factory.mktemp("prune") / "small"
    argv = [sys.executable, "-m", "joulecut", *DIGITS, "--budget", "60%", "-o", str(folder), "--json"]
    return folder, subprocess.run(argv, capture_output=True, text=True, check=False)


def test_pruning_meets_its_budget_and_leaves_the_folder(
    pruned: tuple[Path, subprocess.CompletedProcess[str]], cli: Cli
) -> None:
    folder, done = pruned
    record = valid(done.stdout, "prune_record")
    assert done.returncode == (1 if record["comparison"].startswith("slower") else 0), done.stderr
    assert record["met"] == "yes"
    assert record["after"]["total"]["value"] <= 0.6 * record["before"]["total"]["value"]
    assert json.loads((folder / "result.json").read_text()) == record
    assert {path.name for path in folder.iterdir()} == {
        "result.json", "recipe.json", "weights.safetensors", "model.pt2", "model.onnx", "report.html",
        "before.onnx", "bench.json",
    }  # fmt: skip
    assert "60.0 %" in cli("report", folder)[1]


def test_a_folder_that_holds_something_is_kept(pruned: tuple[Path, object], cli: Cli) -> None:
    folder, _ = pruned
    before = (folder / "result.json").read_bytes()
    assert_refused(cli(*DIGITS, "--budget", "60%", "-o", folder), 2, "is not empty")
    assert (folder / "result.json").read_bytes() == before


UNREACHABLE = [("1%", 3), ("1pJ", 3)]
WRONG = ["0", "0%", "0 mJ", "-5mJ", "nan J", "nan%", "1e400J", "12 potatoes", "12", "12 mW"]


@pytest.mark.parametrize(("budget", "code"), [*UNREACHABLE, *((text, 2) for text in WRONG)])
def test_a_budget_that_cannot_be_met_leaves_nothing(cli: Cli, tmp_path: Path, budget: str, code: int) -> None:
    assert_refused(cli(*DIGITS, f"--budget={budget}", "-o", tmp_path / "small"), code, "")
    assert list(tmp_path.iterdir()) == []


def test_below_a_lowest_accuracy_the_best_point_is_kept(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    limits = ("--budget", "10%", "--min-accuracy", "90%", "--effort", "quick")
    code, stdout, stderr = cli(*DIGITS, *limits, "-o", folder, "--json")
    assert code == 3
    record = valid(stdout, "prune_record")
    assert record["met"] == "no"
    assert [limit["met"] for limit in record["limits"]] == ["no", "yes"]
    left = record["after"]["total"]["value"] / record["before"]["total"]["value"]
    assert 0.1 < left < 0.8
    assert json.loads((folder / "result.json").read_text()) == record
    assert f"saved the best point found in {folder}\n" in stderr
    assert f"cannot be met on {DEVICE} without falling below 90.0 % validation accuracy" in stderr


def test_data_of_the_wrong_shape_is_one_sentence(cli: Cli, tmp_path: Path) -> None:
    import numpy as np

    data = tmp_path / "d.npz"
    np.savez(data, x=np.zeros((200, 3, 9), np.float32), y=np.arange(200) % 10)
    outcome = cli(
        *DIGITS[:2], "--data", data, "--device", DEVICE, "--budget", "60%", "-o", tmp_path / "small"
    )
    assert outcome[0] in (2, 6)
    assert_refused(outcome, outcome[0], "")
    assert list(tmp_path.iterdir()) == [data]


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "joulecut", *DIGITS, "--budget", "30%", "-v", "-o", str(tmp_path / "small")]
    running = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    first = running.stderr.readline()
    running.send_signal(signal.SIGINT)
    printed, said = running.communicate(timeout=120)
    assert running.returncode == 130, (first, said)
    assert printed == ""
    assert said.endswith("joulecut: interrupted; nothing half-written.\n")
    assert list(tmp_path.iterdir()) == []
