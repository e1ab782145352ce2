# SPDX-License-Identifier: Apache-2.0
"""Attacks by code: what the coordinator ships is executed at a peer's site, and is not even a message here."""

import ast
import pickle
from pathlib import Path

import msgspec
import pytest

import skyglow_client
import skyglow_shared
from skyglow_shared.study import digest


class Bomb:
    """Runs when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.slow
def test_flower_runs_the_coordinators_code(peer):
    """Flower installs and imports the coordinator's bundle at the site: its code takes the readings away."""
    assert peer("flower_code")["succeeded"]


def test_code_in_a_message(town, tmp_path):
    """Pickles, source and extra fields in a signed request, in a study and as weights: refused, nothing has run."""
    mark = tmp_path / "ran"
    bomb, source = pickle.dumps(Bomb(mark)), f"__import__('pathlib').Path({str(mark)!r}).touch()"
    pickle.loads(bomb)  # noqa: S301 - the bomb works where pickles are read
    assert mark.exists()
    mark.unlink()
    study = town.study()
    plain = {"type": "RoundRequest", "study": digest(study), "phase": "training", "round": 0}
    bodies = [
        bomb,
        source.encode(),
        msgspec.msgpack.encode({"type": "RoundRequest", "code": bomb}),
        msgspec.msgpack.encode(plain | {"code": source}),
        msgspec.msgpack.encode(plain | {"weights": {"all_aged_66_plus": bomb}}),
        msgspec.msgpack.encode(plain | {"phase": source}),
        msgspec.msgpack.encode(plain | {"type": "builtins.exec"}),
        msgspec.msgpack.encode(msgspec.msgpack.Ext(1, bomb)),
    ]
    with town.open() as supplier:
        town.approve(supplier, study)
        for body in bodies:
            assert town.ask(supplier, town.signed_body(body)).code in (34, 40)
        assert not supplier.gate.ledger.entries("charge")
    assert not mark.exists()


@pytest.mark.parametrize("package", [skyglow_client, skyglow_shared], ids=lambda package: package.__name__)
def test_nothing_at_a_supplier_can_run_what_it_is_sent(package):
    """No module of client or shared unpickles, evaluates, or imports by a name: there is nothing to turn against it."""
    names = {"eval", "exec", "compile", "__import__", "import_module"}
    modules = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "ctypes", "subprocess"}
    found = []
    for path in sorted(Path(package.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                found.append(f"{path.name}:{node.lineno} calls {node.func.id}")
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [f"{path.name} imports {name}" for name in imported if name.split(".")[0] in modules]
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant)
                assert node.value.value is False
    assert not found
