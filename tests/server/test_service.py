# SPDX-License-Identifier: Apache-2.0
"""Queued studies run one after another; one that cannot go on waits, one that is paused stays, and all survives."""

import json
import logging
import threading
import time
from itertools import pairwise

import pytest

from skyglow_server.links.grpc import GrpcFederation  # first: it says what TLS gRPC may speak

# isort: split
from skyglow_server import command, keys, serve, service, standing
from skyglow_server.checkpoints import of_office
from skyglow_shared import journal, locks
from skyglow_shared.command import main
from skyglow_shared.errors import ApprovalError, ClockError, FormatError, LedgerError, LimitError, RunError, StudyError


class Link(GrpcFederation):
    """A link that nobody is on."""

    def __init__(self):
        super().__init__("127.0.0.1:0", None, "", dict)

    def start(self):
        pass


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("first", "second", "third"):
        (tmp_path / "studies" / name).mkdir(parents=True)
        (tmp_path / "studies" / name / "study.json").touch()
    return tmp_path


@pytest.fixture
def run(folder, monkeypatch):
    """Serve until `until` holds; `conduct` says what becomes of a study."""

    def serving(conduct, until, retry=0.05):
        monkeypatch.setattr(serve, "conduct", conduct)
        stop = threading.Event()
        one = service.Service(folder, Link(), stop, of_office(folder), retry_seconds=retry)
        thread = threading.Thread(target=one.run)
        thread.start()
        try:
            deadline = time.monotonic() + 20
            while not until():
                assert time.monotonic() < deadline, standing.standings(folder)
                time.sleep(0.01)
        finally:
            stop.set()
            thread.join(10)
        assert not locks.taken(folder / standing.LOCK)

    return serving


def states(folder):
    return {name: one.state for name, one in standing.standings(folder).items()}


def test_studies_run_in_the_order_in_which_they_were_queued(folder, run):
    done = []
    for name in ("second", "first", "third"):
        standing.queue(folder, name)
    run(lambda folder, name, link, checkpoints, progress: done.append(name), lambda: len(done) == 3)
    assert done == ["second", "first", "third"]
    assert set(states(folder).values()) == {"complete"}
    with pytest.raises(RunError, match="complete"):
        standing.queue(folder, "first")


def test_who_cannot_go_on_waits_and_holds_up_nobody(folder, run):
    tries = {"first": 0, "second": 0}

    def conduct(folder, name, link, checkpoints, progress):
        tries[name] += 1
        if name == "first" and tries[name] < 3:
            raise ApprovalError("north refused: awaiting approval", rule="approval")

    standing.queue(folder, "first")
    standing.queue(folder, "second")
    seen = []
    run(conduct, lambda: seen.append(states(folder)) or states(folder) == {"first": "complete", "second": "complete"})
    assert {"first": "waiting", "second": "complete"} in seen
    assert tries == {"first": 3, "second": 1}


def test_a_study_that_cannot_be_right_fails_and_says_why(folder, run):
    def conduct(folder, name, link, checkpoints, progress):
        raise StudyError("the study contradicts itself")

    standing.queue(folder, "first")
    run(conduct, lambda: states(folder)["first"] == "failed")
    assert standing.standing(folder, "first").note == "the study contradicts itself"
    standing.queue(folder, "first")
    assert states(folder) == {"first": "queued"}


def test_a_full_disk_makes_a_study_wait(folder, run):
    def conduct(folder, name, link, checkpoints, progress):
        raise OSError(28, "No space left on device: a-path")

    standing.queue(folder, "first")
    run(conduct, lambda: states(folder)["first"] == "waiting")
    assert standing.standing(folder, "first").note == "the system says OSError"


@pytest.mark.parametrize(
    "error", [LedgerError("north refused"), ClockError("x", rule="clock"), LimitError("x", rule="x")]
)
def test_what_passes_at_a_supplier_makes_a_study_wait(folder, run, error):
    tries = []

    def conduct(folder, name, link, checkpoints, progress):
        tries.append(name)
        if len(tries) < 3:
            raise error

    standing.queue(folder, "first")
    run(conduct, lambda: states(folder) == {"first": "complete"})
    assert len(tries) == 3


def test_a_disk_too_full_to_say_so_does_not_end_the_service(folder, run, monkeypatch, caplog):
    tries, full = [], [True]

    def conduct(folder, name, link, checkpoints, progress):
        tries.append(time.monotonic())
        progress("training", 0, 40)
        if len(tries) < 4:
            raise OSError(28, "No space left on device")
        full.clear()

    def put(folder, name, found):
        if full and found.state != "queued":
            raise OSError(28, "No space left on device")
        whole(folder, name, found)

    whole = standing.put
    standing.queue(folder, "first")
    monkeypatch.setattr(service, "put", put)
    run(conduct, lambda: states(folder) == {"first": "complete"})
    assert min(later - sooner for sooner, later in pairwise(tries)) >= 0.05, "it is not tried without a pause"
    assert "is the disk full?" in caplog.text


def test_a_paused_study_is_put_aside_at_its_next_step(folder, run):
    steps = []

    def conduct(folder, name, link, checkpoints, progress):
        for number in range(1000):
            steps.append(number)
            progress("training", number, 1000)
            time.sleep(0.01)

    standing.queue(folder, "first")
    pausing = threading.Timer(0.3, lambda: standing.pause(folder, "first"))
    pausing.start()
    run(conduct, lambda: states(folder)["first"] == "paused")
    assert 0 < len(steps) < 1000
    standing.queue(folder, "first")
    assert states(folder) == {"first": "queued"}


def test_what_a_crash_left_running_goes_first(folder, run):
    for name in ("first", "second"):
        standing.queue(folder, name)
    standing.put(folder, "second", standing.Standing(state="running", since="t", queued="9"))
    done = []
    run(lambda folder, name, link, checkpoints, progress: done.append(name), lambda: len(done) == 2)
    assert done == ["second", "first"]


def test_only_drafted_studies_are_queued_and_only_queued_ones_paused(folder):
    with pytest.raises(RunError, match="drafted"):
        standing.queue(folder, "none")
    with pytest.raises(RunError, match="not queued"):
        standing.pause(folder, "first")
    (folder / "studies" / "first" / "state.json").write_text("{")
    with pytest.raises(FormatError, match=r"state\.json"):
        standing.standings(folder)


def test_status_and_readiness(folder, run, capsys):
    assert main(["office", "status", str(folder), "--ready"]) == RunError.exit_code
    assert main(["office", "stop", str(folder)]) == RunError.exit_code
    standing.queue(folder, "first")
    ready = []

    def conduct(folder, name, link, checkpoints, progress):
        progress("training", 40, 40)
        ready.append(main(["office", "status", str(folder), "--ready"]))
        main(["office", "status", str(folder)])
        with pytest.raises(RunError, match="another process"):
            service.Service(folder, Link(), threading.Event(), of_office(folder)).run()

    run(conduct, lambda: states(folder)["first"] == "complete")
    assert ready == [0]
    out = capsys.readouterr().out
    assert "connected: nobody" in out
    assert "first  running" in out
    assert "training 40 of 40" in out
    assert command.__name__


def test_logs_are_lines_of_json_without_what_an_exception_says(folder, capsys):
    root = logging.getLogger()
    before = root.handlers[:]
    try:
        journal.begin(lines=True, file=folder / standing.LOG)
        try:
            raise ValueError("a reading of 1.25 kWh")
        except ValueError:
            logging.getLogger("skyglow_server").exception("it failed")
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:] = before
    (line,) = (folder / standing.LOG).read_text().splitlines()
    assert json.loads(line)["exception"] == "ValueError"
    assert "1.25" not in line
    assert main(["office", "logs", str(folder), "-n", "5"]) == 0
    assert "skyglow_server: it failed" in capsys.readouterr().out


def test_an_office_that_is_told_to_stop_asks_no_more(tmp_path):
    keys.init(tmp_path, "127.0.0.1:1")
    keys.enrol(tmp_path, "north", "0a" * 32)
    with serve.federation(tmp_path, listen="127.0.0.1:0", patience=60) as link:
        threading.Timer(0.2, link.halt).start()
        with pytest.raises(RunError, match="told to stop"):
            link.ask({"north": b"?"})


def test_who_left_long_ago_is_waited_for_once(tmp_path):
    keys.init(tmp_path, "127.0.0.1:1")
    keys.enrol(tmp_path, "north", "0a" * 32)
    with serve.federation(tmp_path, listen="127.0.0.1:0", patience=60) as link:
        link.absence = 0.4
        begun = time.monotonic()
        assert link.ask({"north": b"?"}) == {}
        assert 0.3 < time.monotonic() - begun < 5
        begun = time.monotonic()
        assert link.ask({"north": b"?"}) == {}
        assert time.monotonic() - begun < 0.3
