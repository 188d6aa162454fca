"""Explanations add up to the energy that they explain, and name every figure's source."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hw_devices import BOARD, CORE
from hw_networks import conv, depthwise, linear, resnet8

from joulecut.codec import from_json, to_json
from joulecut.errors import UnknownDevice, UsageError
from joulecut.hw_models import device, estimate, explain
from joulecut.hw_models.catalogue import all_devices
from joulecut.hw_models.modelling import OVERHEAD_PATH
from joulecut.hw_models.profile import EnergyProfile
from joulecut.workload.layer import Workload

PI4 = "raspberry-pi-4b/tflite/float32"
DEVICES = all_devices()


def test_a_layer_on_a_board_by_hand() -> None:
    net = Workload("one", (conv("c", 8, 8, 16, 32, 1),))
    found = explain(net, "c", device=BOARD)
    by_name = {term.name: term for term in found.terms}
    assert {name: term.quantity for name, term in by_name.items()} == {
        "dense MACs": 32768, "weight bytes": 4 * 544, "activation bytes": 4 * 3072, "layer calls": 1,
    }  # fmt: skip
    assert by_name["dense MACs"].joules == pytest.approx(600e-12 * 32768, rel=1e-12)
    figure = by_name["dense MACs"].coefficients[0]
    assert (figure.key, figure.value, figure.unit) == ("pj_per_mac_dense", 600, "pJ/MAC")
    assert figure.source.evidence == "measured"
    assert [figure.key for figure in found.power] == ["active_w", "idle_w"]
    assert found.formula.startswith(
        "energy = dense MACs x pj_per_mac_dense + weight bytes x pj_per_weight_byte"
    )


def test_a_layer_on_a_microcontroller_has_cycles_and_joules_per_cycle() -> None:
    found = explain(Workload("one", (depthwise("d", 8, 16),)), "d", device=CORE)
    term = found.terms[0]
    assert term.name == "depthwise MACs"
    assert [figure.key for figure in term.coefficients] == ["cycles_per_mac_depthwise", "pj_per_cycle"]
    assert term.joules == pytest.approx(9216 * 4 * 300e-12, rel=1e-12)
    assert "bytes counted as int8, the device's number type" in found.notes


@pytest.mark.parametrize("spec", DEVICES, ids=lambda spec: spec.name)
def test_terms_add_up_for_the_network_and_each_layer(spec: object) -> None:
    chosen = next(each for each in DEVICES if each is spec)
    net = replace(resnet8(), layers=(*resnet8().layers, depthwise("dw", 8, 6)))
    profile = estimate(net, chosen)
    whole = explain(profile)
    assert sum(term.joules for term in whole.terms) == pytest.approx(profile.total.value, rel=1e-12)
    assert whole.energy_j == pytest.approx(profile.total.value, rel=1e-12)
    assert whole.static_j == pytest.approx(profile.idle.value, rel=1e-12)
    assert sum(term.share for term in whole.terms) == pytest.approx(1.0, rel=1e-12)
    for row in profile.layers:
        found = explain(profile, row.path)
        assert found.energy_j == pytest.approx(row.energy.value + row.static_j, rel=1e-12)
        assert sum(term.joules for term in found.terms) == pytest.approx(found.energy_j, rel=1e-12)
        assert found.duration_s == pytest.approx(row.time.value, rel=1e-12)


def test_a_saved_profile_explains_like_the_workload() -> None:
    net = resnet8()
    saved = from_json(to_json(estimate(net, PI4)), EnergyProfile)
    for path in ("", "b2.c1", "fc"):
        assert explain(saved, path).terms == explain(net, path, device=PI4).terms


def test_padding_is_visible() -> None:
    net = Workload("odd", (conv("c", 7, 5, 6, 10, 3), linear("f", 8, 4)))
    found = explain(net, device="reference/edge/float32")
    assert "channels padded to multiples of 4: c" in found.notes
    assert found.terms[0].quantity == 21600 + 32


def test_the_constant_is_explained() -> None:
    found = explain(estimate(resnet8(), PI4), OVERHEAD_PATH)
    constant = device(PI4).coefficients.j_per_inference
    assert [(term.name, term.quantity) for term in found.terms] == [("inferences", 1.0)]
    assert found.energy_j == pytest.approx(constant, rel=1e-12)


def test_a_measured_latency_scales_the_explanation() -> None:
    profile = estimate(resnet8(), PI4, latency_s=0.010)
    found = explain(profile)
    assert found.energy_j == pytest.approx(profile.total.value, rel=1e-9)
    assert found.scale == pytest.approx(profile.total.value / estimate(resnet8(), PI4).total.value, rel=1e-9)
    assert found.static_j == pytest.approx(profile.idle.value, rel=1e-9)
    assert found.duration_s == pytest.approx(0.010, rel=1e-9)
    assert found.formula.endswith("x scale by the measured latency")


def test_data_that_changed_since_is_said() -> None:
    profile = estimate(resnet8(), PI4)
    old = replace(profile, device="odroid-n2plus/tflite/float32")
    assert any("changed since" in note for note in explain(old).notes)


def test_a_prior_says_so() -> None:
    found = explain(resnet8(), device="raspberry-pi-5/tflite/float32")
    assert any("no joule of this device was measured" in note for note in found.notes)
    assert {figure.source.evidence for figure in found.power} == {"remembered"}


def test_bad_requests() -> None:
    profile = estimate(resnet8(), PI4)
    with pytest.raises(UsageError, match=r"there is no layer 'b2\.c9'") as caught:
        explain(profile, "b2.c9")
    assert "b2.c" in caught.value.hint
    with pytest.raises(UsageError, match="no layer '<script>"):
        explain(profile, "<script>" * 2000)
    with pytest.raises(UsageError, match="no energy without a device"):
        explain(resnet8())
    with pytest.raises(UsageError, match="was measured"):
        explain(replace(profile, mode="measured"))
    with pytest.raises(UnknownDevice):
        explain(replace(profile, device="mine/a/float32"))
    assert explain(replace(profile, device="mine/a/float32"), device=device(PI4)).device == PI4
