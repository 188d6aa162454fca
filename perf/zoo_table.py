"""The zoo's results as text: one line for each network, totals beside Torch-Pruning, and the bars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from perf.zoo_networks import Network
from perf.zoo_process import Result

__all__ = ["line", "summary"]

GOOD = ("exact", "inexact")
"""Verdicts on a network that runs, keeps its output's shape, is smaller and equals the reference."""

EXACT_BAR = 114
INEXACT_BAR = 30
LEAD_BAR = 50
COST_BARS = {"torchvision:resnet50": 2.0, "torchvision:vit_b_16": 12.0}
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
    why = result.get("reason") or _marks(result)
    return (
        f"{result['name']:40} {result['verdict']:11} {kept} {difference} {seconds} {memory}  {why}".rstrip()
    )


def _marks(result: Result) -> str:
    """The operations that make a network inexact, and what is left of it without cutting those groups."""
    if not result.get("exact_groups"):
        return ", ".join(result.get("inexact", ()))
    alone = result["exact_groups"]
    before, after = alone.get("parameters", (1, 1))
    return f"{', '.join(result['inexact'])}; without: {alone['verdict']} {after / before:.1%}"


def summary(networks: Sequence[Network], ours: Mapping[str, Result], peer: Mapping[str, Result]) -> str:
    """Everything that is known about these networks."""
    parts = []
    names = [network.name for network in networks]
    for title, results in (("joulecut", ours), ("Torch-Pruning", peer)):
        known = [results[name] for name in names if name in results]
        if known:
            parts += ["", f"{title}: verdict, parameters kept, difference, coupling, memory, reason"]
            parts += [line(result) for result in known]
    return "\n".join([*parts, *_failures(names, ours, peer), *_cost(ours, peer), *_totals(names, ours, peer)])


def _verdicts(names: Iterable[str], results: Mapping[str, Result]) -> Counter[str]:
    return Counter(results[name]["verdict"] for name in names if name in results)


def _failures(names: Sequence[str], ours: Mapping[str, Result], peer: Mapping[str, Result]) -> list[str]:
    lines = []
    for title, results, good in (("joulecut", ours, GOOD), ("Torch-Pruning", peer, ("runs",))):
        known = [results[name] for name in names if name in results]
        reasons = Counter(f"{r['verdict']}: {r['reason'][:90]}" for r in known if r["verdict"] not in good)
        if reasons:
            lines += ["", f"why {title} fails"]
            lines += [f"{count:4}  {reason}" for reason, count in reasons.most_common()]
    refused = Counter[str]()
    for name in names:
        refused.update(ours.get(name, {}).get("refused", {}))
    if refused:
        lines += ["", "why channels stay (channels in all networks)"]
        lines += [f"{count:8}  {reason}" for reason, count in refused.most_common(15)]
    return lines


def _cost(ours: Mapping[str, Result], peer: Mapping[str, Result]) -> list[str]:
    lines = []
    for name, bar in COST_BARS.items():
        if name not in ours:
            continue
        seconds, memory = ours[name].get("couple_s"), ours[name].get("peak_rss_bytes")
        if seconds is None or memory is None:
            lines.append(f"{name}: {ours[name]['verdict']}, {ours[name]['reason']}")
            continue
        theirs = peer.get(name, {})
        beside = f"; Torch-Pruning {theirs['couple_s']:.1f} s" if "couple_s" in theirs else ""
        lines.append(
            f"{name}: export and coupling {seconds:.1f} s CPU (bar {bar:g}: {_met(seconds <= bar)}), "
            f"{memory / GIB:.2f} GiB (bar 2: {_met(memory < MEMORY_BAR_BYTES)}){beside}"
        )
    return ["", *lines] if lines else []


def _totals(names: Sequence[str], ours: Mapping[str, Result], peer: Mapping[str, Result]) -> list[str]:
    mine, theirs = _verdicts(names, ours), _verdicts(names, peer)
    lines = [""]
    if mine:
        good = sum(mine[verdict] for verdict in GOOD)
        spared = sum(_exact_without(ours.get(name, {})) for name in names)
        whole = len(names) >= EXACT_BAR
        lines += [
            f"joulecut: {good} of {mine.total()} smaller and equal to the reference"
            + (f" (bar {EXACT_BAR}: {_met(good >= EXACT_BAR)})" if whole else ""),
            f"  of them marked inexact: {mine['inexact']}"
            + (f" (bar {INEXACT_BAR}: {_met(mine['inexact'] <= INEXACT_BAR)})" if whole else ""),
            f"  of those, {spared} are 5 % smaller and exact with their inexact groups left whole; "
            f"{mine['inexact'] - spared} are not",
            f"  wrong: {mine['wrong']} (bar 0: {_met(mine['wrong'] == 0)})",
            f"  break in forward: {mine['breaks']} (bar 0: {_met(mine['breaks'] == 0)})",
            f"  others: {_others(mine, (*GOOD, 'wrong', 'breaks'))}",
        ]
    if theirs:
        lines += [
            f"Torch-Pruning: {theirs['runs']} of {theirs.total()} run and are smaller (equal to nothing)",
            f"  others: {_others(theirs, ('runs',))}",
        ]
    if mine and theirs:
        lead = sum(mine[verdict] for verdict in GOOD) - theirs["runs"]
        bar = f" (bar {LEAD_BAR}: {_met(lead >= LEAD_BAR)})" if len(names) >= EXACT_BAR else ""
        lines.append(f"joulecut ahead by {lead} networks{bar}")
    return lines


def _exact_without(result: Result) -> bool:
    """Whether a network marked inexact is pruned exactly by its other groups alone."""
    return bool(result.get("verdict") == "inexact" and result["exact_groups"]["verdict"] == "exact")


def _others(verdicts: Counter[str], known: Sequence[str]) -> str:
    rest = [f"{count} {verdict}" for verdict, count in verdicts.most_common() if verdict not in known]
    return ", ".join(rest) or "none"


def _met(holds: bool) -> str:
    return "met" if holds else "missed"
