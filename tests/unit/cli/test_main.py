import io
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from joulecut.cli.main import COMMANDS, guarded, main, make_parser
from joulecut.cli.output import Output
from joulecut.errors import BudgetUnreachable, JoulecutError, SensorDenied, UnknownDevice, UsageError


def run(raised: BaseException, *, verbose: bool = False) -> tuple[int, str]:
    """Exit code and stderr of a command that raises."""

    def command() -> int:
        raise raised

    out = Output(io.StringIO(), io.StringIO(), verbose=verbose)
    code = guarded(command, out)
    assert isinstance(out.stderr, io.StringIO)
    return code, out.stderr.getvalue()


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("no such file.", hint="Name another."), 2, "joulecut: no such file. Name another.\n"),
        (UnknownDevice("x", []), 2, "joulecut: unknown device 'x'. `joulecut devices` lists them all.\n"),
        (BudgetUnreachable("the best is 13 mJ."), 3, "joulecut: the best is 13 mJ.\n"),
        (SensorDenied("denied.", hint="sudo ..."), 4, "joulecut: denied. sudo ...\n"),
        (JoulecutError("a\nb\x1b[2Jc"), 70, "joulecut: a b\\x1b[2Jc\n"),
        (KeyboardInterrupt(), 130, "joulecut: interrupted; nothing half-written.\n"),
        (FileNotFoundError(2, "No such file or directory", "a.onnx"), 2,
         "joulecut: cannot use a.onnx: No such file or directory.\n"),
        (ZeroDivisionError("a bug."), 70,
         "joulecut: unforeseen ZeroDivisionError: a bug. "
         "Please report it, with the output of this command and -v.\n"),
        (OSError("odd"), 70,
         "joulecut: unforeseen OSError: odd. Please report it, with the output of this command and -v.\n"),
    ],
)  # fmt: skip
def test_what_is_raised_becomes_one_line_and_a_code(error: BaseException, code: int, line: str) -> None:
    assert run(error) == (code, line)


def test_verbose_adds_the_traceback() -> None:
    code, said = run(UsageError("no such file."), verbose=True)
    assert code == 2
    assert said.startswith("Traceback (most recent call last)")
    assert said.endswith("joulecut: no such file.\n")


def test_a_huge_message_stays_short() -> None:
    assert len(run(RuntimeError("x" * 100_000))[1]) < 600


def test_leaving_on_purpose_is_not_caught() -> None:
    with pytest.raises(SystemExit):
        run(SystemExit(7))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_json_quiet_and_verbose(command: str) -> None:
    needed = {
        "profile": ["m"], "prune": ["m", "--budget", "1J", "--device", "d", "--data", "x", "-o", "f"],
        "bench": ["a.onnx"], "report": ["f"], "explain": ["p.json"],
        "battery": ["p.json", "--capacity", "1Wh"], "replay": ["r"],
        "simulate-sensors": ["d"], "calibrate": ["d", "rows.csv"],
    }  # fmt: skip
    args = make_parser().parse_args([command, *needed.get(command, []), "--json", "-q", "-v"])
    assert (args.json, args.quiet, args.verbose) == (True, True, True)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["prone"], "invalid choice: 'prone'"),
        (["profile"], "the following arguments are required: MODEL"),
        (["profile", "m", "--batch", "0"], "argument --batch: '0' is not a whole number from 1 up"),
        (["profile", "m", "--bat", "2"], "unrecognized arguments: --bat"),
        (["prune", "m", "--device", "d", "--data", "x", "-o", "f"], "required: --budget"),
        (
            ["bench", "a", "--margin", "two"],
            "argument --margin: 'two' is not a share; write it as 2% or 0.02",
        ),
        (["profile", "m", "x\x1b[2J"], r"unrecognized arguments: x\x1b[2J"),
        (["report", "r", "--html", ""], "argument --html: the name of the file is empty"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    said = capsys.readouterr()
    assert caught.value.code == 2
    assert said.out == ""
    assert says in said.err
    assert said.err.startswith("joulecut: ")
    assert "--help` shows what it takes" in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (
            ["profile", "m", "--sensor", "nvml"],
            "--sensor nvml: joules by layer are modelled in this version.",
        ),
        (["profile", "m", "--sensor", "replay:f"], "--sensor replay:f: joules by layer are modelled"),
        (["profile", "m", "--sensor", "rapple"], "unknown sensor 'rapple'. Use --sensor model."),
        (["profile", "m", "-o", "/dev/null/p.json"], "cannot write /dev/null/p.json: there is no folder"),
        (["profile", "m", "--html", "/"], "cannot write /: it is a folder."),
        (["report", "r", "--html", "/nowhere/at/all.html"], "there is no folder /nowhere/at"),
        (["demo", "-o", "/dev/null"], "/dev/null is a file, not a folder."),
    ],
)
def test_what_cannot_end_well_is_refused_before_any_work(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("joulecut: ")
    assert says in said.err


def test_help_shows_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in COMMANDS)


@pytest.mark.parametrize("argv", [["--help"], ["prune", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(argv: list[str], modules_of: Callable[[list[str]], set[str]]) -> None:
    loaded = modules_of(argv)
    assert "joulecut.cli.main" in loaded
    assert not loaded & {"torch", "numpy", "msgspec", "onnx", "onnxruntime", "rich", "joulecut.api"}


def imported(code: str) -> set[str]:
    """The modules that are loaded after some code ran in a fresh interpreter."""
    program = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_the_parser_loads_nothing_heavy() -> None:
    loaded = imported("from joulecut.cli.main import make_parser; make_parser()")
    assert not loaded & {"torch", "numpy", "rich", "msgspec", "onnx", "onnxruntime", "joulecut.api"}


def test_a_reader_that_goes_away_is_no_error() -> None:
    """`joulecut --help | true`, with a pipe whose reading end is closed before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    program = (
        "import sys\nfrom joulecut.cli.main import guarded\nfrom joulecut.cli.output import Output\n"
        "def run():\n    print('x' * 100_000, flush=True)\n    return 0\n"
        "sys.exit(guarded(run, Output(sys.stdout, sys.stderr)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.fixture
def words() -> Callable[[Output], str]:
    """What an output said on stderr."""

    def read(out: Output) -> str:
        assert isinstance(out.stderr, io.StringIO)
        return out.stderr.getvalue()

    return read


def test_notes_are_escaped_and_quiet_is_quiet(words: Callable[[Output], str]) -> None:
    loud, quiet = Output(io.StringIO(), io.StringIO()), Output(io.StringIO(), io.StringIO(), quiet=True)
    for out in (loud, quiet):
        out.note("saved \x1b[2J.json")
    assert (words(loud), words(quiet)) == ("saved \\x1b[2J.json\n", "")


def test_progress_is_for_terminals(words: Callable[[Output], str]) -> None:
    piped = Output(io.StringIO(), io.StringIO())
    with piped.progress() as progress:
        assert progress is None
    verbose = Output(io.StringIO(), io.StringIO(), verbose=True)
    with verbose.progress() as progress:
        assert progress is not None
        progress("pruning", 1, 20)
        progress("pruning", 2, 20)
        progress("refit", 1, 3)
    assert words(verbose) == "pruning (20)\nrefit (3)\n"


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_on_stderr_only(words: Callable[[Output], str]) -> None:
    out = Output(io.StringIO(), Terminal())
    with out.progress() as progress:
        assert progress is not None
        progress("stage [bold]\x1b[2J", 1, 2)
        progress("stage [bold]\x1b[2J", 2, 2)
    assert "stage [bold]\\x1b[2J" in words(out)
    assert out.stdout.getvalue() == "" if isinstance(out.stdout, io.StringIO) else False
