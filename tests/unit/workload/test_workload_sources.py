"""Finding networks and inputs; files that hold a pickle are refused before anything in them runs."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from joulecut.errors import ModelError, OutputError, UsageError
from joulecut.workload.from_torch import workload
from joulecut.workload.program_file import check_program, load_program, save_program
from joulecut.workload.sources import InputSpec, example, load_model, parse_inputs

MODELS = """
from dataclasses import dataclass
import torch
from beside import WIDTH

@dataclass
class Options:
    width: int = WIDTH

class Zoo:
    small = torch.nn.Linear(4, Options().width)

net = torch.nn.Linear(3, 2)
number = 3

def build():
    return torch.nn.Conv2d(3, 8, 3)

def wrong():
    return "no network"

class Odd(Exception):
    pass

def broken():
    raise Odd("the weights are gone\\nsee above")
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("WIDTH = 5\n")
    path = tmp_path / "models.py"
    path.write_text(MODELS)
    return path


def test_callables_and_modules_of_a_file(models: Path) -> None:
    built = load_model(f"{models}:build")
    assert (built.name, built.onnx_path, built.inputs) == ("build", None, ())
    assert isinstance(built.module, nn.Conv2d)
    assert isinstance(load_model(f"{models}:net").module, nn.Linear)
    small = load_model(f"{models}:Zoo.small").module
    assert isinstance(small, nn.Linear)
    assert small.out_features == 5
    assert str(models.parent) not in sys.path


def test_callables_of_a_package(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = models.parent / "a_package_of_models"
    folder.mkdir()
    (folder / "nets.py").write_text("from torch.nn import Linear\ndef net(): return Linear(2, 2)\n")
    (folder / "lacking.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.chdir(models.parent)
    assert isinstance(load_model("a_package_of_models.nets:net").module, nn.Linear)
    with pytest.raises(UsageError, match="a_module_that_is_not_there, which is not installed"):
        load_model("a_package_of_models.lacking:net")


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("{}:missing", UsageError, "has no 'missing'"),
        ("{}:wrong", ModelError, "returned an object of type str, not a torch.nn.Module"),
        ("{}:number", ModelError, "is of type int, neither a network"),
        ("{}:broken", ModelError, r"broken failed: Odd: the weights are gone\.$"),
        ("{}/../nowhere.py:net", UsageError, "there is no file"),
        ("no_such_package.nets:net", UsageError, "there is no module no_such_package"),
        ("not a module:net", UsageError, "is no module of Python"),
        ("nowhere.onnx", UsageError, "there is no file nowhere.onnx"),
        ("nowhere.pt2", UsageError, "there is no file nowhere.pt2"),
        ("resnet", UsageError, "names no network"),
        (":net", UsageError, "names no network"),
        ("", UsageError, "names no network"),
    ],
)
def test_what_cannot_be_found_is_named(models: Path, spec: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        load_model(spec.format(models))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_python(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("def (:\n")
    with pytest.raises(ModelError, match=r"running .*bad\.py failed: SyntaxError"):
        load_model(f"{path}:net")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".pkl", ".bin", ".PTH"])
def test_pickles_are_not_opened(tmp_path: Path, suffix: str) -> None:
    bomb, fuse = bomb_of(tmp_path)
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(bomb)
    with pytest.raises(
        UsageError, match=r"is a pickle.*safetensors.*package\.module:callable.*\.onnx.*\.pt2"
    ):
        load_model(str(path))
    assert not fuse.exists()


def test_onnx_needs_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"")
    code = (
        "import sys; from joulecut.workload.sources import load_model, parse_inputs\n"
        f"print(load_model({str(path)!r}).onnx_path, parse_inputs('1x3'), 'torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split() == [str(path), *repr(parse_inputs("1x3")).split(), "False"]


# ---------------------------------------------------------------- .pt2


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x)).relu() * torch.tensor([2.0])
        return y.reshape(x.shape[0], -1)


def program() -> torch.export.ExportedProgram:
    batch = {0: torch.export.Dim("batch")}
    return torch.export.export(
        Net().eval(), (torch.zeros(2, 3, 6, 6),), dynamic_shapes=(batch,), strict=False
    )


def test_programs_are_saved_without_a_pickle_and_load_again(tmp_path: Path) -> None:
    exported, path = program(), tmp_path / "net.pt2"
    save_program(exported, path)
    assert exported.example_inputs is not None  # the program in memory keeps its own
    with zipfile.ZipFile(path) as archive:
        assert all(not archive.read(n) for n in archive.namelist() if "sample_inputs" in n)
    loaded = load_model(str(path))
    assert (loaded.name, loaded.inputs) == ("net", (InputSpec("x", (2, 3, 6, 6), "float32"),))
    assert loaded.module is not None
    x = torch.randn(5, 3, 6, 6)
    assert torch.equal(loaded.module(x), exported.module()(x[:5]))
    work = workload(loaded.module, example(loaded.inputs), name=loaded.name)
    assert work.layers[0].path == "conv"
    assert work.macs == 2 * 16 * 4 * 27


def test_saving_is_whole_or_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        save_program(program(), tmp_path / "missing" / "net.pt2")
    assert list(tmp_path.iterdir()) == []


def bomb_of(folder: Path) -> tuple[bytes, Path]:
    """A pickle that creates a file when it is read, and that file."""
    fuse = folder / "exploded"

    class Bomb:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return exec, (f"open({str(fuse)!r}, 'w').close()",)

    return pickle.dumps(Bomb(), protocol=2), fuse


def test_the_bomb_is_live(tmp_path: Path) -> None:
    bomb, fuse = bomb_of(tmp_path)
    pickle.loads(bomb)
    assert fuse.exists()


def rebuilt(path: Path, change: Callable[[str, bytes], bytes], extra: dict[str, bytes] | None = None) -> None:
    """Write a program's archive again with other contents."""
    buffer = io.BytesIO()
    torch.export.save(without_example(program()), buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, change(name, source.read(name)))
        for name, content in (extra or {}).items():
            target.writestr(name, content)


def without_example(exported: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    exported._example_inputs = None
    return exported


def torch_saved(pickled: bytes) -> bytes:
    """What torch.save writes: a zip with the pickle inside."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


@pytest.mark.parametrize("wrap", [bytes, torch_saved], ids=["bare", "torch.save"])
@pytest.mark.parametrize(
    "member",
    [
        "data/sample_inputs/model.pt",
        "data/weights/weight_0",
        "data/constants/tensor_0",
        "extra/any",
        "data.pkl",
    ],
)
def test_a_pickle_anywhere_in_a_program_is_refused_unread(
    tmp_path: Path, member: str, wrap: Callable[[bytes], bytes]
) -> None:
    bomb, fuse = bomb_of(tmp_path)
    path = tmp_path / "net.pt2"
    content = wrap(bomb)
    existing = {"data/sample_inputs/model.pt", "data/weights/weight_0", "data/constants/tensor_0"}
    extra = {} if member in existing else {f"archive/{member}": content}
    rebuilt(path, lambda name, old: content if name.endswith(f"/{member}") else old, extra)
    with pytest.raises(ModelError, match=r"refused unread: it holds the pickled member") as caught:
        load_model(str(path))
    assert not fuse.exists()
    assert "\n" not in str(caught.value)


def test_pickles_in_the_old_form_and_cut_off_are_refused(tmp_path: Path) -> None:
    bomb, fuse = bomb_of(tmp_path)
    path = tmp_path / "net.pt2"
    for content in (b"cos\nsystem\n(S'true'\ntR.", bomb[:-1], bomb + b"\xff" * 9):
        rebuilt(path, lambda name, old, c=content: c if "sample_inputs" in name else old)  # type: ignore[misc]
        with pytest.raises(ModelError, match="refused unread"):
            load_model(str(path))
    assert not fuse.exists()


def test_example_inputs_saved_by_torch_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    torch.export.save(program(), path)
    with pytest.raises(ModelError, match=r"sample_inputs.*without example inputs"):
        load_model(str(path))


def edited(path: Path, ending: str, key: str, value: object) -> None:
    """Set every ``key`` of a JSON member."""

    def put(item: object) -> object:
        if isinstance(item, dict):
            return {k: value if k == key else put(v) for k, v in item.items()}
        return [put(v) for v in item] if isinstance(item, list) else item

    rebuilt(
        path, lambda name, old: json.dumps(put(json.loads(old))).encode() if name.endswith(ending) else old
    )


@pytest.mark.parametrize(
    ("ending", "key", "value", "message"),
    [
        ("weights_config.json", "use_pickle", True, "pickled tensor"),
        ("model.json", "target", "torch.serialization.os.system", "as an operation"),
        ("model.json", "target", "torch.ops.load_library", "as an operation"),
        ("model.json", "target", "torch.ops.aten.__class__", "as an operation"),
        ("model.json", "expr_str", "__import__('os').system('true')", "as a size"),
        ("model.json", "expr_str", "exec(chr(112))", "as a size"),
        ("model.json", "expr_str", "().__class__", "as a size"),
    ],
)
def test_programs_that_name_something_to_run_are_refused(
    tmp_path: Path, ending: str, key: str, value: object, message: str
) -> None:
    path = tmp_path / "net.pt2"
    edited(path, ending, key, value)
    with pytest.raises(ModelError, match=message):
        check_program(path)


def test_weights_that_begin_like_a_pickle_are_weights(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    rebuilt(path, lambda name, old: b"\x80\x02" + old[2:] if name.endswith("weight_0") else old)
    assert load_program(path).graph is not None


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut off"])
def test_damaged_programs(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.pt2"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"is no program saved by torch.export"):
        load_model(str(path))


def test_an_archive_without_a_program(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/archive_format", "pt2")
    with pytest.raises(ModelError, match="cannot load") as caught:
        load_model(str(path))
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- inputs


def test_inputs_by_hand() -> None:
    assert parse_inputs("1x3x224x224") == (InputSpec("", (1, 3, 224, 224), "float32"),)
    assert parse_inputs("2x3:float16, ids=1x128:int64") == (
        InputSpec("", (2, 3), "float16"),
        InputSpec("ids", (1, 128), "int64"),
    )


@pytest.mark.parametrize(
    "text",
    ["", "1x", "x3", "3,", "1x3:", "1x3:complex", "1x3:int4", "0x3", "-1x3", "a=1,a=2", "1x3.5", "=1x3"],
)
def test_inputs_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_inputs(text)
    assert "\n" not in str(caught.value)


def test_examples_have_their_types_and_repeat() -> None:
    specs = parse_inputs("2x3,ids=1x8:int64,half=2:bfloat16,mask=4:bool")
    first, again, other = example(specs), example(specs), example(specs, seed=1)
    assert [t.dtype for t in first] == [torch.float32, torch.int64, torch.bfloat16, torch.bool]
    assert [tuple(t.shape) for t in first] == [(2, 3), (1, 8), (2,), (4,)]
    assert set(first[1].flatten().tolist()) <= {0, 1}
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
