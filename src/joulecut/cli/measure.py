"""``joulecut measure``: like ``time``, for energy."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from joulecut.cli.arguments import Parser, path_text, positive_count, seconds_or_none
from joulecut.cli.output import Output, check_file
from joulecut.errors import EXIT_INTERRUPTED, UsageError

if TYPE_CHECKING:
    from joulecut.profiler.records import Measurement, Trace

__all__ = ["HELP", "add_arguments", "add_place", "run", "show", "with_emissions"]

HELP = "the joules of a command, gross, idle and net"
EXIT_FAILED: Final = 125
"""The measuring failed, as with ``timeout`` and ``env``."""
_PASSED_ON: Final = frozenset({126, 127, EXIT_INTERRUPTED})
"""The command could not be executed, was not found, or Ctrl-C came while idle was measured."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    if isinstance(parser, Parser):
        parser.usage_exit = EXIT_FAILED
    parser.add_argument(
        "--sensor", metavar="NAME", default="auto", help="auto, nvml, rapl, jetson, pyrapl or codecarbon"
    )
    parser.add_argument("--powercap-root", metavar="DIR", type=path_text, help="folder of the RAPL zones")
    parser.add_argument(
        "--repeat", metavar="N", type=positive_count, default=1, help="run it N times; a failure ends it"
    )
    parser.add_argument(
        "--idle",
        metavar="S",
        type=seconds_or_none,
        default=3.0,
        help="seconds of idle time measured before and after (default 3; 0 for none)",
    )
    parser.add_argument("--record", metavar="FILE", type=path_text, help="save all readings, for `replay`")
    add_place(parser)
    parser.add_argument("-o", "--output", metavar="FILE", type=path_text, help="save the measurement")
    parser.add_argument("command", metavar="COMMAND", nargs=argparse.REMAINDER, help="what to run, after --")


def add_place(parser: argparse.ArgumentParser) -> None:
    """Declare the options that name the electricity's origin."""
    parser.add_argument("--country", metavar="CODE", help="print CO2 equivalent for its electricity, as FRA")
    parser.add_argument("--region", metavar="NAME", default="", help="of that country")


def run(args: argparse.Namespace, out: Output) -> int:
    """Run the command, and print its joules to stderr; its exit code, or 125 to 127."""
    from joulecut.cli.main import guarded

    codes: list[int] = []

    def measured() -> int:
        codes.append(_run(args, out))
        return 0

    failure = guarded(measured, out)
    return codes[0] if codes else failure if failure in _PASSED_ON else EXIT_FAILED


def _run(args: argparse.Namespace, out: Output) -> int:
    from joulecut.profiler.evaluate import evaluate
    from joulecut.profiler.recording import save_trace

    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    _check(args, command)
    trace = _record(args, command)
    if args.record:
        save_trace(trace, args.record)
    show(with_emissions(evaluate(trace), args.country, args.region), args.output, out)
    return trace.exit_code or 0


def _check(args: argparse.Namespace, command: list[str]) -> None:
    """Refuse what cannot be done, before anything is run."""
    if not command:
        raise UsageError("there is no command to measure.", hint="Write it after --: joulecut measure -- ls")
    if args.region and not args.country:
        raise UsageError("--region needs --country.")
    check_file(args.record)
    check_file(args.output)
    if args.country:
        from joulecut.profiler.carbon import intensity_g_per_kwh

        intensity_g_per_kwh(args.country, args.region)


def _record(args: argparse.Namespace, command: list[str]) -> Trace:
    from joulecut.profiler.command import record_command
    from joulecut.profiler.measure import recording
    from joulecut.profiler.sensors.choose import Sources

    sources = Sources(powercap=Path(args.powercap_root) if args.powercap_root else None)
    with recording(args.sensor, sources=sources) as recorder:
        return record_command(recorder, command, shlex.join(command), repeat=args.repeat, idle_s=args.idle)


def with_emissions(measured: Measurement, country: str | None, region: str) -> Measurement:
    """The measurement with its CO2 equivalent, where a country is named."""
    if not country or measured.total is None:
        return measured
    from joulecut.profiler.carbon import emissions

    return replace(measured, emissions_g=emissions(measured.total, country, region))


def show(measured: Measurement, path: str | None, out: Output) -> None:
    """Save it where asked, and print it: figures to stderr, or one line of JSON to stdout."""
    from joulecut.codec import to_json, to_json_line, write_text
    from joulecut.reports.measure_console import print_measurement

    if path:
        write_text(Path(path), to_json(measured))
    if out.json:
        out.stdout.write(to_json_line(measured))
    elif not out.quiet:
        out.describe(measured, print_measurement)
