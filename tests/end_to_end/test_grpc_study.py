# SPDX-License-Identifier: Apache-2.0
"""The southampton study between real processes, killed and resumed: the same estimates, and nothing charged twice."""

import signal
import subprocess
import sys
import time

import pytest

from skyglow_server import serve  # noqa: F401 - first: it says what TLS gRPC may speak

# isort: split
import polars as pl

from skyglow_client import serve as client
from skyglow_server import keys
from skyglow_server.checkpoints import Checkpoints, Place
from skyglow_shared import command
from skyglow_shared.errors import ApprovalError, FormatError, RunError
from skyglow_shared.signing import Identity
from skyglow_shared.study import digest
from skyglow_simulations import deployed, experiment, run, suppliers
from skyglow_simulations.links.ports import free_port
from skyglow_simulations.run import Parameters


def completed(done):
    """How many rounds the office holds."""
    store = Checkpoints.in_file(done.folder.office / "checkpoints.sqlite")
    return sum(
        store.load(Place(digest(done.study), phase.name, number)) is not None
        for phase in done.study.phases
        for number in range(phase.rounds)
    )


def until(true, process, seconds=240.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, "the office ended too early"
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.005)


@pytest.mark.slow
def test_a_study_with_killed_suppliers_and_a_killed_office_is_the_study_without(tmp_path):
    parameters = Parameters(scale=0.02, seed=7, workers=1, trust="local")
    folder = run.start(tmp_path / "run", parameters)
    done = deployed.begin(folder, parameters, lambda *_: None)
    done.prepare()
    done.approve()
    twin = deployed.twin(done)
    deployed.enrol(folder, parameters, free_port())
    killed = []
    with deployed.started(folder) as processes:
        office = deployed.start(folder, "office", "office")
        for mark, name in ((3, "harbour"), (12, "north"), (20, "office"), (30, "east")):
            until(lambda mark=mark: completed(done) >= mark, office)
            target = office if name == "office" else processes[name]
            target.kill()
            killed.append((name, target.wait()))
            if name == "office":
                office = deployed.start(folder, "office", "office")
            else:
                processes[name] = deployed.start(folder, "supplier", name)
        assert office.wait(240) == 0, (folder.path / "logs" / "office.log").read_text()[-2000:]
    assert killed == [(name, -signal.SIGKILL) for name in ("harbour", "north", "office", "east")]
    deployed.compare(done, twin)
    rounds = sum(phase.rounds for phase in done.study.phases)
    with experiment.opened(folder, parameters) as held:
        for name, supplier in held.items():
            if name not in deployed.NAMES:
                continue
            assert len(supplier.gate.ledger.charges()[digest(done.study)]) == rounds, name
            supplier.gate.ledger.verify()
    logs = "".join(path.read_text() for path in (folder.path / "logs").iterdir())
    meters = pl.read_csv(folder.supplier("north") / "raw" / "meters.csv", infer_schema=False)
    assert not [meter for meter in meters["meter_id"] if meter in logs]


def test_an_office_is_made_and_enrols_by_command(tmp_path, capsys):
    office = str(tmp_path / "office")
    key = Identity.generate().public_key
    assert command.main(["office", "init", office, "--address", "office.example.org:7443"]) == 0
    assert Identity.load(tmp_path / "office" / "identity.key").public_key in capsys.readouterr().out
    assert command.main(["office", "init", office, "--address", "office.example.org:7443"]) == RunError.exit_code
    assert command.main(["office", "enrol", office, "north", "--key", key]) == 0
    assert command.main(["office", "enrol", office, "../north", "--key", key]) == FormatError.exit_code
    assert command.main(["office", "enrol", office, "south", "--key", "short"]) == FormatError.exit_code
    kit, _ = client.load(tmp_path / "office" / "kits" / "north")
    assert (kit.name, kit.address) == ("north", "office.example.org:7443")
    assert command.main(["office", "suppliers", office]) == 0
    assert f"north  {key}  may connect" in capsys.readouterr().out
    assert command.main(["office", "revoke", office, "north"]) == 0
    assert command.main(["office", "revoke", office, "nobody"]) == RunError.exit_code
    assert keys.admitted(tmp_path / "office") == {}
    for secret in ("ca.key", "server.key", "identity.key", "kits/north/certificate.key"):
        assert (tmp_path / "office" / secret).stat().st_mode & 0o077 == 0, secret


def test_a_table_of_areas_that_is_none_drafts_nothing(tmp_path):
    office, port = tmp_path / "office", free_port()
    keys.init(office, f"127.0.0.1:{port}")
    for name in suppliers.NAMES:
        keys.enrol(office, name, Identity.generate().public_key)
    parameters = Parameters(scale=0.01)
    done = experiment.begin(run.start(tmp_path / "run", parameters), parameters, lambda *_: None)
    areas = tmp_path / "areas.csv"
    codes = [(area.lsoa, area.msoa, area.lad) for area in done.study.areas]
    areas.write_text("\n".join(["lsoa21cd,msoa21cd,lad22cd", *(",".join(row) for row in codes)]))
    template = str(experiment._template("southampton"))
    words = ["office", "draft", str(office), template, "--areas", str(areas)]
    assert command.main([*words[:-1], str(tmp_path / "none.csv")]) == FormatError.exit_code
    assert command.main(words) == FormatError.exit_code, "estimates need names and households of the areas too"
    assert not (office / "studies").exists()


@pytest.mark.slow
def test_suppliers_and_office_meet_by_command_alone(tmp_path):
    """`skyglow supplier serve` and `skyglow office run`: with the operating system's noise, to the first refusal."""
    parameters = Parameters(scale=0.01, workers=1)
    folder = run.start(tmp_path / "run", parameters)
    done = experiment.begin(folder, parameters, lambda *_: None)
    done.prepare()
    deployed.enrol(folder, parameters, free_port())
    place = deployed.office_folder(folder)
    skyglow = [sys.executable, "-m", "skyglow_shared.command"]
    template = str(experiment._template("southampton"))
    areas = str(folder.reference / "areas.csv")
    drafted = subprocess.run(
        [*skyglow, "office", "draft", str(place), template, "--areas", areas],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert drafted.split()[0] == "southampton"
    again = subprocess.run(
        [*skyglow, "office", "draft", str(place), template, "--areas", areas], check=False, capture_output=True
    )
    assert again.returncode == RunError.exit_code, "a study that may have been approved is not replaced"
    office = [*skyglow, "office", "run", str(place), "southampton", "--patience", "120"]

    def serving():
        lines = [[*skyglow, "supplier", "serve", "--folder", str(folder.supplier(name))] for name in deployed.NAMES]
        return [subprocess.Popen(line, stderr=subprocess.DEVNULL) for line in lines]

    def stopped(processes):
        for process in processes:
            process.send_signal(signal.SIGTERM)
        return {process.wait(30) for process in processes}

    processes = serving()
    first = subprocess.run(office, check=False, capture_output=True, text=True, timeout=240)
    assert first.returncode == ApprovalError.exit_code, first.stderr
    for name in deployed.NAMES:
        line = [*skyglow, "supplier", "study", "approve", drafted.split()[1], "--folder", str(folder.supplier(name))]
        subprocess.run(line, check=True, capture_output=True)  # while it serves
    service = subprocess.Popen([*skyglow, "office", "serve", str(place)], stderr=subprocess.DEVNULL)
    subprocess.run([*skyglow, "office", "queue", str(place), "southampton"], check=True, capture_output=True)
    status = [*skyglow, "office", "status", str(place)]
    said, deadline = "", time.monotonic() + 240
    while "southampton  complete" not in said:
        assert time.monotonic() < deadline, said
        assert service.poll() is None
        time.sleep(0.5)
        said = subprocess.run(status, check=True, capture_output=True, text=True).stdout
    assert f"connected: {', '.join(sorted(deployed.NAMES))}" in said
    assert subprocess.run([*status, "--ready"], check=False).returncode == 0
    assert subprocess.run([*skyglow, "office", "stop", str(place)], check=False).returncode == 0
    assert service.wait(30) == 0
    assert stopped(processes) == {0}
    assert (place / "studies" / "southampton" / "estimates.csv").read_text().startswith("area_code,")
    released = {path.name for path in (place / "studies" / "southampton" / "release").iterdir()}
    assert released >= {"checks.csv", "results.json", "study.json", "quality-and-methods.html"}
    logs = subprocess.run([*skyglow, "office", "logs", str(place)], check=True, capture_output=True, text=True).stdout
    assert logs.count("is connected") == len(deployed.NAMES)
    assert "study southampton is complete" in logs
