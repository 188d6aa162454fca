import re

import pytest

from joulecut import errors
from joulecut.errors import BudgetUnreachable, JoulecutError, MissingExtra, UnknownDevice

TREE = [getattr(errors, name) for name in errors.__all__ if not name.startswith("EXIT_")]


CODES = {
    "UsageError": 2, "DeviceFileError": 2, "UnknownDevice": 2, "SchemaError": 2, "MissingExtra": 2,
    "NothingMeasured": 2, "OutputError": 2, "BudgetUnreachable": 3, "SensorError": 4, "SensorMissing": 4,
    "SensorDenied": 4, "CounterReset": 4, "Inconclusive": 5, "ModelError": 6, "TraceError": 6,
    "ParityError": 6, "FarmError": 7, "JoulecutError": 70,
}  # fmt: skip


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_every_error_has_its_exit_code(name: str, code: int) -> None:
    assert getattr(errors, name).exit_code == code


def test_the_tree_drawn_at_the_top_is_the_tree() -> None:
    tree = (errors.__doc__ or "").partition("\n\n")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"^[\s│├└─]*(\w+)", tree, re.MULTILINE)) == sorted(
        error.__name__ for error in TREE
    )


def test_the_codes_drawn_at_the_top_are_the_codes() -> None:
    for name, code in re.findall(r"(\w+) +(\d)(?:\s|$)", errors.__doc__ or ""):
        assert CODES[name] == int(code)


def test_public_names_are_sorted_and_all_joulecut_errors() -> None:
    assert sorted(errors.__all__, key=lambda n: (not n.isupper() and "EXIT" not in n, n)) == errors.__all__
    assert all(issubclass(error, JoulecutError) for error in TREE)


def test_text_is_the_message_and_the_hint() -> None:
    assert str(JoulecutError("no sensor.", hint="Use a model.")) == "no sensor. Use a model."
    assert str(JoulecutError("no sensor.")) == "no sensor."


def test_an_unknown_device_offers_close_names_only() -> None:
    known = ["raspberry-pi-4b/tflite/float32", "reference/edge/float32"]
    error = UnknownDevice("raspberry-pi-4/tflite/float32", known)
    assert error.close[0] == known[0]
    assert str(error).startswith(
        "unknown device 'raspberry-pi-4/tflite/float32'. Close names: raspberry-pi-4b"
    )
    assert "`joulecut devices`" in str(UnknownDevice("zzz", known))


def test_a_hostile_device_name_is_cut_and_escaped() -> None:
    said = str(UnknownDevice("\x1b[2J" + "<b>" * 5000, ["reference/edge/float32"]))
    assert said.isprintable()
    assert len(said) < 250


def test_a_missing_extra_says_what_to_install() -> None:
    assert str(MissingExtra("torch", "torch", "Pruning")) == (
        "Pruning needs the package torch. Install it with: pip install 'joulecut[torch]'"
    )


def test_an_unreachable_budget_carries_the_best_point() -> None:
    assert BudgetUnreachable("12 mJ cannot be met.", best=0.013).best == 0.013
