"""Records made by hand for the tests of the reports: a network of 37 layers, and hostile names."""

from __future__ import annotations

from dataclasses import replace

from joulecut.benchmarks.records import Comparison, LatencyReport, PairRatio
from joulecut.estimate import Estimate, Spread, exact, total
from joulecut.hw_models.profile import EnergyProfile, FilterEnergy, LayerEnergy
from joulecut.pruning.quality_records import ClassScore, Quality, QualityPair, TrainingCost
from joulecut.pruning.records import Budget, Candidate, LimitCheck, PruneRecord, PruneStep, Refusal
from joulecut.workload.layer import Uncounted

BOARD = "raspberry-pi-4b/tflite/float32"
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>document.title='owned'</script>",
    "line\u2028separator\u2029\u202eturned",
    "[bold red]markup[/] \x1b[31mred\x07",
    "$title ${data} {0} %s",
    "x" * 10_000,
    "deep." * 2_000,
    "half \ud800 pair",
    "",
)


def joules(value: float, *, own: float = 1.04, common: float = 1.18) -> Estimate:
    """A modelled energy whose interval is ``value ×/÷ factor``, the 50 % one from the root of it."""
    return Estimate(
        value,
        "J",
        "modelled",
        "roofline",
        common=Spread.factors(value, common**0.5, common),
        own=Spread.factors(value, own**0.5, own),
        common_with=BOARD,
    )


def seconds(value: float, factor: float = 1.02) -> Estimate:
    return Estimate(
        value, "s", "measured", "paired calls", n=400, own=Spread.factors(value, factor**0.5, factor)
    )


def layer(
    path: str, op: str, widths: tuple[int, int], pixels: int, kernel: int, bound_by: str = ""
) -> LayerEnergy:
    """A layer priced at 40 pJ a MAC and 300 pJ a byte."""
    inside, outside = widths
    weights = inside * outside * kernel * kernel
    macs = weights * pixels
    if not kernel:
        weights, macs = 0, 0
    traffic = 4 * pixels * (inside + outside)
    energy = 40e-12 * macs + 300e-12 * (4 * weights + traffic)
    return LayerEnergy(
        path=path,
        op=op,
        kind="dense" if kernel else "elementwise",
        macs=macs,
        weight_bytes=4 * weights,
        in_bytes=4 * pixels * inside,
        out_bytes=4 * pixels * outside,
        energy=joules(energy),
        time=seconds(energy / 3.0),
        share=0.0,
        static_j=0.1 * energy,
        bound_by=bound_by or ("compute" if macs > 100 * traffic else "memory"),
        in_channels=inside,
        out_channels=outside,
    )


def assemble(name: str, layers: tuple[LayerEnergy, ...], filters: tuple[FilterEnergy, ...]) -> EnergyProfile:
    """A profile whose parts add up to its total."""
    idle = joules(sum(item.static_j for item in layers))
    rest = joules(0.02 * idle.value)
    everything = total((*(item.energy for item in layers), idle, rest), unit="J", method="roofline")
    shared = tuple(
        replace(item, share=(item.energy.value + item.static_j) / everything.value) for item in layers
    )
    return EnergyProfile(
        model=name,
        device=BOARD,
        boundary="board_dc",
        mode="calibrated-4",
        batch=1,
        total=everything,
        idle=idle,
        unattributed=rest,
        duration=seconds(everything.value / 3.0),
        layers=shared,
        uncounted=(Uncounted("aten.fft_rfft.default", "head.spectrum", 2, "no counting rule"),),
        filters=filters,
        provenance={"joulecut": "0.1.0", "device file": "raspberry-pi-4b.toml", "torch": "2.13.0"},
    )


def network(widths: tuple[int, int, int], *, staircases: bool = False) -> EnergyProfile:
    """A residual network of 37 layers at three widths (16, 32 and 64 are the original)."""
    layers = [layer("stem.conv", "conv2d", (3, widths[0]), 1024, 3)]
    for stage, width in enumerate(widths, 1):
        pixels = 1024 // 4 ** (stage - 1)
        for block in range(4):
            before = widths[max(stage - 2, 0)] if block == 0 else width
            at = f"layer{stage}.{block}"
            layers += [
                layer(f"{at}.conv1", "conv2d", (before, width), pixels, 3),
                layer(f"{at}.conv2", "conv2d", (width, width), pixels, 3),
                layer(f"{at}.add", "add", (width, width), pixels, 0),
            ]
    layers[-1] = replace(layer("head.fc", "linear", (widths[2], 10), 1, 1), bound_by="overhead")
    filters = tuple(
        staircase(item.path, item.out_channels, item.energy.value) for item in layers if item.macs
    )
    return assemble("resnet-26", tuple(layers), filters if staircases else ())


def staircase(path: str, filters: int, energy_j: float) -> FilterEnergy:
    """Whole steps of four filters free their share of 1.6 times the layer's energy."""
    removed = tuple(range(0, filters, 4))
    freed = tuple(joules(1.6 * energy_j * gone / filters) for gone in removed)
    return FilterEnergy(path, (path,), filters, 4, removed, freed)


def steps(before: Estimate, count: int = 40) -> tuple[PruneStep, ...]:
    """Steps down to half of the energy: filters, every tenth time a block; the last one is an exchange."""
    made: list[PruneStep] = []
    for at in range(1, count + 1):
        share = 1 - 0.502 * at / count
        group = f"layer{1 + at % 3}.{at % 4}.conv1"
        saving = before.value * 0.502 / count
        loss = 2e-4 * at
        taken = Candidate(group, tuple(range(4)), saving, loss, loss / saving)
        if at % 10 == 0:
            taken = Candidate(f"layer{at // 10}.3", (), saving, loss, loss / saving, "block")
        made.append(
            PruneStep(
                index=at,
                taken=taken,
                runners_up=(
                    Candidate("stem.conv", tuple(range(4)), saving * 0.4, loss, 2.5 * loss / saving),
                    Candidate("head.fc1", (7,), saving * 0.1, loss, 10 * loss / saving, "nodes"),
                ),
                reason="least loss per joule",
                total=before.scaled(share),
                share=share,
                calibration_loss=0.08 + 1e-4 * at * at,
                accuracy=None if at % 2 else round(0.972 - 6e-6 * at * at, 4),
                duration_s=0.4,
            )
        )
    back = Candidate("stem.conv", (1, 2, 5, 6), -4e-5, -0.004, -0.004)
    reason = "exchange: 4 channels of stem.conv put back, and the held-out loss falls from 0.2412 to 0.2372"
    made[-1] = replace(made[-1], reason=reason, runners_up=(), put_back=back)
    return tuple(made)


def quality(
    accuracy: float, size_bytes: int, energy: Estimate, latency_s: float, training: TrainingCost
) -> Quality:
    classes = ((0, 120, 0.99), (1, 130, accuracy - 0.03), (2, 110, accuracy + 0.01))
    return Quality(
        accuracy=accuracy,
        accuracy_lo=accuracy - 0.014,
        accuracy_hi=accuracy + 0.012,
        macro_f1=accuracy - 0.002,
        split="test (360 samples)",
        size_bytes=size_bytes,
        parameters=size_bytes // 4,
        training_s=training.duration_s,
        inference_energy=energy,
        latency=seconds(latency_s),
        macro_f1_lo=accuracy - 0.017,
        macro_f1_hi=accuracy + 0.011,
        classes=tuple(ClassScore(label, n, f1, f1 - 0.02, min(f1 + 0.02, 1.0)) for label, n, f1 in classes),
        memory_peak=exact(size_bytes * 1.2, "B", "modelled", "activations alive at once"),
        training=(training,),
        training_energy=training.energy,
    )


def trainings() -> tuple[TrainingCost, TrainingCost]:
    """The original's, measured, and a fine-tune, modelled and rolled back."""
    measured = Estimate(5120.0, "J", "measured", "counter", n=1, own=Spread(5, 5, 12, 12))
    modelled = joules(212.0, own=1.5, common=2.6)
    return (
        TrainingCost("original", 91.5, measured, "measured by rapl on package:0", 3900, 128),
        TrainingCost(
            "fine-tune", 3.2, modelled, "modelled on generic-x86-64-avx2/any/float32", 22, 128, kept=False
        ),
    )


def prune_record() -> PruneRecord:
    """A run on 37 layers that halves the energy in 40 steps."""
    before, after = network((16, 32, 64), staircases=True), network((12, 16, 44))
    pair = QualityPair(
        quality(0.9722, 1_480_000, before.total, 2.31e-3, trainings()[0]),
        quality(0.9694, 702_000, after.total, 1.44e-3, trainings()[1]),
        accuracy_change=-0.0028,
        accuracy_change_lo=-0.0083,
        accuracy_change_hi=0.0021,
        macro_f1_change=-0.0028,
        macro_f1_change_lo=-0.0091,
        macro_f1_change_hi=0.0033,
        latency_ratio=percent(62.3, 1.015),
    )
    small = exact_pair(before.total.value, after.total.value)
    return PruneRecord(
        model="resnet-26",
        device=BOARD,
        met="yes",
        budget=Budget(share=0.5, min_accuracy=0.96),
        before=before,
        after=after,
        steps=steps(before.total),
        refused=(
            Refusal("head.fc", 10, "its channels are the network's output", "linear", "model.py:88"),
            Refusal("stem.conv", 3, "its channels are the network's input", "conv2d", "model.py:41"),
        ),
        kept={
            item.path: (item.out_channels * 3 // 4, item.out_channels)
            for item in before.layers
            if item.op == "conv2d"
        },
        rows=(
            ("as trained", 0.972),
            ("batch norm recalibrated", 0.9715),
            ("pruned and refitted", 0.9685),
            ("fine-tune, 2 epochs, not kept", 0.9687),
        ),
        quality=pair,
        comparison="faster: 62.3 % [61.4 % to 63.3 %] of the time, beyond the margin of 2 %",
        also={"stm32h743/cmsis-nn/int8": small, "reference/edge/float32": small},
        provenance={"seed": "0", "data": "digits, 1,437 train and 360 test", "duration": "11.2 s"},
        notes=(
            "The weights of the fine-tune, 2 epochs were rolled back: validation accuracy moved by 0.0 "
            "points [−0.3 to +0.3] on 360 samples, which shows no gain.",
        ),
    )


def limited_record() -> PruneRecord:
    """The same run with four limits, one of each verdict."""
    record = prune_record()
    peak = exact(842_400.0, "B", "modelled", "activations alive at once")
    accuracy = Estimate(
        0.9685, "1", "measured", "share of samples", n=360, own=Spread(0.006, 0.006, 0.017, 0.012)
    )
    return replace(
        record,
        met="no",
        budget=Budget(share=0.5, min_accuracy=0.96, latency_s=1.45e-3, memory_bytes=512e3),
        limits=(
            LimitCheck(
                "energy of one inference", "at most 50.0 % of the original", record.after.total, "yes"
            ),
            LimitCheck("latency", "at most 1.45 ms", seconds(1.44e-3), "unsure"),
            LimitCheck("memory peak", "at most 512 kB", peak, "no"),
            LimitCheck("validation accuracy", "at least 96.0 %", accuracy, "yes"),
        ),
    )


def exact_pair(before: float, after: float) -> tuple[Estimate, Estimate]:
    """Two energies without an interval, as those of a definition."""
    return (
        Estimate(before / 8, "J", "assumed", "definition", common_with="paper"),
        Estimate(after / 8, "J", "assumed", "definition", common_with="paper"),
    )


def percent(value: float, factor: float) -> Estimate:
    own = Spread.factors(value / 100, factor**0.5, factor)
    return Estimate(value / 100, "1", "measured", "paired", n=400, own=own)


def comparison() -> Comparison:
    """Three networks; the second is faster, the third cannot be told apart on a busy machine."""
    files = ("before.onnx", "after.onnx", "after-int8.onnx")
    models = tuple(
        LatencyReport(
            file=file,
            calls=400,
            p50_s=seconds(time_s),
            p90_s=seconds(1.2 * time_s, 1.05),
            p99_s=None,
            cpu_s=seconds(0.98 * time_s),
            energy=None,
            contended=file.startswith("after-"),
            settings={"threads": "1", "graph": "all"},
        )
        for file, time_s in zip(files, (2.31e-3, 1.44e-3, 2.28e-3), strict=True)
    )
    before, faster, unclear = files
    pairs = (
        PairRatio(before, faster, percent(62.3, 1.015), percent(63.1, 1.01), "faster", 0.02, False, 4),
        PairRatio(before, unclear, percent(98.7, 1.09), percent(99.1, 1.04), "inconclusive", 0.02, True, 4),
    )
    return Comparison(models, pairs, {"onnxruntime": "1.27.1", "provider": "CPUExecutionProvider"})


def hostile_profile() -> EnergyProfile:
    """A profile whose layers carry hostile names; one real layer stands between them."""
    names = (*HOSTILE, "plain.conv")
    layers = tuple(layer(name, "conv2d", (8, 8), 64 + at, 3) for at, name in enumerate(names))
    filters = tuple(staircase(name, 8, 1e-6) for name in names)
    profile = assemble("<b>model</b>", layers, filters)
    return replace(profile, device="<i>device</i>", provenance={"<u>key</u>": "</style><b>value</b>"})


def hostile_record() -> PruneRecord:
    """A pruning run in which every text is hostile."""
    profile, plain = hostile_profile(), prune_record()
    bad = HOSTILE[1]
    taken = Candidate(bad, (0, 1), 1e-6, 0.1, 1e5)
    costs = tuple(replace(one, stage=bad, source=HOSTILE[0]) for one in trainings())
    return replace(
        plain,
        model=HOSTILE[0],
        device=bad,
        before=profile,
        after=profile,
        steps=tuple(
            replace(step, taken=taken, runners_up=(taken,), reason=HOSTILE[3], total=profile.total)
            for step in plain.steps[:4]
        ),
        refused=tuple(Refusal(name, 8, bad, HOSTILE[0], HOSTILE[3]) for name in HOSTILE),
        kept=dict.fromkeys(HOSTILE, (4, 8)),
        rows=((bad, 0.9), (HOSTILE[2], 0.8)),
        comparison=bad,
        also={bad: exact_pair(1.0, 0.5)},
        provenance={bad: HOSTILE[0]},
        notes=HOSTILE,
        limits=tuple(LimitCheck(name, bad, None, "unsure") for name in HOSTILE),
        quality=plain.quality
        and replace(plain.quality, after=replace(plain.quality.after, split=bad, training=costs)),
    )
