"""Grams of CO2 equivalent: codecarbon's own tables, without a network, and errors where it would guess."""

import json
import socket
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

import pytest

from joulecut.errors import MissingExtra, UsageError
from joulecut.estimate import Estimate, Spread
from joulecut.profiler import carbon

needs_codecarbon = pytest.mark.skipif(
    find_spec("codecarbon") is None, reason="codecarbon is not installed (the extra `carbon`)"
)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a table was looked up in the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def table(name: str) -> dict[str, Any]:
    """A data file of codecarbon, read without its code."""
    text = files("codecarbon").joinpath("data", "private_infra", name).read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@needs_codecarbon
def test_every_country_of_the_table_is_what_the_table_says() -> None:
    rows = table("global_energy_mix.json")
    assert set(carbon.countries()) == set(rows)
    for code, row in rows.items():
        assert carbon.intensity_g_per_kwh(code) == pytest.approx(row["carbon_intensity"], rel=1e-3)


@needs_codecarbon
def test_every_country_is_what_a_tracker_of_codecarbon_would_report() -> None:
    from codecarbon.core.emissions import Emissions  # type: ignore[import-not-found,unused-ignore]
    from codecarbon.core.units import Energy  # type: ignore[import-not-found,unused-ignore]
    from codecarbon.external.geography import GeoMetadata  # type: ignore[import-not-found,unused-ignore]
    from codecarbon.input import DataSource  # type: ignore[import-not-found,unused-ignore]

    theirs = Emissions(DataSource())
    joules = Estimate(7.2e6, "J", "measured", "demo", n=3)
    for code in carbon.countries():
        kilograms = theirs.get_private_infra_emissions(Energy.from_energy(kWh=2.0), GeoMetadata(code))
        assert carbon.emissions(joules, code).value == pytest.approx(1000 * kilograms, rel=1e-3)


@needs_codecarbon
def test_regions_are_their_own_figures() -> None:
    pounds = table("2023/usa_emissions.json")["california"]["emissions"]
    assert carbon.intensity_g_per_kwh("USA", "California") == pytest.approx(0.45359237 * pounds)
    zone = table("nordic_emissions.json")["data"]["SE3"]["emission_factor"]
    assert carbon.intensity_g_per_kwh("swe", "se3") == pytest.approx(zone)
    province = table("2023/china_provincial_emissions.json")["data"]["CN-BJ"]["emission_factor"]
    assert carbon.intensity_g_per_kwh("CHN", "beijing") == pytest.approx(province)
    mix = table("2023/canada_energy_mix.json")["alberta"]
    shares = [mix[source] / mix["total"] for source in ("coal", "petroleum", "naturalGas")]
    grams = sum(share * g for share, g in zip(shares, (995.725971, 816.6885263, 743.8415916), strict=True))
    assert carbon.intensity_g_per_kwh("CAN", "Alberta") == pytest.approx(grams)
    assert carbon.regions("FIN") == ("FI",)
    assert carbon.regions("FRA") == ()


@needs_codecarbon
def test_the_interval_is_that_of_the_energy() -> None:
    joules = Estimate(3.6e6, "J", "measured", "counter", n=2, own=Spread.factors(3.6e6, 1.1, 1.2))
    grams = carbon.emissions(joules, "FRA")
    assert grams.unit == "g"
    assert grams.bounds(0.9)[1] == pytest.approx(1.2 * grams.value)
    assert "FRA by codecarbon" in grams.method


@needs_codecarbon
@pytest.mark.parametrize(
    ("country", "region", "sentence"),
    [
        ("France", "", r"no country 'France'.*FRA \(France\)"),
        ("FRX", "", r"no country 'FRX'.*FRA"),
        ("", "", "no country ''"),
        ("USA", "Califorina", r"no region 'Califorina' of USA.*california"),
        ("USA", "_source", "no region '_source'"),
        ("FRA", "Bretagne", "do not tell regions of FRA apart"),
    ],
)
def test_an_unknown_place_is_an_error_with_close_names(country: str, region: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        carbon.intensity_g_per_kwh(country, region)


def test_watts_are_refused() -> None:
    with pytest.raises(UsageError, match="not from W"):
        carbon.emissions(Estimate(1.0, "W", "measured", "demo"), "FRA")


@pytest.mark.skipif(find_spec("codecarbon") is not None, reason="codecarbon is installed")
def test_without_codecarbon_the_error_says_what_to_install() -> None:
    with pytest.raises(MissingExtra, match=r"codecarbon.*pip install 'joulecut\[carbon\]'"):
        carbon.intensity_g_per_kwh("FRA")
