"""Check what a source distribution and a wheel hold. Usage: members.py SDIST WHEEL"""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

LINKS = ("profiler", "pruning", "benchmarks", "hw_models")


def problems_of_sdist(names: list[str]) -> list[str]:
    """The links at the root stay out: they would unpack as copies that nobody imports."""
    paths = [name.split("/", 1)[1] for name in names if "/" in name]
    wrong = [path for path in paths if path.split("/")[0] in LINKS]
    missing = {"pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md"} - set(paths)
    return [f"sdist holds {path}" for path in wrong] + [f"sdist lacks {path}" for path in missing]


def problems_of_wheel(names: list[str], wanted: list[str]) -> list[str]:
    """A wheel holds the package, every file of it, and its metadata."""
    wrong = [name for name in names if not name.startswith(("joulecut/", "joulecut-"))]
    missing = [name for name in wanted if name not in names]
    return [f"wheel holds {name}" for name in wrong] + [f"wheel lacks {name}" for name in missing]


def main(sdist: str, wheel: str) -> int:
    """Say what is wrong with either; 1 if anything is."""
    tracked = subprocess.run(["git", "ls-files", "src/joulecut"], capture_output=True, text=True, check=True)
    wanted = [str(Path(name).relative_to("src")) for name in tracked.stdout.splitlines()]
    with tarfile.open(sdist) as archive:
        found = problems_of_sdist(archive.getnames())
    with zipfile.ZipFile(wheel) as archive_of_wheel:
        found += problems_of_wheel(archive_of_wheel.namelist(), wanted)
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
