# SPDX-License-Identifier: Apache-2.0
"""What each person installs: five distributions of one version, and nothing in one that belongs to another."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("shared", "client", "server", "simulations")
SUPPLIER_NEVER_NEEDS = ("skyglow_server", "skyglow_simulations", "ray", "flwr", "grpc", "fastapi", "jinja2", "scipy")


def project(part):
    return tomllib.loads((ROOT / part / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirement_name(line):
    return re.match(r"[A-Za-z0-9_.-]+", line)[0].lower().replace("_", "-")


def build(folder, parts, *, umask=0o022, touched=False):
    """Build the wheels of some parts, from a copy, so that the checkout stays clean."""
    for part in parts:
        source = folder / "sources" / part
        shutil.copytree(ROOT / part, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        for path in source.rglob("*") if touched else ():
            os.utime(path, (1_000_000_000, 1_000_000_000))
        line = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source)]
        environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        subprocess.run(line, check=True, env=environment, umask=umask)
    return folder


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    return build(tmp_path_factory.mktemp("wheels"), ("shared", "client"))


def wheel(folder, part):
    (path,) = folder.glob(f"skyglow_{part}-*.whl")
    return zipfile.ZipFile(path)


def metadata(archive):
    (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(archive.read(name).decode())


def test_all_five_distributions_have_one_version():
    versions = {part: project(part)["version"] for part in (".", *PARTS)}
    assert len(set(versions.values())) == 1, versions
    version = versions["."]
    pins = [line for part in (".", *PARTS) for line in project(part).get("dependencies", ())]
    extras = [
        line
        for part in (".", *PARTS)
        for extra in project(part).get("optional-dependencies", {}).values()
        for line in extra
    ]
    own = [line for line in pins + extras if line.startswith("skyglow")]
    assert len(own) >= 8
    assert [line for line in own if not line.endswith(f"=={version}")] == []


def test_the_root_installs_all_four():
    assert {requirement_name(line) for line in project(".")["dependencies"]} == {f"skyglow-{part}" for part in PARTS}


@pytest.mark.parametrize("part", PARTS)
def test_every_package_is_typed(part):
    assert (ROOT / part / f"skyglow_{part}" / "py.typed").is_file()


@pytest.mark.parametrize("part", ["shared", "client"])
def test_a_wheel_holds_its_own_package_alone(wheels, part):
    names = wheel(wheels, part).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {f"skyglow_{part}"}
    assert f"skyglow_{part}/py.typed" in names
    there = {str(path.relative_to(ROOT / part)) for path in (ROOT / part / f"skyglow_{part}").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == there


def test_a_wheel_is_the_same_bytes_whenever_and_wherever_it_is_built(wheels, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    again = build(tmp_path / "elsewhere", ("client",), umask=0o077)
    once = build(tmp_path / "here", ("client",), touched=True)
    (first,), (second,) = (tuple(folder.glob("*.whl")) for folder in (again, once))
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_a_supplier_needs_little(wheels):
    needs = metadata(wheel(wheels, "client")).get_all("Requires-Dist")
    always = {requirement_name(line) for line in needs if "extra ==" not in line}
    named = {"skyglow-shared", "polars", "pyarrow", "numpy", "torch", "opacus", "cryptography", "msgspec"}
    assert always <= named | {"grpcio"}  # its own link out; a supplier's `skyglow_client.supplier` does not load it
    shared = {requirement_name(line) for line in metadata(wheel(wheels, "shared")).get_all("Requires-Dist")}
    few = {"cryptography", "dp-accounting", "msgspec", "numpy", "scipy", "torch"}  # scipy is dp-accounting's too
    assert shared == few


def test_torch_is_held_to_a_range_and_the_environment_to_one_build():
    assert "torch>=2.13,<2.14" in project("shared")["dependencies"]
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert "-c constraints.txt" in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()


def test_every_command_of_every_distribution_can_be_loaded():
    found = {entry.name: entry.value for entry in entry_points(group="skyglow.commands")}
    wanted = [project(part).get("entry-points", {}).get("skyglow.commands", {}) for part in PARTS]
    assert found == {name: value for each in wanted for name, value in each.items()}
    assert {"supplier", "simulate"} <= set(found)
    for entry in entry_points(group="skyglow.commands"):
        assert callable(entry.load())


def lint_imports(folder):
    """Run import-linter on the code in `folder`, wherever the packages are installed from."""
    path = os.pathsep.join(str(folder / part) for part in PARTS)
    line = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(
        line, check=False, cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )


@pytest.fixture
def copied(tmp_path):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for part in PARTS:
        package = f"skyglow_{part}"
        shutil.copytree(ROOT / part / package, tmp_path / part / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_walls_between_the_distributions_stand(copied):
    run = lint_imports(copied)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("client/skyglow_client", "skyglow_server"),
        ("server/skyglow_server", "skyglow_client"),
        ("shared/skyglow_shared", "skyglow_client"),
        ("client/skyglow_client", "skyglow_simulations.randomness"),
    ],
)
def test_a_breach_of_the_walls_is_seen(copied, where, what):
    (copied / where / "planted.py").write_text(f"import {what}\n", encoding="utf-8")
    run = lint_imports(copied)
    assert run.returncode != 0
    assert "planted" in run.stdout


@pytest.mark.slow
def test_a_supplier_installs_only_what_is_its_own(wheels, tmp_path):
    """Really installs shared and client into an empty environment."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    files = [str(path) for path in wheels.glob("*.whl")]
    pip = [str(python), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt"), *files]
    subprocess.run(pip, check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}, cwd=tmp_path)
    code = "import sys, skyglow_client.supplier; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    run = subprocess.run([str(python), "-I", "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert set(run.stdout.split()).isdisjoint(SUPPLIER_NEVER_NEEDS)
    listed = subprocess.run([str(python), "-m", "pip", "list"], check=True, capture_output=True, text=True).stdout
    installed = {line.split()[0].lower() for line in listed.splitlines()[2:] if line.split()}
    assert installed.isdisjoint({"skyglow-server", "skyglow-simulations", "ray", "flwr", "jinja2"})
    said = subprocess.run([str(tmp_path / "venv/bin/skyglow"), "--help"], check=True, capture_output=True, text=True)
    assert "supplier" in said.stdout
    assert "office" not in said.stdout
