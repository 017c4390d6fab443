"""The shape of the house: names, sizes, one-line packages. ``make check`` holds the floors themselves."""

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: list[str] = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
MODULES = sorted(path for folder in [*PACKAGES, "benchmarks"] for path in (CHECKOUT / folder).rglob("*.py"))
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60


def relative(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


def long_functions(source: str, limit: int) -> list[str]:
    nodes = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    sizes = [(node.name, (node.end_lineno or node.lineno) - node.lineno + 1) for node in nodes]
    return [f"{name} ({lines} lines)" for name, lines in sizes if lines > limit]


def test_every_package_in_the_checkout_is_in_the_wheel_and_under_every_check():
    found = sorted(path.parent.name for path in CHECKOUT.glob("*/__init__.py"))
    assert found == sorted(PACKAGES)
    assert sorted(PYPROJECT["tool"]["importlinter"]["root_packages"]) == found
    assert set(found) <= set(PYPROJECT["tool"]["mypy"]["packages"])
    assert set(found) <= set(PYPROJECT["tool"]["pyright"]["include"])


@pytest.mark.parametrize("name", PACKAGES)
def test_no_other_distribution_owns_our_top_level_name(name):
    assert set(packages_distributions().get(name, [])) <= {"wattledger"}
    assert name not in sys.stdlib_module_names


def test_each_package_file_is_one_docstring_line():
    for package in (path for path in MODULES if path.name == "__init__.py"):
        text = package.read_text(encoding="utf-8").strip()
        body = ast.parse(text).body
        assert "\n" not in text, relative(package)
        assert [type(node) for node in body] == [ast.Expr], relative(package)


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_module_stays_under_the_wall(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_MODULE_LINES


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_no_function_is_long(path):
    assert long_functions(path.read_text(encoding="utf-8"), MAX_FUNCTION_LINES) == []


def test_a_long_function_is_seen():
    assert long_functions("def f():\n    a = 1\n    b = 2\n", limit=2) == ["f (3 lines)"]


@pytest.mark.parametrize("path", [p for p in MODULES if p.name != "__init__.py"], ids=relative)
def test_every_module_says_what_it_owns(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
