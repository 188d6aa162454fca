"""How many networks of torchvision and timm can be pruned, exactly, beside Torch-Pruning.

    python -m perf.zoo [--sample] [--only NAME ...] [--list FILE] [--ours-only | --peer-only] [--again]

Removes from each of 116 networks with random weights, with joulecut and with Torch-Pruning, the 40 % of the
channels of every group that have the smallest L2 norm, each network in a process of its own on one thread.
Ours must run, keep its output's shape, lose 5 % of its parameters and equal a reference to 1e-5
(perf/zoo_reference.py); Torch-Pruning's need not equal anything. We cut what the engine gives by default,
its exact groups, and ask for those marked inexact only where nothing exact is worth 5 %; a second line
counts with every group cut. Stop it at any time: what is done is read back from --out, and ours is done
again where the engine has changed since. `make perf-env` makes the environment that it runs in.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from perf.zoo_networks import COSTED, LIST, SAMPLE, Network, zoo
from perf.zoo_ours import engine_version
from perf.zoo_peer import SETTINGS
from perf.zoo_process import Result, read_results, run_alone, store
from perf.zoo_table import line, summary

OURS_LIMIT_S = 300.0
PEER_LIMIT_S = 60.0


def ours(network: Network, limit_s: float) -> Result:
    """What joulecut does with one network."""
    return run_alone("perf.zoo_ours", [network.name, str(network.side)], limit_s)


def peer(network: Network, limit_s: float) -> Result:
    """What Torch-Pruning does with one network: the first setting that works, else what the first said."""
    first: Result = {}
    for setting in range(len(SETTINGS)):
        what = [network.name, str(network.side), "--setting", str(setting)]
        result = run_alone("perf.zoo_peer", what, limit_s)
        first = first or result
        if result["verdict"] == "runs":
            return result
        if result["verdict"] == "no end":
            break
    return first


def run_peer(networks: Iterable[Network], file: Path, limit_s: float, again: bool) -> dict[Network, Result]:
    """Torch-Pruning's results, those of ``file`` first."""
    done = {} if again else read_results(file)
    for network in networks:
        if network not in done:
            done[network] = peer(network, limit_s) | _named(network) | {"limit_s": limit_s}
            store(file, done[network])
            print(line(done[network]), flush=True)
    return done


def run_ours(networks: Iterable[Network], file: Path, limit_s: float, again: bool) -> dict[Network, Result]:
    """Our results, those of ``file`` first where they are of the engine as it is."""
    done = {} if again else read_results(file)
    for network in networks:
        version = engine_version()
        if done.get(network, {}).get("engine") != version:
            done[network] = ours(network, limit_s) | _named(network) | {"engine": version}
            store(file, done[network])
            print(line(done[network]), flush=True)
    return done


def _named(network: Network) -> Result:
    return {"name": network.name, "side": network.side}


def chosen(networks: Iterable[Network], names: Sequence[str]) -> list[Network]:
    """The networks with these names, which may leave out the package; all where there are no names."""
    found = [n for n in networks if not names or n.name in names or n.name.partition(":")[2] in names]
    if not found:
        raise SystemExit(f"none of these is in the list: {', '.join(names)}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--list", type=Path, default=LIST, help="of other networks: a name and a side a line")
    parser.add_argument("--sample", action="store_true", help="ten networks, for a first look")
    sides = parser.add_mutually_exclusive_group()
    sides.add_argument("--ours-only", action="store_true")
    sides.add_argument("--peer-only", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(".perf/zoo"), help="folder of the results")
    parser.add_argument("--again", action="store_true", help="run what is done already too")
    parser.add_argument("--limit", type=float, default=OURS_LIMIT_S, help="CPU seconds for ours")
    parser.add_argument("--peer-limit", type=float, default=PEER_LIMIT_S, help="CPU seconds for one try")
    args = parser.parse_args()
    networks = chosen(zoo(args.list), SAMPLE if args.sample else args.only)
    costed = [] if args.only or args.list != LIST else list(COSTED)
    mine: dict[Network, Result] = {}
    theirs: dict[Network, Result] = {}
    if not args.peer_only:
        mine = run_ours([*costed, *networks], args.out / "joulecut.jsonl", args.limit, args.again)
    if not args.ours_only:
        theirs = run_peer([*costed, *networks], args.out / "torch-pruning.jsonl", args.peer_limit, args.again)
    print(summary(networks, mine, theirs))


if __name__ == "__main__":
    main()
