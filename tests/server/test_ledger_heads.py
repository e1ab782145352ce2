# SPDX-License-Identifier: Apache-2.0
"""What an office knows of suppliers' ledgers, and says in a release: the heads they signed, and what it cannot know."""

import datetime
import json

import msgspec
import pytest

from skyglow_server.checkpoints import Checkpoints, Place
from skyglow_server.ledger_heads import advertised
from skyglow_server.publication import Release, provenance, quality_page
from skyglow_shared.errors import SignatureError
from skyglow_shared.messages import Refusal, StepReply, seal_reply
from skyglow_shared.secagg.channels import show
from skyglow_shared.secagg.ledger_heads import Head
from skyglow_shared.secagg.messages import Advertisement, encode
from skyglow_shared.signing import Identity
from skyglow_shared.study import Aggregation, Supplier, digest

WHO = {name: Identity.generate() for name in ("east", "north", "west")}


@pytest.fixture
def study(make_study):
    roster = tuple(Supplier(name=name, public_key=one.public_key) for name, one in WHO.items())
    withstands = Aggregation(dropouts=0, colluders=1)
    return msgspec.structs.replace(make_study(), trust_mode="aggregate", aggregation=withstands, suppliers=roster)


@pytest.fixture
def kept(tmp_path):
    return Checkpoints.in_file(tmp_path / "checkpoints.sqlite")


def says(study, name, entries, signer="", attempt=0):
    """A sealed reply that advertises a ledger of so many entries."""
    channel = show(digest(study), name, bytes(range(32)), WHO[name])
    plain = Advertisement(
        session=bytes(32), sender=name, channel=channel, seed_commitment=bytes(32), recovery_commitment=bytes(32),
        ledger_entries=entries, ledger_head=f"{entries:064x}", signature=bytes(64),
    )  # fmt: skip
    content = encode(plain.signed(WHO[signer or name]))
    reply = StepReply(study=digest(study), phase="release", round=0, attempt=attempt, supplier=name, content=content)
    return seal_reply(reply, name, WHO[name])


def at(study, round_, attempt=0, step="advertise"):
    return Place(digest(study), "release", round_, attempt, step)


def test_the_last_head_that_each_supplier_signed_counts(study, kept):
    kept.save(at(study, 0), {name: says(study, name, 5) for name in WHO})
    refusal = seal_reply(Refusal(code=31, rule="policy", message="no"), "east", WHO["east"])
    kept.save(at(study, 1), {"north": says(study, "north", 9), "east": refusal})
    kept.save(at(study, 1, step="share_keys"), {"north": says(study, "north", 99)})
    assert advertised(study, kept) == {
        "north": Head(9, f"{9:064x}"),
        "east": Head(5, f"{5:064x}"),
        "west": Head(5, f"{5:064x}"),
    }


def test_a_head_that_another_signed_is_no_head(study, kept):
    kept.save(at(study, 0), {"north": says(study, "north", 5, signer="east")})
    with pytest.raises(SignatureError):
        advertised(study, kept)


def test_without_aggregation_nobody_says_where_a_ledger_stands(make_study, kept):
    assert advertised(make_study(), kept) == {}


def released(study, heads):
    digests = {name: head.digest for name, head in heads.items()}
    entries = {name: head.entries for name, head in heads.items()}
    day = datetime.date(2026, 4, 1)
    return Release(study, (), (), day, "Office", ledger_heads=digests, ledger_entries=entries)


def ledgers(release):
    graph = json.loads(provenance.crate(release, {}, {}))["@graph"]
    return {item["@id"].removeprefix("#ledger-"): item for item in graph if item["@id"].startswith("#ledger-")}


def test_the_provenance_says_what_is_known_and_what_is_not(study, make_study):
    found = ledgers(released(study, {"north": Head(1234, "ab" * 32)}))
    assert found.keys() == WHO.keys()
    assert found["north"]["value"] == "ab" * 32
    assert "of 1,234 entries, as the supplier signed it" in found["north"]["description"]
    assert "value" not in found["east"] and "not known: the supplier took part in no" in found["east"]["description"]
    assert all("which the office does not see: at most 4 epsilon" in item["description"] for item in found.values())
    alone = ledgers(released(make_study(), {}))
    assert all("in trust mode local no reply says" in item["description"] for item in alone.values())


def test_the_quality_page_says_so_too(study):
    text = quality_page.page(released(study, {"north": Head(3, "ab" * 32)})).decode()
    assert "ab" * 32 in text and "not known: the supplier took part in no attempt" in text
    assert "which the office does not see" in text and "Charged for this study" not in text
