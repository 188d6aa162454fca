"""Joules to grams of CO2 equivalent, by the tables that codecarbon carries: no network, no sampling.

The tables are yearly means of a country's or region's electricity; codecarbon names their sources (Our World
in Data for countries, EPA eGRID for states of the USA, ...). An unknown place is an error here: codecarbon
itself falls back to the world's mean, with a line in its log.
"""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from importlib.metadata import version
from typing import Any, Final

from joulecut.errors import UsageError
from joulecut.estimate import Estimate
from joulecut.profiler.optional import hushed, import_optional

__all__ = ["countries", "emissions", "intensity_g_per_kwh", "regions"]

_JOULES_PER_KWH: Final = 3.6e6
_NORDIC_ZONES: Final = {"SWE": "SE", "NOR": "NO", "FIN": "FI"}
"""Countries with bidding zones in codecarbon's table, and how the zones' names begin."""


def emissions(energy: Estimate, country: str, region: str = "") -> Estimate:
    """The grams of CO2 equivalent of an energy.

    Args:
        energy: in joules.
        country: ISO 3166 code of three letters (``FRA``).
        region: a state, province or bidding zone that ``regions`` lists; "" for the country.

    Returns:
        Grams; the interval is that of the energy alone, since the tables state no error.

    Raises:
        MissingExtra: codecarbon is not installed.
        UsageError: an unknown country or region, with close names; or an energy in another unit.
    """
    if energy.unit != "J":
        raise UsageError(f"emissions follow from joules, not from {energy.unit}.")
    intensity = intensity_g_per_kwh(country, region)
    place = f"{country.upper()} {region}".strip()
    method = f"{energy.method}, {intensity:.6g} g/kWh for {place} by codecarbon {version('codecarbon')}"
    grams = energy.scaled(intensity / _JOULES_PER_KWH, method=method)
    return replace(grams, unit="g", common_with="")


def intensity_g_per_kwh(country: str, region: str = "") -> float:
    """Grams of CO2 equivalent per kWh of electricity, as codecarbon would use it.

    Raises:
        MissingExtra: codecarbon is not installed.
        UsageError: an unknown country or region, with close names.
    """
    code = _country(country)
    place = _region(code, region) if region else None
    units = _codecarbon("core.units")
    geo = _codecarbon("external.geography").GeoMetadata(country_iso_code=code, region=place)
    with hushed("codecarbon"):
        kilograms = (
            _codecarbon("core.emissions")
            .Emissions(_tables())
            .get_private_infra_emissions(units.Energy.from_energy(kWh=1.0), geo)
        )
    return 1000 * float(kilograms)


def countries() -> dict[str, str]:
    """The countries of the table: code to name."""
    return {code: str(row["country_name"]) for code, row in _tables().get_global_energy_mix_data().items()}


def regions(country: str) -> tuple[str, ...]:
    """The regions of a country that the tables tell apart; none for most countries."""
    code, tables = _country(country), _tables()
    if code == "USA":
        found = [name for name in tables.get_country_emissions_data("usa") if not name.startswith("_")]
    elif code == "CAN":
        found = list(tables.get_country_energy_mix_data("can"))
    elif code == "CHN":
        provinces = tables.get_china_provincial_emissions_data()["data"].values()
        found = [name for province in provinces for name in province["names"]]
    else:
        zones = tables.get_nordic_country_energy_mix_data()["data"] if code in _NORDIC_ZONES else ()
        found = [zone for zone in zones if zone.startswith(_NORDIC_ZONES[code])]
    return tuple(sorted(found))


def _country(country: str) -> str:
    known = countries()
    if country.upper() in known:
        return country.upper()
    by_name = {name.lower(): code for code, name in known.items()}
    close = [by_name[name] for name in get_close_matches(country.lower()[:80], by_name, n=2, cutoff=0.7)]
    close += get_close_matches(country.upper()[:80], known, n=4 - len(close), cutoff=0.6)
    named = ", ".join(f"{code} ({known[code]})" for code in dict.fromkeys(close))
    raise UsageError(
        f"codecarbon's table knows no country {country[:80]!r}.",
        hint=f"Close: {named}." if named else "Give its ISO code of three letters, as FRA.",
    )


def _region(code: str, region: str) -> str:
    known = {name.lower(): name for name in regions(code)}
    if region.lower() in known:
        return known[region.lower()]
    if not known:
        raise UsageError(f"codecarbon's tables do not tell regions of {code} apart.", hint="Leave it out.")
    close = get_close_matches(region.lower()[:80], known, n=3, cutoff=0.5) or sorted(known)[:60]
    raise UsageError(
        f"codecarbon's tables know no region {region[:80]!r} of {code}.",
        hint=f"Known: {', '.join(known[name] for name in close)}.",
    )


def _tables() -> Any:
    return _codecarbon("input").DataSource()


def _codecarbon(module: str) -> Any:
    return import_optional(
        f"codecarbon.{module}", package="codecarbon", extra="carbon", purpose="grams of CO2 equivalent"
    )
