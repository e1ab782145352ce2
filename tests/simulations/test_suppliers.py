# SPDX-License-Identifier: Apache-2.0
"""Simulated suppliers are real ones with seeded keys: set up the same way each time, loaded once."""

import shutil
from pathlib import Path

import pytest

from skyglow_client.gate.policy import check, load_policy
from skyglow_client.readings import Store
from skyglow_shared.errors import FormatError, LedgerBusyError
from skyglow_shared.privacy.randomness import SystemRandomness
from skyglow_simulations import suppliers
from skyglow_simulations.randomness import SeededRandomness
from skyglow_simulations.run import Folder

KEYS = ("supplier.toml", "identity.key", "pseudonym.key", "policy.toml")


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished run, to be spoilt."""
    return Folder(Path(shutil.copytree(finished.experiment.folder.path, tmp_path / "run")))


def files(folder, name, of=KEYS):
    return {file: (folder.supplier(name) / file).read_bytes() for file in of}


def test_setting_up_again_changes_nothing(finished, tmp_path):
    study, parameters = finished.experiment.study, finished.experiment.parameters
    folder = Folder(tmp_path)
    suppliers.set_up(folder, parameters, study)
    first = {name: files(folder, name) for name in suppliers.NAMES}
    suppliers.set_up(folder, parameters, study)
    assert {name: files(folder, name) for name in suppliers.NAMES} == first
    assert first == {name: files(finished.experiment.folder, name) for name in suppliers.NAMES}


def test_every_supplier_has_secrets_of_its_own(finished):
    for file in ("identity.key", "pseudonym.key"):
        contents = {files(finished.experiment.folder, name)[file] for name in suppliers.NAMES}
        assert len(contents) == len(suppliers.NAMES)
        for name in suppliers.NAMES:
            assert (finished.experiment.folder.supplier(name) / file).stat().st_mode & 0o077 == 0


def test_another_pseudonym_seed_changes_that_key_alone(finished, tmp_path):
    study, parameters = finished.experiment.study, finished.experiment.parameters
    suppliers.set_up(Folder(tmp_path), parameters, study, pseudonym_seed=parameters.seed + 1)
    for name in suppliers.NAMES:
        mine, theirs = files(Folder(tmp_path), name), files(finished.experiment.folder, name)
        assert {file for file in KEYS if mine[file] != theirs[file]} == {"pseudonym.key"}


def test_the_policy_allows_this_study_and_no_dearer_one(finished):
    study = finished.experiment.study
    for name in suppliers.NAMES:
        policy = load_policy(finished.experiment.folder.supplier(name) / "policy.toml")
        own = {entry.name: entry.public_key for entry in study.suppliers}[name]
        check(policy, study, own)
        assert (policy.office_key, policy.epsilon, policy.delta) == (study.office_key, study.epsilon, study.delta)


def test_the_roster_is_the_suppliers_own_keys(finished):
    roster = {entry.name: entry.public_key for entry in finished.experiment.study.suppliers}
    assert tuple(roster) == suppliers.NAMES
    for name in suppliers.NAMES:
        with suppliers.open_supplier(finished.experiment.folder, name, seed=5) as supplier:
            assert supplier.gate.identity.public_key == roster[name]
            assert supplier.gate.randomness == SeededRandomness(5, name)
            assert not isinstance(supplier.gate.randomness, SystemRandomness)


def test_readings_are_loaded_once(finished, copy):
    stamps = {path: path.stat().st_mtime_ns for path in copy.path.rglob("store/**/*") if path.is_file()}
    assert stamps
    seen = []
    suppliers.load_readings(
        copy, finished.experiment.parameters, finished.experiment.study, lambda *step: seen.append(step)
    )
    assert {path: path.stat().st_mtime_ns for path in copy.path.rglob("store/**/*") if path.is_file()} == stamps
    assert seen == [(number, 6) for number in range(7)]


@pytest.mark.parametrize("left", ["no description", "nothing"])
def test_a_store_that_was_not_finished_is_made_again(left, finished, copy):
    store = copy.supplier("west") / "store"
    before = {path.relative_to(store): path.read_bytes() for path in store.rglob("*") if path.is_file()}
    if left == "nothing":
        shutil.rmtree(store)
    else:
        (store / "meta.json").unlink()
        next(store.glob("data-*/kwh.npy")).write_bytes(b"half")
        (store / ".incoming").mkdir()
    suppliers.load_readings(copy, finished.experiment.parameters, finished.experiment.study, lambda done, total: None)
    assert {path.relative_to(store): path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


def test_a_damaged_store_stops_the_loading(finished, copy):
    kwh = next(copy.supplier("west").glob("store/data-*/kwh.npy"))
    kwh.write_bytes(kwh.read_bytes()[:-8])
    with pytest.raises(FormatError, match=r"kwh\.npy"):
        suppliers.load_readings(
            copy, finished.experiment.parameters, finished.experiment.study, lambda done, total: None
        )


def test_a_handler_holds_the_ledger_for_one_message_only(copy):
    for _ in range(2):
        with suppliers.handler("north", folder=str(copy.path), seed=5) as handle:
            assert handle(b"nonsense")
            with pytest.raises(LedgerBusyError):
                suppliers.open_supplier(copy, "north", 5)
    suppliers.open_supplier(copy, "north", 5).close()


def test_what_was_found_in_the_readings_is_kept_for_the_supplier(finished):
    for name in suppliers.NAMES:
        folder = finished.experiment.folder.supplier(name)
        assert (folder / "ingest.txt").read_text(encoding="utf-8").strip()
        assert len(Store.open(folder / "store").pseudonyms) > 0
