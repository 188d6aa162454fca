"""pyRAPL behind our protocol. It reads /sys/class/powercap and nothing else, so it gets that folder in a
mount namespace of its own, which needs root."""

import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

from joulecut.errors import MissingExtra
from joulecut.profiler.clock import SystemClock
from joulecut.profiler.sensors.pyrapl import open_pyrapl

STUBS = Path(__file__).parents[3] / "stubs"
BESIDE_OURS = """
    import sys
    from pathlib import Path
    sys.path.insert(0, {stubs!r})
    from powercap_tree import PowercapTree, TreeClock
    from joulecut.profiler.sensors.pyrapl import open_pyrapl
    tree = PowercapTree(Path({folder!r}))
    tree.add("intel-rapl:0", "package-0", watts=20.0)
    tree.add("intel-rapl:0:0", "core", watts=9.0)
    tree.add("intel-rapl:0:1", "dram", watts=3.0)
    Path("/sys/class/powercap").symlink_to(tree.root)
    clock = TreeClock(tree, step_s=0.0)
    sensor = open_pyrapl(clock)
    begin = sensor.read()
    clock.sleep_s(2.0)
    end = sensor.read()
    print(*[domain.name for domain in sensor.domains], *[b - a for a, b in zip(begin.counts, end.counts)])
"""


@pytest.mark.skipif(find_spec("pyRAPL") is None, reason="pyRAPL is not installed (the extra `pyrapl`)")
@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace needs root")
def test_its_joules_are_those_of_the_tree(tmp_path: Path) -> None:
    script = tmp_path / "beside.py"
    script.write_text(textwrap.dedent(BESIDE_OURS.format(stubs=str(STUBS), folder=str(tmp_path / "tree"))))
    mounted = f"mount -t tmpfs tmpfs /sys/class && exec {sys.executable} {script}"
    shown = subprocess.run(
        ["unshare", "-m", "sh", "-c", mounted], capture_output=True, text=True, check=False
    )
    if "unshare" in shown.stderr or "mount:" in shown.stderr:
        pytest.skip(f"no mount namespace here: {shown.stderr.strip()}")
    assert shown.stdout.split() == ["package:0", "dram:0", "40000000", "6000000"], shown.stderr


@pytest.mark.skipif(find_spec("pyRAPL") is not None, reason="pyRAPL is installed")
def test_without_pyrapl_the_error_says_what_to_install() -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'joulecut\[pyrapl\]'"):
        open_pyrapl(SystemClock())
