"""The zoo's results as text: one line for each network, totals beside Torch-Pruning, and the bars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from perf.zoo_networks import COSTED, Network
from perf.zoo_process import Result

__all__ = ["line", "summary"]

GOOD = ("exact", "inexact")
"""Verdicts on a network that runs, keeps its output's shape, is smaller and equals the reference."""

EXACT_BAR = 114
INEXACT_BAR = 30
LEAD_BAR = 50
COST_BARS_S = dict(zip(COSTED, (2.0, 12.0), strict=True))
"""CPU seconds to export and couple."""
MEMORY_BAR_BYTES = 2 << 30
GIB = 1 << 30


def line(result: Result) -> str:
    """One result in one line."""
    before, after = result.get("parameters", (0, 0))
    kept = f"{after / before:6.1%}" if before else "     -"
    difference = f"{result['difference']:.0e}" if "difference" in result else "    -"
    seconds = f"{result['couple_s']:6.1f} s" if "couple_s" in result else "       -"
    memory = f"{result.get('peak_rss_bytes', 0) / GIB:5.2f} GiB"
    retried = f"setting {result['setting']}" if result.get("setting") else ""
    why = result.get("reason") or _marks(result) or retried
    return (
        f"{result['name']:40} {result['verdict']:11} {kept} {difference} {seconds} {memory}  {why}".rstrip()
    )


def _marks(result: Result) -> str:
    """What the marked groups do: whether the headline needed them, and what cutting them too leaves."""
    every = result.get("every_group")
    if every is None:
        return ""
    before, after = every.get("parameters", (1, 1))
    asked = "nothing exact is worth 5 %, asked for those marked" if result["verdict"] == "inexact" else "with"
    return f"{asked} {', '.join(result['inexact'])}: {every['verdict']} {after / before:.1%}"


def summary(
    networks: Sequence[Network], ours: Mapping[Network, Result], peer: Mapping[Network, Result]
) -> str:
    """Everything that is known about these networks."""
    parts = []
    for title, results in (("joulecut", ours), ("Torch-Pruning", peer)):
        known = [results[n] for n in networks if n in results]
        if known:
            parts += ["", f"{title}: verdict, parameters kept, difference, coupling, memory, reason"]
            parts += [line(result) for result in known]
    return "\n".join(
        [*parts, *_failures(networks, ours, peer), *_cost(ours, peer), *_totals(networks, ours, peer)]
    )


def _verdicts(networks: Iterable[Network], results: Mapping[Network, Result]) -> Counter[str]:
    return Counter(results[n]["verdict"] for n in networks if n in results)


def _failures(
    networks: Sequence[Network], ours: Mapping[Network, Result], peer: Mapping[Network, Result]
) -> list[str]:
    lines = []
    for title, results, good in (("joulecut", ours, GOOD), ("Torch-Pruning", peer, ("runs",))):
        known = [results[n] for n in networks if n in results]
        reasons = Counter(f"{r['verdict']}: {r['reason'][:90]}" for r in known if r["verdict"] not in good)
        if reasons:
            lines += ["", f"why {title} fails"]
            lines += [f"{count:4}  {reason}" for reason, count in reasons.most_common()]
    refused = Counter[str]()
    for network in networks:
        refused.update(ours.get(network, {}).get("refused", {}))
    if refused:
        lines += ["", "why channels stay (channels in all networks)"]
        lines += [f"{count:8}  {reason}" for reason, count in refused.most_common(15)]
    return lines


def _cost(ours: Mapping[Network, Result], peer: Mapping[Network, Result]) -> list[str]:
    lines = []
    for network, bar in COST_BARS_S.items():
        if network not in ours:
            continue
        found, theirs = ours[network], peer.get(network, {})
        if "couple_s" not in found:
            lines.append(f"{network.name}: {found['verdict']}, {found['reason']}")
            continue
        seconds, memory = found["couple_s"], found["peak_rss_bytes"]
        beside = f"; Torch-Pruning {theirs['couple_s']:.1f} s" if "couple_s" in theirs else ""
        lines.append(
            f"{network.name}, {network.side} pixels: export and coupling {seconds:.1f} s CPU"
            f"{_bar(bar, seconds <= bar, whole=True)}, {memory / GIB:.2f} GiB"
            f"{_bar(MEMORY_BAR_BYTES / GIB, memory < MEMORY_BAR_BYTES, whole=True)}{beside}"
        )
    return ["", *lines] if lines else []


def _totals(
    networks: Sequence[Network], ours: Mapping[Network, Result], peer: Mapping[Network, Result]
) -> list[str]:
    """Counts of both sides, against the bars where all networks have been tried."""
    mine, theirs = _verdicts(networks, ours), _verdicts(networks, peer)
    good = sum(mine[verdict] for verdict in GOOD)
    lines = [""]
    if mine:
        whole = mine.total() == len(networks) >= EXACT_BAR
        every = _verdicts(networks, {n: r.get("every_group", r) for n, r in ours.items()})
        tried = [{r["verdict"], r.get("every_group", r)["verdict"]} for n, r in ours.items() if n in networks]
        wrong, breaks = (sum(verdict in found for found in tried) for verdict in ("wrong", "breaks"))
        lines += [
            f"joulecut, what it cuts by default: {good} of {mine.total()} smaller and equal to the reference"
            + _bar(EXACT_BAR, good >= EXACT_BAR, whole=whole),
            f"  of them marked inexact, as nothing exact is worth 5 %: {mine['inexact']}"
            + _bar(INEXACT_BAR, mine["inexact"] <= INEXACT_BAR, whole=whole),
            f"joulecut, every group cut: {sum(every[verdict] for verdict in GOOD)} of {every.total()}, "
            f"of them marked inexact: {every['inexact']}",
            f"  wrong: {wrong}" + _bar(0, wrong == 0, whole=whole),
            f"  break in forward: {breaks}" + _bar(0, breaks == 0, whole=whole),
            f"  others: {_others(mine, (*GOOD, 'wrong', 'breaks'))}",
        ]
    if theirs:
        plain = sum(peer[n]["verdict"] == "runs" and not peer[n]["setting"] for n in networks if n in peer)
        lines += [
            f"Torch-Pruning: {theirs['runs']} of {theirs.total()} run and are smaller (equal to nothing), "
            f"{plain} as its examples call it, the others with further settings",
            f"  others: {_others(theirs, ('runs',))}",
        ]
    if mine and theirs:
        whole = mine.total() == theirs.total() == len(networks) >= EXACT_BAR
        leads = {"": good - theirs["runs"], ", without further settings": good - plain}
        lines += [
            f"joulecut ahead{what}: {lead} networks" + _bar(LEAD_BAR, lead >= LEAD_BAR, whole=whole)
            for what, lead in leads.items()
        ]
    return lines


def _bar(bar: float, holds: bool, *, whole: bool) -> str:
    """A bar and whether it is met; nothing where not all was tried."""
    return f" (bar {bar:g}: {_met(holds)})" if whole else ""


def _others(verdicts: Counter[str], known: Sequence[str]) -> str:
    rest = [f"{count} {verdict}" for verdict, count in verdicts.most_common() if verdict not in known]
    return ", ".join(rest) or "none"


def _met(holds: bool) -> str:
    return "met" if holds else "missed"
