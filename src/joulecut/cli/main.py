"""The command ``joulecut``: chooses a command, and turns every outcome into a sentence and an exit code."""

from __future__ import annotations

import argparse
import codecs
import errno
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from io import TextIOWrapper
from typing import Final, Protocol, cast

from joulecut.cli.arguments import Parser
from joulecut.cli.output import Output
from joulecut.errors import EXIT_INTERRUPTED, EXIT_UNFORESEEN, JoulecutError, UsageError
from joulecut.reports.text import printable

__all__ = ["COMMANDS", "Command", "guarded", "main", "make_parser"]

COMMANDS: Final = (
    "profile",
    "prune",
    "bench",
    "report",
    "devices",
    "explain",
    "battery",
    "calibrate",
    "measure",
    "replay",
    "doctor",
    "simulate-sensors",
    "demo",
)
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
EXIT_BROKEN_PIPE: Final = 141
"""What a shell reports for a process that SIGPIPE ended (128 + 13)."""


_NEAREST: Final = {
    "µ": "u",
    "μ": "u",
    "±": "+-",
    "−": "-",
    "–": "-",
    "×": "x",
    "÷": "/",
    "→": "->",
    "…": "~",
    "─": "-",
}
"""ASCII for what reports use, where a stream does not speak UTF-8."""


class Command(Protocol):
    """A module of ``joulecut.cli`` that is a command."""

    HELP: str
    """One line."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare its options."""
        ...

    def run(self, args: argparse.Namespace, out: Output) -> int:
        """Do it and return the exit code."""
        ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: the arguments after the command's name; those of the process by default.

    Returns:
        The exit code. A command line that cannot be parsed, and ``--help``, raise SystemExit instead.
    """
    _prepare_streams()
    args = make_parser().parse_args(argv)
    if args.json and isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # which JSON is by definition (RFC 8259)
    out = Output(sys.stdout, sys.stderr, json=args.json, quiet=args.quiet, verbose=args.verbose)
    return guarded(lambda: _run(args, out), out)


def _prepare_streams() -> None:
    """Streams that are closed (``>&-``) swallow what they get; those that do not speak UTF-8 get ASCII."""
    codecs.register_error("joulecut.ascii", _ascii)
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="joulecut.ascii")


def _ascii(error: UnicodeError) -> tuple[str | bytes, int]:
    """What stands for characters that a stream cannot encode: the nearest ASCII, or the escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_NEAREST.get(char) or char.encode("unicode_escape").decode() for char in lost), error.end


def make_parser() -> argparse.ArgumentParser:
    """The parser with all commands; builds without importing torch, rich or numpy."""
    parser = Parser(prog="joulecut", description="Energy profiler and pruner for neural networks.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for name in COMMANDS:
        command = cast(Command, import_module(f"joulecut.cli.{name.replace('-', '_')}"))
        sub = commands.add_parser(name, help=command.HELP, description=command.HELP, allow_abbrev=False)
        command.add_arguments(sub)
        sub.add_argument("--json", action="store_true", help="print the result as JSON")
        sub.add_argument("-q", "--quiet", action="store_true", help="no notes and no progress on stderr")
        sub.add_argument("-v", "--verbose", action="store_true", help="more notes, and tracebacks of errors")
        sub.set_defaults(run=command.run)
    return parser


class _Version(argparse.Action):
    """Looks the version up only when asked."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from joulecut import __version__

        print(f"joulecut {__version__}")
        parser.exit()


def _run(args: argparse.Namespace, out: Output) -> int:
    run = cast(Callable[[argparse.Namespace, Output], int], args.run)
    with redirect_stdout(out.stderr), _hushed(out):
        code = run(args, out)
    out.stdout.flush()
    return code


@contextmanager
def _hushed(out: Output) -> Iterator[None]:
    """Warnings of other packages are shown with ``-v`` only."""
    with warnings.catch_warnings():
        if not out.verbose:
            warnings.simplefilter("ignore")
        yield


def guarded(run: Callable[[], int], out: Output) -> int:
    """Run, and turn what is raised into one line on stderr and an exit code."""
    try:
        return run()
    except JoulecutError as error:
        return _fail(out, str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail(out, "interrupted; nothing half-written.", EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except OSError as error:
        if error.filename is None and error.errno in _FULL:
            return _fail(out, f"cannot write the output: {error.strerror}.", UsageError.exit_code)
        if error.filename is None:
            return _unforeseen(out, error)
        return _fail(out, f"cannot use {error.filename}: {error.strerror}.", UsageError.exit_code)
    except Exception as error:  # noqa: BLE001 - the last line of defence, which gives bugs their exit code
        return _unforeseen(out, error)


def _unforeseen(out: Output, error: Exception) -> int:
    said = f"unforeseen {type(error).__name__}: {error}"[:400].rstrip(". :")
    return _fail(out, f"{said}. Please report it, with the output of this command and -v.", EXIT_UNFORESEEN)


def _fail(out: Output, sentence: str, code: int) -> int:
    if out.verbose:
        traceback.print_exc(file=out.stderr)
    out.stderr.write(f"joulecut: {printable(' '.join(sentence.split()))}\n")
    return code
