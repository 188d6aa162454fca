import ast
import subprocess
import sys
from pathlib import Path

import pytest

import joulecut


def fresh(program: str) -> str:
    """What a program prints in a fresh interpreter."""
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


def test_names_are_sorted_and_there() -> None:
    assert sorted(joulecut.__all__) == joulecut.__all__
    assert all(getattr(joulecut, name) is not None for name in joulecut.__all__)
    assert set(joulecut.__all__) <= set(dir(joulecut))


def test_type_checkers_see_the_names_that_users_see() -> None:
    """What is imported for type checkers only is what ``__getattr__`` gives at run time."""
    assert joulecut.__file__ is not None
    tree = ast.parse(Path(joulecut.__file__).read_text())
    seen = {"__version__"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("joulecut"):
            for name in node.names:
                seen.add(name.name)
                if node.module != "joulecut":
                    home = __import__(str(node.module), fromlist=[name.name])
                    assert getattr(joulecut, name.name) is getattr(home, name.name)
    assert seen == set(joulecut.__all__)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'joulecut' has no attribute 'prophile'"):
        getattr(joulecut, "prophile")  # noqa: B009


def test_import_loads_nothing_heavy() -> None:
    loaded = set(fresh("import joulecut, sys; print(*sys.modules)").split())
    assert not loaded & {"torch", "numpy", "msgspec", "onnx", "onnxruntime", "rich", "joulecut.api"}


@pytest.mark.parametrize(
    "name", ["Budget", "DeviceSpec", "EnergyProfile", "Comparison", "PruneRecord", "device", "errors"]
)
def test_names_that_need_no_torch_load_none(name: str) -> None:
    assert fresh(f"import joulecut, sys; joulecut.{name}; print('torch' in sys.modules)") == "False\n"


def test_no_module_shadows_a_public_function() -> None:
    """``joulecut.profile`` must stay the function after every module has been imported."""
    package = Path(str(joulecut.__file__)).parent
    modules = {path.stem for path in package.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert modules & set(joulecut.__all__) == {"errors"}
