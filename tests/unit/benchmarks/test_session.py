from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto
from onnx_samples import conv_chain, one_node

from joulecut.benchmarks.machine import cpu_class, stolen_share
from joulecut.benchmarks.session import Settings, open_session
from joulecut.errors import ModelError, UsageError


def test_bound_outputs_are_those_of_a_plain_run(tmp_path: Path) -> None:
    file = conv_chain(tmp_path / "a.onnx", (8, 16))
    session = open_session(file)
    session.run()
    plain = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (expected,) = plain.run(None, session.inputs)
    (found,) = session.outputs().values()
    assert session.inputs["x"].shape == (1, 1, 8, 8)
    np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-5, atol=1e-5)


def test_inputs_are_the_same_every_time(tmp_path: Path) -> None:
    file = conv_chain(tmp_path / "a.onnx", (8,))
    first, second = open_session(file), open_session(file)
    np.testing.assert_array_equal(first.inputs["x"], second.inputs["x"])


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.INT32, TensorProto.UINT8])
def test_integers_are_valid_as_index_and_mask(tmp_path: Path, kind: int) -> None:
    session = open_session(one_node(tmp_path / "a.onnx", "Identity", ["batch", 200], kind=kind))
    session.run()
    (found,) = session.outputs().values()
    assert set(np.unique(session.inputs["x"])) == {0, 1}
    np.testing.assert_array_equal(found, session.inputs["x"])


def test_settings_are_recorded() -> None:
    text = Settings(threads=2).as_text()
    assert text["threads"] == "2"
    assert text["spinning"] == "off"
    assert text["provider"] == "CPUExecutionProvider"


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        open_session(tmp_path / "none.onnx")


@pytest.mark.parametrize("content", [b"", b"hello world"])
def test_no_onnx_file(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "bad.onnx"
    file.write_bytes(content)
    with pytest.raises(ModelError, match="onnxruntime cannot run") as caught:
        open_session(file)
    assert "\n" not in str(caught.value)


def test_unknown_operation(tmp_path: Path) -> None:
    file = one_node(tmp_path / "foo.onnx", "Foo", ["batch", 3], domain="my.ops")
    with pytest.raises(ModelError, match=r"my\.ops:Foo"):
        open_session(file)


def test_free_size_beside_the_batch(tmp_path: Path) -> None:
    file = one_node(tmp_path / "free.onnx", "Relu", ["batch", "length"])
    with pytest.raises(UsageError, match="free size 'length' on axis 1"):
        open_session(file)


def test_text_input(tmp_path: Path) -> None:
    file = one_node(tmp_path / "text.onnx", "Identity", ["batch"], kind=TensorProto.STRING)
    with pytest.raises(UsageError, match="tensor\\(string\\)"):
        open_session(file)


def test_no_threads(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="0 threads"):
        open_session(conv_chain(tmp_path / "a.onnx", (8,)), Settings(threads=0))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx avx2 avx512f", "avx512"), ("fpu avx avx2", "avx2"), ("fp asimd", "neon"), ("", "unknown")],
)
def test_cpu_class(flags: str, expected: str) -> None:
    assert cpu_class(f"flags\t: {flags}\n") == expected


def test_stolen_share_by_hand() -> None:
    before = (100, 0, 50, 800, 10, 0, 0, 40, 0, 0)
    after = (130, 0, 60, 840, 10, 0, 0, 60, 25, 0)  # 30 + 10 + 40 + 20 ticks; guest time is within user time
    assert stolen_share(before, after) == pytest.approx(20 / 100)
    assert stolen_share((), ()) == 0
    assert stolen_share(before, before) == 0
