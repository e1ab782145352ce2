# SPDX-License-Identifier: Apache-2.0
"""What the office tells Prometheus and OpenTelemetry: states and counts of messages, by names that are public."""

import re

import pytest

from skyglow_server import serve  # first: it says what TLS gRPC may speak

# isort: split
from skyglow_server import keys, measures, standing, traces
from skyglow_server.checkpoints import Checkpoints
from skyglow_server.coordinator import Coordinator
from skyglow_shared import metrics
from skyglow_shared.errors import RunError
from skyglow_shared.signing import Identity
from skyglow_shared.study import canonical_bytes

LINE = re.compile(r'^(skyglow_[a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\]|\\.)*",?)+)\})? (\S+)$')


@pytest.fixture
def office(tmp_path):
    folder = tmp_path / "office"
    keys.init(folder, "127.0.0.1:1")
    for name in ("north", "south"):
        keys.enrol(folder, name, Identity.generate().public_key)
    keys.revoke(folder, "south")
    keys.enrol(folder, "west", Identity.generate().public_key)
    return folder


def read(path):
    """Every sample of a file, by its name and labels."""
    lines = path.read_text().splitlines()
    found = [LINE.match(line) for line in lines if not line.startswith("#")]
    assert all(found), lines
    return {(one[1], one[2] or ""): float(one[3]) for one in found}


def test_the_office_says_who_is_there_and_where_studies_stand(office, tmp_path):
    standing.put(
        office, "towns", standing.Standing(state="running", since="t", queued="1", phase="training", done=3, total=40)
    )
    metrics.write(tmp_path / "m.prom", measures.measured(office, ("north",)))
    found = read(tmp_path / "m.prom")
    assert found["skyglow_office_connected", 'supplier="north"'] == 1
    assert found["skyglow_office_connected", 'supplier="west"'] == 0
    assert not [labels for _, labels in found if "south" in labels], "it may not connect"
    assert found["skyglow_office_study_state", 'study="towns",state="running"'] == 1
    assert found["skyglow_office_study_rounds_done", 'study="towns",phase="training"'] == 3
    assert found["skyglow_office_certificate_end_timestamp_seconds", 'certificate="office"'] > 1.7e9
    assert list(tmp_path.glob(".m.prom*")) == []


def test_a_label_that_nobody_agreed_to_is_refused(tmp_path):
    for label in ("area", "msoa", "home", "group"):
        with pytest.raises(ValueError, match=label):
            metrics.write(tmp_path / "m", [metrics.Metric("skyglow_x", "x", "gauge", {((label, "E01000001"),): 1})])
    assert not (tmp_path / "m").exists()


def test_text_is_escaped(tmp_path):
    odd = 'a"b\\c\nd 7'
    metrics.write(tmp_path / "m", [metrics.Metric("skyglow_x", "x", "gauge", {(("study", odd),): 1})])
    assert read(tmp_path / "m") == {("skyglow_x", r'study="a\"b\\c\nd 7"'): 1}


def test_a_study_is_run_the_same_where_nothing_is_traced(office, puppets, monkeypatch, tmp_path):
    monkeypatch.setattr(traces, "trace", None)
    federation = puppets()
    whole = Coordinator(
        federation.study, federation.office, federation, Checkpoints.in_file(tmp_path / "w"), lambda *_: None
    ).run()
    assert whole.sums.keys() == conducted(office, puppets(), monkeypatch).keys()


def conducted(office, federation, monkeypatch):
    place = office / "studies" / federation.study.name
    place.mkdir(parents=True)
    (place / "study.json").write_bytes(canonical_bytes(federation.study))
    federation.office.save(office / "identity.key")
    found = []

    class Kept(Coordinator):
        def run(self):
            found.append(super().run().sums)
            raise InterruptedError  # estimates are another matter

    monkeypatch.setattr(serve, "Coordinator", Kept)
    monkeypatch.setattr(serve.releasing, "check_beside", lambda *_: None)  # as are the tables that they need
    with pytest.raises(InterruptedError):
        serve.conduct(
            office, federation.study.name, federation, Checkpoints.in_file(office / "c.sqlite"), lambda *_: None
        )
    return found[0]


@pytest.fixture
def spans(monkeypatch):
    """What has been traced, once asked."""
    sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="needs the extra traces")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter").InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(memory))
    monkeypatch.setattr(traces.trace, "get_tracer", provider.get_tracer)
    return memory.get_finished_spans


def test_an_errors_text_is_in_no_span(spans):
    with pytest.raises(RunError), traces.study("towns"):
        raise RunError("north refused: something of its own")
    (one,) = spans()
    assert (one.status.is_ok, one.status.description, one.events) == (False, None, ())


def test_spans_carry_places_and_counts_of_suppliers_alone(office, puppets, monkeypatch, spans):
    conducted(office, puppets(), monkeypatch)
    spans = spans()
    assert [span.name for span in spans] == ["skyglow.exchange"] * 6 + ["skyglow.study"]
    assert {key for span in spans for key in span.attributes} == {
        "skyglow.study", "skyglow.phase", "skyglow.round", "skyglow.asked", "skyglow.answered"
    }  # fmt: skip
    assert dict(spans[2].attributes) == {
        "skyglow.phase": "training", "skyglow.round": 1, "skyglow.asked": 3, "skyglow.answered": 3
    }  # fmt: skip
    assert {span.parent.span_id for span in spans[:-1]} == {spans[-1].context.span_id}
    assert not [event for span in spans for event in span.events]
