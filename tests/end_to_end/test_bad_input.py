# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong, the command says so in one line with the code of its error, and nothing is charged."""

import gzip
import re
import shutil
import sqlite3
from contextlib import closing

import msgspec
import numpy as np
import pytest

from skyglow_server.checkpoints import Checkpoints, Place
from skyglow_server.coordinator import Coordinator
from skyglow_server.federation import InProcess
from skyglow_shared import signing
from skyglow_shared.command import main
from skyglow_shared.errors import (
    ApprovalError,
    BudgetError,
    DataError,
    LedgerBusyError,
    PolicyError,
    RunError,
    SignatureError,
)
from skyglow_shared.messages import (
    Refusal,
    RoundRequest,
    StudyRequest,
    encode_weights,
    open_reply,
    seal_request,
)
from skyglow_shared.signing import Identity
from skyglow_shared.soundness import decode_study
from skyglow_shared.study import canonical_bytes, digest
from skyglow_simulations import experiment as experiments
from skyglow_simulations import run as runs
from skyglow_simulations.suppliers import NAMES, open_supplier


@pytest.fixture
def command(capsys):
    """Runs `skyglow` in this process; returns exit code and its one line of complaint."""

    def call(*words):
        code = main([str(word) for word in words])
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("skyglow: ")]
        assert len(told) == (code != 0)
        return code, "".join(told)

    return call


def nothing_charged(accounts, run):
    return all(events == [] for events in accounts(run).values())


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"scale": 0},
        {"scale": -1},
        {"scale": 2},
        {"scale": "nan"},
        {"panel": 0},
        {"panel": 1.5},
        {"seed": -1},
        {"workers": 0},
    ],
    ids=str,
)
def test_impossible_numbers(options, command, hamlet, tmp_path):
    code, told = command(*hamlet(tmp_path / "run", **options))
    assert code == RunError.exit_code
    assert f"--{next(iter(options))}" in told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("area", "code"), [("E06000046", 12), ("E01017136", 12), ("Southampton", 12), ("", 12)])
def test_an_unknown_area(area, code, command, hamlet, tmp_path):
    found, told = command(*hamlet(tmp_path / "run", area=area))
    assert found == code
    assert "district" in told
    assert not (tmp_path / "run" / "suppliers").exists()


def test_a_district_that_does_not_ship_asks_for_its_tables(command, tmp_path):
    code, told = command("simulate", "--area", "E06000046", "--out", tmp_path / "run")
    assert (code, "--census" in told) == (12, True)


def test_a_run_is_not_started_over(command, hamlet, waiting, accounts):
    code, told = command(*hamlet(waiting))
    assert code == RunError.exit_code
    assert f"--resume {waiting}" in told
    assert nothing_charged(accounts, waiting)


# --- census tables ----------------------------------------------------------------------------------------------------


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def binary(path):
    path.write_bytes(b"\x00\xff\xfe" * 99)


def half_a_gzip(path):
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes())[:200])
    path.unlink()


@pytest.mark.parametrize("spoil", [cut, binary, half_a_gzip, lambda path: path.unlink()])
def test_a_corrupt_census_file(spoil, command, hamlet, small_census, tmp_path):
    folder = shutil.copytree(small_census, tmp_path / "census")
    spoil(folder / "ts003-lsoa.csv")
    code, told = command(*hamlet(tmp_path / "run", census=folder))
    assert code == 11
    assert "ts003" in told
    assert not re.search(r"\b\d{3,}\b", told.replace("ts003", ""))
    assert not (tmp_path / "run" / "suppliers").exists()


def test_a_census_folder_that_is_not_there(command, hamlet, tmp_path):
    assert command(*hamlet(tmp_path / "run", census=tmp_path / "nowhere"))[0] == 11


# --- the study's file -------------------------------------------------------------------------------------------------

STUDY_FAULTS = {
    "a key nobody knows": ('title = "', 'colour = "red"\ntitle = "', 20, "colour"),
    "a key nobody knows, deep down": ('kind = "x"', "", 20, None),
    "a week that is not one": ("feature_week = 2026-03-09", "feature_week = 2026-03-10", 20, "feature_week"),
    "a week outside the period": ("feature_week = 2026-03-09", "feature_week = 2026-03-16", 20, "feature_week"),
    "a delta too large for the homes": ("delta = 1e-6", "delta = 1e-4", 20, "delta"),
    "no delta": ("delta = 1e-6", "", 20, "delta"),
    "an epsilon that is none": ("epsilon = 4.0", "epsilon = -1.0", 20, "epsilon"),
    "a clip that is none": ("l2_bound = 1.0", "l2_bound = 0.0", 20, "l2_bound"),
    "an infinite clip": ("l2_bound = 1.0", "l2_bound = inf", 20, "l2_bound"),
    "rounds in words": ("rounds = 4", 'rounds = "many"', 20, "rounds"),
    "no rounds": ("rounds = 4", "rounds = 0", 20, "rounds"),
    "a model of no such name": (
        'source = "area_score"\nmodel = "all_aged_66_plus"',
        'source = "area_score"',
        20,
        "model",
    ),
    "two phases of one name": ('name = "release"', 'name = "calibration"', 20, "phases"),
    "a gateway that is no law": ('legal_gateway = "Sim', 'legal_gateway = "Dis', 20, "legal_gateway"),
    "features nobody has": ("class22-v1", "class23-v1", 20, None),
    "a basis nobody has": ("presence_basis_v2", "presence_basis_v9", 20, None),
    "a mechanism nobody has": ('source = "area_profile"', 'source = "each_home"', 20, "source"),
    "not TOML": ("epsilon = 4.0", "epsilon = ", 11, "TOML"),
}


@pytest.mark.parametrize("fault", STUDY_FAULTS)
def test_a_study_that_is_none(fault, command, hamlet, short_study, tmp_path):
    old, new, code, word = STUDY_FAULTS[fault]
    text = short_study.read_text(encoding="utf-8")
    if fault == "a key nobody knows, deep down":
        old, new = "learning_rate = 0.1", "learning_rate = 0.1\nlearning_rat = 0.1"
    assert old in text
    study = tmp_path / "mine.toml"
    study.write_text(text.replace(old, new), encoding="utf-8")
    words = hamlet(tmp_path / "run")
    found, told = command(words[0], study, *words[2:])
    assert found == code, told
    assert (word or "") in told
    assert not (tmp_path / "run" / "suppliers").exists()


def test_all_contradictions_are_told_at_once(command, hamlet, short_study, tmp_path):
    text = short_study.read_text(encoding="utf-8").replace("delta = 1e-6", "delta = 1e-4")
    text = text.replace("feature_week = 2026-03-09", "feature_week = 2026-03-10")
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    words = hamlet(tmp_path / "run")
    code, told = command(words[0], tmp_path / "mine.toml", *words[2:])
    assert code == 20
    assert "feature_week" in told and "delta" in told


@pytest.mark.parametrize(("study", "code"), [("nowhere.toml", 11), ("atlantis", 60), ("../southampton", 60)])
def test_a_study_that_is_not_there(study, code, command, hamlet, tmp_path):
    words = hamlet(tmp_path / "run")
    assert command(words[0], study, *words[2:])[0] == code


# --- resuming ---------------------------------------------------------------------------------------------------------


def test_nothing_to_resume(command, tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        code, told = command("simulate", "--resume", folder)
        assert code == RunError.exit_code
        assert "no run" in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[]", b'{"scale": 3}', b'{"scale": "0.1"}', b'{"colour": 1}', b'{"engine": "steam"}'],
)
def test_a_corrupt_run_file(content, command, waiting, accounts):
    (waiting / "run.json").write_bytes(content)
    code, told = command("simulate", "--resume", waiting)
    assert code == RunError.exit_code
    assert "run.json" in told
    assert nothing_charged(accounts, waiting)


def test_two_runs_on_one_folder(command, waiting, accounts):
    with runs.held(runs.Folder(waiting)):
        code, told = command("simulate", "--resume", waiting)
    assert code == RunError.exit_code
    assert "another process" in told
    assert nothing_charged(accounts, waiting)


def test_two_suppliers_on_one_ledger(command, waiting, accounts):
    with open_supplier(runs.Folder(waiting), "west", seed=3):
        assert command("supplier", "ledger", "show", "--folder", waiting / "suppliers" / "west")[0] == 51
        code, told = command("simulate", "--resume", waiting)
    assert code == LedgerBusyError.exit_code
    assert "another process" in told
    assert nothing_charged(accounts, waiting)


def garbage(path):
    path.write_bytes(b"not a database at all " * 500)


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damaged_inside(path):
    content = bytearray(path.read_bytes())
    content[200:] = b"\xa5" * (len(content) - 200)
    path.write_bytes(content)


def of_another_shape(path):
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE replies (something TEXT)")
        connection.commit()


def other_content(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE replies SET replies = x'c1c1'")
        connection.commit()


@pytest.mark.parametrize(
    "spoil",
    [
        garbage,
        truncated,
        damaged_inside,
        of_another_shape,
        other_content,
    ],
)
def test_a_corrupt_checkpoint_file(spoil, command, unbroken, accounts, tmp_path):
    run = shutil.copytree(unbroken, tmp_path / "run")
    before = accounts(run)
    spoil(run / "office" / "checkpoints.sqlite")
    code, told = command("simulate", "--resume", run)
    assert code == 11, told
    assert "checkpoint" in told
    assert accounts(run) == before


@pytest.mark.parametrize("spoil", [garbage, truncated, lambda path: path.unlink()])
def test_a_suppliers_spoilt_ledger_stops_the_run(spoil, command, unbroken, tmp_path):
    run = shutil.copytree(unbroken, tmp_path / "run")
    shutil.rmtree(run / "office")
    spoil(run / "suppliers" / "east" / "ledger.sqlite")
    code, told = command("simulate", "--resume", run)
    assert code == 50, told
    assert "backup" in told


def test_a_ledger_put_back_to_an_earlier_state_is_noticed(command, unbroken, waiting, tmp_path):
    run = shutil.copytree(unbroken, tmp_path / "finished")
    earlier = waiting / "suppliers" / "east" / "ledger.sqlite"
    shutil.copy(earlier, run / "suppliers" / "east" / "ledger.sqlite")
    code, told = command("simulate", "--resume", run)
    assert code == 50, told
    assert "older than it was" in told


def test_a_template_changed_since_changes_nothing(command, short_study, waiting, unbroken, accounts, tables, tmp_path):
    """The file was edited between kill and resume: the run still asks what was approved."""
    other = tmp_path / "other.toml"
    other.write_text(short_study.read_text(encoding="utf-8").replace("rounds = 4", "rounds = 5"), encoding="utf-8")
    text = (waiting / "run.json").read_text(encoding="utf-8")
    assert str(short_study) in text
    (waiting / "run.json").write_text(text.replace(str(short_study), str(other)), encoding="utf-8")
    assert command("simulate", "--resume", waiting)[0] == 0
    assert accounts(waiting) == accounts(unbroken)
    assert tables(waiting) == tables(unbroken)


def test_a_changed_study_does_not_continue_a_run(command, waiting, accounts):
    """The study in the run's folder was changed: it is another one, and the first one's approval holds its cost."""
    place = runs.Folder(waiting).study
    study = decode_study(place.read_bytes())
    place.write_bytes(canonical_bytes(with_phase(study, 0, rounds=5)))
    code, told = command("simulate", "--resume", waiting)
    assert code == BudgetError.exit_code, told
    assert "requests epsilon" in told and "remaining" in told
    assert nothing_charged(accounts, waiting)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"not a study"])
def test_a_spoilt_study_does_not_continue_a_run(content, command, waiting, accounts):
    runs.Folder(waiting).study.write_bytes(content)
    code, told = command("simulate", "--resume", waiting)
    assert code == 20, told
    assert "study" in told
    assert nothing_charged(accounts, waiting)


# --- between office and supplier --------------------------------------------------------------------------------------


class Office:
    """The office of a run whose study is approved, with checkpoints of its own."""

    def __init__(self, run, scratch):
        self.folder, self.parameters = runs.resume(run)
        self.experiment = experiments.begin(self.folder, self.parameters, lambda phase, done, total: None)
        self.study, self.key = self.experiment.study, self.experiment.office
        self.checkpoints = Checkpoints.in_file(scratch / "checkpoints.sqlite")

    def run(self, *, study=None, key=None, federation=None):
        with experiments.opened(self.folder, self.parameters) as held:
            ask = (federation or InProcess)({name: supplier.handle for name, supplier in held.items()})
            silent = self.experiment.progress
            return Coordinator(study or self.study, key or self.key, ask, self.checkpoints, silent).run()

    def ask_round(self, study, phase, round_=0):
        weights = {model.name: encode_weights(np.zeros(23)) for model in study.models}
        return self.ask(RoundRequest(study=digest(study), phase=phase, round=round_, weights=weights))

    def ask(self, request, key=None):
        """What each supplier answers to one request."""
        sealed = seal_request(request, key or self.key)
        with experiments.opened(self.folder, self.parameters) as held:
            return [open_reply(held[one.name].handle(sealed), one.name, one.public_key) for one in self.study.suppliers]


@pytest.fixture
def office(waiting, tmp_path):
    return Office(waiting, tmp_path)


def test_a_study_signed_by_another_office(office, waiting, accounts):
    with pytest.raises(SignatureError, match="north refused"):
        office.run(key=Identity.generate())
    assert office.checkpoints.load(Place(digest(office.study), "approvals", 0)) is None
    assert nothing_charged(accounts, waiting)


@pytest.mark.parametrize("signed", ["not at all", "by another", "for another purpose"])
def test_a_study_the_office_did_not_sign(signed, office, waiting, accounts):
    body = canonical_bytes(office.study)
    signature = {
        "not at all": b"",
        "by another": Identity.generate().sign(signing.STUDY, body),
        "for another purpose": office.key.sign(signing.REQUEST, body),
    }[signed]
    for reply in office.ask(StudyRequest(study=body, signature=signature)):
        assert isinstance(reply, Refusal)
        assert reply.code == SignatureError.exit_code
    assert nothing_charged(accounts, waiting)


def with_block(study, number, **changes):
    phase = study.phases[number]
    blocks = (msgspec.structs.replace(phase.blocks[0], **changes), *phase.blocks[1:])
    phases = list(study.phases)
    phases[number] = msgspec.structs.replace(phase, blocks=blocks)
    return msgspec.structs.replace(study, phases=tuple(phases))


def with_phase(study, number, **changes):
    phases = list(study.phases)
    phases[number] = msgspec.structs.replace(phases[number], **changes)
    return msgspec.structs.replace(study, phases=tuple(phases))


def one_msoa_less(study):
    areas = tuple(area for area in study.areas if area.msoa != study.msoas[0])
    return msgspec.structs.replace(study, areas=areas)


CHANGES = {
    "one round more": (lambda study: with_phase(study, 0, rounds=5), ApprovalError),
    "a larger sample": (lambda study: with_phase(study, 0, sampling_rate=0.6), ApprovalError),
    "another clip": (lambda study: with_block(study, 0, l2_bound=2.0), ApprovalError),
    "the panel among the others": (lambda study: msgspec.structs.replace(study, panel_apart=False), BudgetError),
    "less noise": (lambda study: with_block(study, 0, noise_multiplier=15.9), ApprovalError),
    "other area levels": (
        lambda study: msgspec.structs.replace(
            study, occupancy=msgspec.structs.replace(study.occupancy, levels=("LSOA", "LAD"))
        ),
        ApprovalError,
    ),
    "fewer areas": (one_msoa_less, ApprovalError),
    "a smaller delta": (lambda study: msgspec.structs.replace(study, delta=9.9e-7), ApprovalError),
    "a larger delta": (lambda study: msgspec.structs.replace(study, delta=1.2e-6), PolicyError),
    "less suppression": (
        lambda study: msgspec.structs.replace(study, thresholds=type(study.thresholds)(least_homes=5)),
        PolicyError,
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_study_changed_after_approval(change, office, waiting, accounts):
    make, error = CHANGES[change]
    changed = make(office.study)
    for name in NAMES:  # room for two studies: it is not the budget that refuses
        policy = waiting / "suppliers" / name / "policy.toml"
        policy.write_text(policy.read_text().replace("epsilon = 4.0", "epsilon = 20.0"))
    with pytest.raises(error, match="north refused") as caught:
        office.run(study=changed)
    assert type(caught.value) is error
    for reply in office.ask_round(changed, "training"):
        assert (reply.code, reply.rule) == (ApprovalError.exit_code, "approval")
    assert nothing_charged(accounts, waiting)


def test_a_round_out_of_order(office, waiting, accounts):
    for phase, round_ in (("release", 0), ("training", 1), ("training", 4), ("training", -1), ("harvest", 0)):
        for reply in office.ask_round(office.study, phase, round_):
            assert (reply.code, reply.rule) == (34, "order")
    assert nothing_charged(accounts, waiting)


def test_over_budget(office, waiting, accounts):
    for path in (waiting / "suppliers" / "harbour").glob("ledger.sqlite*"):
        path.unlink()
    policy = waiting / "suppliers" / "harbour" / "policy.toml"
    policy.write_text(policy.read_text().replace("epsilon = 4.0", "epsilon = 1.0"))
    with pytest.raises(BudgetError, match=r"harbour refused: the study requests epsilon .* remaining") as caught:
        office.experiment.approve()
    assert caught.value.rule == "epsilon"
    assert nothing_charged(accounts, waiting)


class Unreliable(InProcess):
    """Reaches suppliers for two rounds, then no more."""

    asked = 0

    def ask(self, requests):
        type(self).asked += 1
        return {} if self.asked > 2 else super().ask(requests)


def test_a_store_corrupted_in_the_middle_of_a_study(command, office, waiting, unbroken, accounts, tables):
    office.checkpoints = Checkpoints.in_file(waiting / "office" / "checkpoints.sqlite")
    Unreliable.asked = 0
    with pytest.raises(RunError, match="did not answer"):
        office.run(federation=Unreliable)
    kwh = next((waiting / "suppliers" / "south" / "store").glob("data-*/kwh.npy"))
    whole = kwh.read_bytes()
    kwh.write_bytes(whole[:-100] + bytes(100))
    before = accounts(waiting)

    for _ in range(2):  # asking again changes nothing
        with pytest.raises(DataError, match=r"^south refused: the supplier's data are not ready") as caught:
            office.run()
        assert type(caught.value) is DataError
        assert not re.search(r"kwh|\d", str(caught.value))
        now = accounts(waiting)
        assert now["common"] == [*before["common"], *now["common"][-2:]], "the others' round is sealed, to be repeated"
        assert now["south"][len(before["south"]) :] in ([], [("charge", now["south"][-1][1])])
        assert office.checkpoints.load(Place(digest(office.study), "training", 2)) is None

    code, told = command("simulate", "--resume", waiting)
    assert (code, "kwh.npy" in told) == (11, True)
    kwh.write_bytes(whole)
    assert command("simulate", "--resume", waiting)[0] == 0
    assert tables(waiting) == tables(unbroken)
    assert accounts(waiting) == accounts(unbroken), "the refused round was charged once, not twice"
