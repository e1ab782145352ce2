# SPDX-License-Identifier: Apache-2.0
"""Rules that hold for the whole source: size, licence, errors, and what code must never do."""

import ast
import importlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest

from skyglow_shared import errors
from skyglow_shared.privacy.randomness import SystemRandomness

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("shared", "client", "server", "simulations")
MODULES = sorted(path for part in PARTS for path in (ROOT / part / f"skyglow_{part}").rglob("*.py"))
SOURCES = sorted([*MODULES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])
CODE_FROM_DATA = {"eval", "exec", "compile", "__import__"}
CODE_CARRIERS = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
NETWORK = {"socket", "ssl", "http", "urllib", "requests", "httpx", "grpc", "flwr", "ray", "asyncio", "psycopg"}
#: Names by which numpy's and torch's own generators are had, however the library was imported.
PREDICTABLE = re.compile(
    r"random|default_rng|RandomState|Generator|PCG64|Philox|manual_seed"
    r"|rand(n|int|perm)?(_like)?|standard_normal|normal_?|bernoulli_?|multinomial|binomial|laplace|shuffle|permutation"
)


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def name_of(path):
    return str(path.relative_to(ROOT))


def classes(kind=errors.SkyglowError):
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from classes(child)


def test_there_is_source_to_check():
    assert len(MODULES) > 30


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_file_names_its_licence(path):
    assert path.read_text(encoding="utf-8").startswith("# SPDX-License-Identifier: Apache-2.0\n")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_is_short_and_says_what_it_is(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
    assert ast.get_docstring(tree(path))


def test_nothing_that_arrives_can_become_code():
    """No code travels: what runs at a supplier is what was installed there."""
    for path in MODULES:
        called = {
            node.func.id
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not called & CODE_FROM_DATA, name_of(path)
        assert not {name.partition(".")[0] for name in imported(path)} & CODE_CARRIERS, name_of(path)
        assert "allow_pickle=True" not in path.read_text(encoding="utf-8"), name_of(path)


def test_only_links_know_of_a_network():
    for path in MODULES:
        if "links" not in path.parts:
            assert not {name.partition(".")[0] for name in imported(path)} & NETWORK, name_of(path)


def test_nothing_in_a_suppliers_installation_has_predictable_noise():
    for part in ("shared", "client"):
        for path in (ROOT / part).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert "SeededRandomness" not in text, name_of(path)
            for module in imported(path):
                assert module not in ("random", "numpy.random"), name_of(path)
            for node in ast.walk(tree(path)):
                named = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
                assert not PREDICTABLE.fullmatch(named), f"{name_of(path)} names {named}"


def test_only_code_can_give_a_supplier_other_randomness():
    """The default is the operating system's, and no file or command of the client names another."""
    supplier = importlib.import_module("skyglow_client.supplier").Supplier
    default = inspect.signature(supplier.open).parameters["randomness"].default
    assert isinstance(default, SystemRandomness)
    for path in (ROOT / "client").rglob("*.py"):
        if path.name != "supplier.py":
            for node in ast.walk(tree(path)):
                assert not (isinstance(node, ast.keyword) and node.arg == "randomness"), name_of(path)


def test_the_environment_cannot_change_the_noise():
    for part in ("shared", "client"):
        for path in (ROOT / part).rglob("*.py"):
            assert not re.search(r"os\.(environ|getenv)", path.read_text(encoding="utf-8")), name_of(path)


def test_the_tree_of_errors_is_drawn_as_it_is():
    drawn = dict(re.findall(r"(\w+Error)\s+(\d+)\s", errors.__doc__))
    real = {kind.__name__: str(kind.exit_code) for kind in classes() if kind is not errors.SkyglowError}
    assert drawn == real
    assert len(set(real.values())) == len(real), "an exit code has one meaning"
    assert all(2 < int(code) < 126 for code in real.values()), "0, 1, 2 and 126 and above belong to the shell"


def test_only_errors_of_the_tree_are_defined():
    for path in MODULES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef) and path.name != "errors.py":
                bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
                assert not any(base.endswith(("Error", "Exception")) for base in bases), name_of(path)


@pytest.mark.parametrize("package", [f"skyglow_{part}" for part in PARTS])
def test_public_names_exist_and_are_few(package):
    module = importlib.import_module(package)
    names = getattr(module, "__all__", [])
    assert len(names) <= 12
    assert [name for name in names if not hasattr(module, name)] == []


def test_the_tools_hold_the_whole_house():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert tools["mypy"]["strict"] is True
    assert set(tools["mypy"]["packages"]) == {f"skyglow_{part}" for part in PARTS}
    assert tools["pytest"]["ini_options"]["filterwarnings"] == ["error"]
