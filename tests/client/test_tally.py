# SPDX-License-Identifier: Apache-2.0
"""What a supplier tells its own Prometheus: how many answers of which kind, and nothing that depends on a home."""

import re

import pytest

from skyglow_client.tally import Tally


@pytest.fixture
def tally(town, tmp_path):
    return Tally(tmp_path / "metrics" / "skyglow.prom", town.name, town.identity.public_key, b"no certificate")


def samples(tally):
    lines = [line.rpartition(" ") for line in tally.path.read_text().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_answers_are_counted_by_their_code(town, tally):
    study = town.study()
    with town.open() as supplier:
        handle = tally.counting(supplier.handle)
        handle(town.proposal(study))
        town.approve(supplier, study)
        replies = [handle(town.request(study)), handle(town.request(study, round_=2)), handle(b"noise")]
        assert replies[0] == supplier.handle(town.request(study)), "replies pass as they are"
    found = samples(tally)
    name = "skyglow_supplier_answers_total"
    assert {key: value for key, value in found.items() if key.startswith(name)} == {
        f'{name}{{code="0"}}': 1,
        f'{name}{{code="33"}}': 1,
        f'{name}{{code="34"}}': 1,
        f'{name}{{code="40"}}': 1,
    }
    tally.on_line(True)
    assert samples(tally)["skyglow_supplier_connected"] == 1


def test_nothing_in_it_depends_on_homes(town, tally, new_supplier):
    """Every name and every label is known beforehand; values are counts of messages and times of day."""
    study = town.study()
    with town.open() as supplier:
        town.approve(supplier, study)
        tally.counting(supplier.handle)(town.request(study))
    text = tally.path.read_text()
    assert set(samples(tally)) == {
        "skyglow_supplier_connected",
        'skyglow_supplier_answers_total{code="0"}',
        "skyglow_supplier_last_answer_timestamp_seconds",
    }
    assert not re.search(r"E0\d{7}", text)
    assert not [meter for meter, postcode in town.raw.meters if meter in text or postcode in text]


def test_a_file_that_cannot_be_written_stops_nothing(town, tally, caplog):
    tally.path.parent.write_text("in the way")
    with town.open() as supplier:
        assert tally.counting(supplier.handle)(b"noise")
    assert "metrics cannot be written" in caplog.text
