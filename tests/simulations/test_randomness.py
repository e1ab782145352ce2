# SPDX-License-Identifier: Apache-2.0
"""Seeded streams repeat, and no two uses share one."""

import ast
import importlib
import inspect
import itertools
import re
from pathlib import Path

import pytest

from skyglow_client.supplier import Supplier
from skyglow_shared import signing
from skyglow_shared.privacy.randomness import SystemRandomness
from skyglow_simulations.randomness import SeededRandomness

SEEDS = re.compile(r"(^|_)(seed|seeds|seeded|rng)($|_)|(^|\.)random$|^numpy\.random")
LABELS = [(), ("a",), ("b",), ("a", "b"), ("ab",), ("b", "a"), (1,), ("1",), (1, 2), (12,), ("a", 1), ("a", "1"), ("",)]


def read(seed, owner, *label):
    return SeededRandomness(seed, owner).stream(*label).read(64)


def test_a_stream_repeats():
    for label in LABELS:
        assert read(3, "north", *label) == read(3, "north", *label)
    assert read(3, "north", "sample", 4) == SeededRandomness(3, "north").stream("sample", 4).read(64)


def test_the_streams_are_pinned():
    """Another value here means that no earlier run can be repeated any more: say so in the changelog."""
    assert SeededRandomness(1, "north").stream("noise", "study", 0).read(8).hex() == "584a6fecbae6c92c"


def test_no_two_uses_share_a_stream():
    uses = [(seed, owner, *label) for seed in (0, 1, 2**40) for owner in ("north", "south") for label in LABELS]
    streams = [read(*use) for use in uses]
    assert len(set(streams)) == len(uses)
    for one, other in itertools.combinations(streams, 2):
        assert one[:8] not in other, "one is not a later part of another"


def test_asking_for_a_stream_twice_begins_it_again():
    randomness = SeededRandomness(3, "north")
    first = randomness.stream("a")
    begun = first.read(16)
    assert randomness.stream("a").read(16) == begun
    assert first.read(16) != begun


@pytest.mark.parametrize("seed", [0, 7])
def test_an_owners_identity_repeats_and_is_its_own(seed):
    keys = {name: SeededRandomness(seed, name).identity().public_key for name in ("office", "north", "south")}
    assert len(set(keys.values())) == 3
    again = SeededRandomness(seed, "north").identity()
    assert again.public_key == keys["north"]
    assert SeededRandomness(seed + 1, "north").identity().public_key != keys["north"]
    signing.verify(keys["north"], signing.REPLY, b"body", again.sign(signing.REPLY, b"body"), what="it")


def parts_of(package):
    """Every name, attribute, import and argument in a package's source, with the file it is in."""
    for path in sorted(Path(importlib.import_module(package).__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for field in ("id", "attr", "arg", "module", "name"):
                if isinstance(word := getattr(node, field, None), str):
                    yield path, word


@pytest.mark.parametrize("package", ["skyglow_client", "skyglow_shared"])
def test_a_suppliers_installation_cannot_be_seeded(package):
    """Neither a module, nor an attribute such as `numpy.random`, nor an argument that would take a seed."""
    found = {(file, word) for file, word in parts_of(package) if SEEDS.search(word)}
    assert not {(file, word) for file, word in found if file.parent.name != "secagg"}
    # a mask's seed is a secret that is drawn: the one place where it is made draws it from the supplier's randomness
    assert not {word for file, word in found if "random" in word.lower() and word != "randomness"}
    assert {word for _, word in parts_of("skyglow_simulations") if SEEDS.search(word)} >= {"seed", "random"}


def test_a_supplier_opened_without_a_word_has_the_operating_systems_randomness():
    default = inspect.signature(Supplier.open).parameters["randomness"].default
    assert type(default) is SystemRandomness
    streams = {default.stream("noise", "study", 0).read(32) for _ in range(50)}
    assert len(streams) == 50, "the same label never gives the same stream"
