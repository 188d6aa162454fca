"""The house itself: links, versions, pins, and no tool that leaves out a package named like a link."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import joulecut

ROOT = Path(__file__).parents[2]
LINKS = ("profiler", "pruning", "benchmarks", "hw_models")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


def tracked(*patterns: str) -> list[Path]:
    """The files of the repository; skips where the tests run from an sdist."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name]


@pytest.mark.parametrize("name", LINKS)
def test_the_four_parts_are_relative_links_at_the_root(name: str) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    assert (ROOT / name).readlink() == Path("src/joulecut") / name
    assert (ROOT / name / "__init__.py").is_file()


def test_ruff_reads_every_file_of_src_and_tests_once() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--show-files", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [Path(line).relative_to(ROOT) for line in shown.stdout.splitlines()]
    assert {path.relative_to(ROOT) for path in tracked("src/*.py", "tests/*.py")} <= set(paths)
    assert not [path for path in paths if path.parts[0] in LINKS]


@pytest.mark.parametrize("link", LINKS)
def test_importing_a_part_from_the_root_is_a_lint_error(link: str) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--stdin-filename", "tests/unit/test_x.py", "-"],
        cwd=ROOT, input=f"import {link}\n\n{link}\n", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "TID251" in checked.stdout


def test_pytest_collects_through_no_link() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only",
         "--ignore=src", "--ignore=tests", "--ignore=perf", "."],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert listed.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, listed.stdout


def test_one_version_everywhere() -> None:
    version = PROJECT["project"]["version"]
    assert joulecut.__version__ == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_needed_package_is_pinned() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9a-z.]*", line) for line in lines)
    pins = {re.split("==", line)[0].lower().replace("_", "-"): line.split("==")[1] for line in lines}
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *extras["torch"], *extras["dev"]]
    names = {re.split(r"[\[>=<]", text)[0].lower() for text in wanted} - {"joulecut"}
    assert names <= set(pins)
    assert pins["torch"] == "2.13.0"


def test_decisions_are_short_and_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    for page in sorted(folder.glob("0*.md")):
        assert f"({page.name})" in index
        assert 10 <= len(page.read_text().splitlines()) <= 25


def test_the_readme_names_only_commands_that_exist() -> None:
    from joulecut.cli.main import COMMANDS

    text = (ROOT / "README.md").read_text()
    blocks = "".join(re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    assert set(re.findall(r"^joulecut ([a-z-]+)", blocks, re.MULTILINE)) <= set(COMMANDS)
    assert all(f"joulecut {command}" in text for command in COMMANDS)
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"\bmake ([a-z]+)", text)) <= set(targets)


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
