import json
import os
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulecut.codec import from_json, schema_name, split_schema, to_json, to_plain, write_bytes, write_text
from joulecut.errors import OutputError, SchemaError
from joulecut.estimate import Estimate, Spread


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    energy: Estimate
    shape: tuple[int, ...] = ()
    note: str | None = None
    widths: dict[str, tuple[int, int]] = field(default_factory=dict)


ENERGY = Estimate(2.0, "J", "modelled", "demo", 3, Spread(0.1, 0.2, 0.3, 0.4), Spread(), "board")
SAMPLE = Sample("net µ", ENERGY, (1, 3), None, {"conv": (8, 16)})


def test_a_record_comes_back_the_same() -> None:
    assert from_json(to_json(SAMPLE), Sample) == SAMPLE
    assert from_json(to_json(SAMPLE).encode(), Sample) == SAMPLE


def test_saved_text_names_its_schema_and_keeps_unicode_readable() -> None:
    text = to_json(SAMPLE)
    assert json.loads(text)["schema"] == "joulecut/sample/1"
    assert "net µ" in text
    assert text.endswith("}\n")


def test_an_estimate_shows_what_follows_from_it() -> None:
    plain = to_plain(ENERGY)
    assert {key: plain[key] for key in ("value", "lo", "hi", "confidence")} == {
        "value": 2.0, "lo": 1.7, "hi": 2.4, "confidence": 0.9,
    }  # fmt: skip
    assert plain["bounds"] == {"0.5": [1.9, 2.2], "0.9": [1.7, 2.4]}
    assert (plain["unit"], plain["origin"], plain["method"], plain["n"]) == ("J", "modelled", "demo", 3)


@given(st.text(), st.floats(allow_nan=False, allow_infinity=False), st.lists(st.integers(-(2**62), 2**62)))
def test_any_text_and_number_comes_back(name: str, value: float, shape: list[int]) -> None:
    record = Sample(name, Estimate(value, "J", "measured", "m"), tuple(shape))
    again = from_json(to_json(record), Sample)
    assert again == record


def test_half_a_surrogate_pair_is_saved_as_its_escape() -> None:
    saved = to_json(Sample("caf\udce9.onnx", ENERGY))
    assert from_json(saved.encode(), Sample).name == r"caf\udce9.onnx"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_lacks_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="cannot be saved"):
        to_json(Sample("a", Estimate(value, "J", "measured", "m")))
    with pytest.raises(ValueError, match="cannot be saved"):
        to_plain({"a": [value]})


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="cannot save a set"):
        to_plain({1})


def _saved(**changes: object) -> str:
    return json.dumps(json.loads(to_json(SAMPLE)) | changes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "p.json is not JSON"),
        ("{", "p.json is not JSON"),
        ('{"schema": NaN}', "p.json is not JSON"),
        (b"\xff\xfe", "p.json is not JSON"),
        ("[" * 100_000, "p.json is not JSON"),
        ("[]", "holds a JSON value without a schema, not a sample"),
        ("{}", "holds a JSON value without a schema"),
        ('{"schema": "joulecut/sample/x"}', "without a schema"),
        ('{"schema": "joulecut/sample/²"}', "without a schema"),
        ('{"schema": 5}', "without a schema"),
        ('{"schema": "joulecut/comparison/1"}', "holds a comparison, not a sample"),
        ('{"schema": "joulecut/sample/2"}', "newer joulecut"),
        ('{"schema": "joulecut/sample/1"}', "is damaged: .*name"),
        (_saved(name=5), r"is damaged: .*\$\.name"),
        (_saved(shape=["a"]), r"is damaged: .*\$\.shape\[0\]"),
        (_saved(energy={"value": 1}), r"is damaged: .*\$\.energy"),
        (_saved().replace("2.0", "1e999"), "p.json is not JSON"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(text: str | bytes, says: str) -> None:
    with pytest.raises(SchemaError, match=says) as caught:
        from_json(text, Sample, where="p.json")
    assert "\n" not in str(caught.value)


def test_unknown_keys_of_a_saved_file_are_ignored() -> None:
    assert from_json(_saved(added_later=[1]), Sample) == SAMPLE


def test_names_of_schemas() -> None:
    assert schema_name(Sample) == "sample"
    assert schema_name(type("EnergyProfile", (), {})) == "energy_profile"
    assert split_schema({"schema": "joulecut/energy_profile/12"}) == ("energy_profile", 12)


def test_a_file_is_written_with_the_usual_rights_and_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_text(target, "µ\n")
    assert target.read_bytes() == "µ\n".encode()
    usual = tmp_path / "usual"
    usual.touch()
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)
    assert sorted(tmp_path.iterdir()) == [target, usual]


def test_a_file_is_replaced_and_a_link_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "a.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to(target.name)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


@pytest.mark.parametrize("place", ["missing/a.json", "file/a.json", "folder", "x" * 300])
def test_what_cannot_be_written_is_one_sentence_and_leaves_nothing(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="cannot write") as caught:
        write_text(tmp_path / place, "new")
    assert str(caught.value).endswith("Choose a folder that exists, can be written and is not full.")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "kept"


def test_a_loop_of_links_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OutputError, match="cannot write"):
        write_text(tmp_path / "a" / "x.json", "new")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_device_is_one_sentence_and_stays_a_device() -> None:
    with pytest.raises(OutputError, match="No space left on device"):
        write_bytes(Path("/dev/full"), b"x")
    assert Path("/dev/full").is_char_device()


FULL = """
import resource, sys
from pathlib import Path
from joulecut.codec import write_bytes
from joulecut.errors import OutputError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    write_bytes(Path(sys.argv[1]), b"x" * 100_000)
except OutputError as error:
    print(error)
"""


def test_a_disk_that_fills_up_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    """The kernel stops a process at its file size limit in the middle of a write, as a full disk does."""
    target = tmp_path / "a.json"
    target.write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(target)], capture_output=True, text=True, check=True
    )
    assert "cannot write" in done.stdout
    assert list(tmp_path.iterdir()) == [target]
    assert target.read_text() == "old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        write_text(tmp_path / "a.json", "new")
