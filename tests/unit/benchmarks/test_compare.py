from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
from onnx_samples import conv_chain

from joulecut.benchmarks.compare import benchmark, gate, verdict
from joulecut.benchmarks.records import Comparison, PairRatio
from joulecut.benchmarks.verdicts import Gate
from joulecut.codec import from_json, to_json
from joulecut.errors import ModelError, NothingMeasured, UsageError
from joulecut.estimate import Estimate, Spread


def ratio(low: float, value: float, high: float) -> Estimate:
    spread = Spread(below_90=value - low, above_90=high - value)
    return Estimate(value, "1", "measured", "test", n=100, own=spread)


WIDE = ratio(0.5, 1.0, 2.0)


@pytest.mark.parametrize(
    ("interval", "expected", "gated"),
    [
        ((0.48, 0.50, 0.52), "faster", "pass"),
        ((0.93, 0.96, 0.995), "faster", "pass"),
        ((0.975, 0.985, 0.995), "inconclusive", "pass"),
        ((0.985, 0.99, 0.995), "same", "pass"),
        ((0.981, 1.0, 1.019), "same", "pass"),
        ((1.001, 1.01, 1.019), "same", "pass"),
        ((1.001, 1.013, 1.025), "inconclusive", "inconclusive"),
        ((1.001, 1.03, 1.06), "slower", "inconclusive"),
        ((1.025, 1.03, 1.035), "slower", "fail"),
        ((1.9, 2.0, 2.1), "slower", "fail"),
        ((0.9, 1.0, 1.1), "inconclusive", "inconclusive"),
        ((0.95, 1.05, 1.15), "inconclusive", "inconclusive"),
    ],
)
@pytest.mark.parametrize("contended", [False, True])
def test_verdict_and_gate(
    interval: tuple[float, float, float], expected: str, gated: Gate, contended: bool
) -> None:
    decisive = ratio(*interval)
    wall, cpu = (WIDE, decisive) if contended else (decisive, WIDE)
    said = verdict(wall, cpu, margin=0.02, contended=contended, sessions=3)
    assert said == expected
    assert gate(PairRatio("a", "b", wall, cpu, said, 0.02, contended, 3)) == gated


def test_two_sessions_decide_nothing() -> None:
    clear = ratio(1.9, 2.0, 2.1)
    assert verdict(clear, clear, margin=0.02, contended=False, sessions=2) == "inconclusive"
    assert gate(PairRatio("a", "b", clear, clear, "inconclusive", 0.02, False, 2)) == "inconclusive"


def test_four_times_the_work_is_slower(tmp_path: Path) -> None:
    small = conv_chain(tmp_path / "a.onnx", (16, 32), size=16)
    large = conv_chain(tmp_path / "b.onnx", (16, 32), size=32)
    shares: list[float] = []
    comparison = benchmark([small, large], max_seconds=3.0, progress=shares.append)
    (pair,) = comparison.pairs
    assert (pair.a, pair.b) == (str(small), str(large))
    assert pair.verdict == "slower"
    assert gate(pair) == "fail"
    assert pair.sessions >= 3
    assert pair.cpu_ratio.value > 1.5
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    report = comparison.models[1]
    assert report.p50_s.origin == "measured"
    assert report.p50_s.bounds(0.9)[0] <= report.p50_s.value <= report.p50_s.bounds(0.9)[1]
    assert {"threads", "spinning", "provider", "warm_up_s", "primed"} <= report.settings.keys()
    assert {"onnxruntime", "governor", "cpu_class", "wall_over_cpu", "stolen"} <= comparison.provenance.keys()
    assert from_json(to_json(comparison), Comparison) == comparison


def test_a_file_is_not_faster_or_slower_than_itself(tmp_path: Path) -> None:
    file = conv_chain(tmp_path / "a.onnx", (16, 32, 64))
    (pair,) = benchmark([file, file], max_seconds=2.0).pairs
    assert pair.verdict in ("same", "inconclusive")
    assert gate(pair) != "fail"
    low, high = pair.cpu_ratio.bounds(0.9)
    assert low < 1.05  # an interval, not a value: on a busy machine two seconds say little
    assert high > 0.95


def test_one_network_has_no_pairs(tmp_path: Path) -> None:
    comparison = benchmark([conv_chain(tmp_path / "a.onnx", (8,))], max_seconds=0.5, threads=2)
    assert comparison.pairs == ()
    assert comparison.models[0].calls > 64
    assert comparison.models[0].settings["threads"] == "2"
    assert comparison.provenance["wall_over_cpu"] == "unknown"


def test_three_networks_have_two_pairs(tmp_path: Path) -> None:
    files = [conv_chain(tmp_path / f"{width}.onnx", (width,)) for width in (8, 16, 32)]
    comparison = benchmark(files, max_seconds=0.6)
    assert [(pair.a, pair.b) for pair in comparison.pairs] == [
        (str(files[0]), str(files[1])),
        (str(files[0]), str(files[2])),
    ]


def test_nothing_measured(tmp_path: Path) -> None:
    with pytest.raises(NothingMeasured, match="no network"):
        benchmark([])
    with pytest.raises(NothingMeasured, match="0 timed calls"):
        benchmark([conv_chain(tmp_path / "a.onnx", (8,))], max_seconds=0.0)


@pytest.mark.parametrize("margin", [0.0, -0.02, 1.0, math.nan])
def test_margin_out_of_range(tmp_path: Path, margin: float) -> None:
    with pytest.raises(UsageError, match="margin"):
        benchmark([tmp_path / "a.onnx"], margin=margin)


@pytest.mark.parametrize("seconds", [-1.0, math.inf, math.nan])
def test_time_limit_out_of_range(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(UsageError, match="time limit"):
        benchmark([tmp_path / "a.onnx"], max_seconds=seconds)


def test_bad_files(tmp_path: Path) -> None:
    good = conv_chain(tmp_path / "a.onnx", (8,))
    with pytest.raises(UsageError, match="there is no file"):
        benchmark([good, tmp_path / "none.onnx"])
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"bad\.onnx"):
        benchmark([good, tmp_path / "bad.onnx"])


def test_benchmark_needs_no_torch(tmp_path: Path) -> None:
    file = conv_chain(tmp_path / "a.onnx", (8,))
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from joulecut.benchmarks.compare import benchmark\n"
        "print(benchmark([sys.argv[1]], max_seconds=0.3).models[0].calls > 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"]
    assert done.stderr == ""
