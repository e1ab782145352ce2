# SPDX-License-Identifier: Apache-2.0
"""One study, one encoding, one digest; nothing unknown is accepted and every contradiction is told at once."""

import json
import math
import operator

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skyglow_shared.errors import StudyError
from skyglow_shared.soundness import check, decode_study
from skyglow_shared.study import Study, canonical_bytes, digest, digest_of

WORDS = {
    "aggregate": "local",
    "gradient": "area_score",
    "area_score": "class_score",
    "area_profile": "diary_profile",
    "one_person_66_plus": "other",
    "poisson": "random_allocation",
    "composition": "paid_work",
} | {"MSOA": "LSOA", "LAD": "MSOA"}
FIXED = {("protocol",), ("vintage",), ("models", 0, "kind")}  # they have one legal value: changing them is refused


def leaves(node, path=()):
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(value, (*path, key))
    else:
        yield path


def get(node, path):
    for key in path:
        node = node[key]
    return node


def put(node, path, value):
    get(node, path[:-1])[path[-1]] = value


def changed(value):
    """The smallest change of a leaf that keeps its type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return math.nextafter(value, 0.0) if value else 1e-300
    if isinstance(value, int):
        return value + 1
    if value in WORDS:
        return WORDS[value]
    last = value[-1] if value else ""
    return value[:-1] + next(other for other in ("10" if last.isdigit() else "bc") if other != last)


def test_a_sound_study_survives_its_encoding(study):
    assert decode_study(canonical_bytes(study)) == study
    assert digest_of(canonical_bytes(study)) == digest(study)


def test_the_digest_is_pinned(study):
    # Both sides of a deployed system hold digests of earlier versions: a change here is a change of protocol.
    assert digest(study) == "eabad217d4c6d7ae11214e48a6109f5a54c20e69b344d2371f1473937782e3d4"


def test_the_order_of_keys_does_not_matter(plain, study):
    turned = dict(reversed(plain.items()))
    turned["phases"] = [dict(reversed(phase.items())) for phase in plain["phases"]]
    assert digest(msgspec.convert(turned, type=Study)) == digest(study)


def test_any_change_of_any_field_changes_the_digest(plain, study):
    paths = [path for path in leaves(plain) if path not in FIXED]
    digests = {digest(study)}
    for path in paths:
        before = get(plain, path)
        put(plain, path, changed(before))
        new = digest(msgspec.convert(plain, type=Study))
        assert new not in digests, path
        digests.add(new)
        put(plain, path, before)
    assert len(paths) > 50


@pytest.mark.parametrize("path", sorted(FIXED, key=str))
def test_what_has_one_legal_value_cannot_be_changed(plain, path):
    put(plain, path, changed(get(plain, path)))
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(plain, type=Study)


def test_every_field_is_in_the_sample(plain):
    """So that the test above really covers every field of every record."""

    def fields(kind):
        return {field.name for field in msgspec.structs.fields(kind)}

    built = json.loads(canonical_bytes(msgspec.convert(plain, type=Study)))
    assert set(built) == fields(Study) == set(plain)
    assert set(leaves(built)) == set(leaves(plain))


@pytest.mark.parametrize("order", ["areas", "suppliers", "phases"])
def test_order_is_part_of_a_study(plain, study, order):
    plain[order].reverse()
    assert digest(msgspec.convert(plain, type=Study)) != digest(study)


def test_a_key_nobody_knows_is_refused_at_every_depth(plain):
    nodes = {path[:depth] for path in leaves(plain) for depth in range(len(path))}
    tables = [path for path in nodes if isinstance(get(plain, path), dict)]
    assert len(tables) >= 10
    for path in tables:
        get(plain, path)["surprise"] = 1
        with pytest.raises(StudyError):
            decode_study(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode())
        del get(plain, path)["surprise"]


def test_a_longer_area_is_refused(plain):
    plain["areas"][0].append("E99000001")
    with pytest.raises(StudyError):
        decode_study(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: body + b" ",
        lambda body: b" " + body,
        lambda body: body.replace(b":", b": ", 1),
        lambda body: body.replace(b'"epsilon":4.0', b'"epsilon":4'),
        lambda body: body.replace(b'"epsilon":4.0', b'"epsilon":4.00'),
        lambda body: body.replace(b'"epsilon":4.0', b'"epsilon":9.0,"epsilon":4.0'),
        lambda body: body.replace(b"Who is home", b"\\u0057ho is home"),
    ],
)
def test_only_the_canonical_form_is_read(study, spoil):
    spoiled = spoil(canonical_bytes(study))
    assert spoiled != canonical_bytes(study)
    with pytest.raises(StudyError):
        decode_study(spoiled)


def test_a_default_that_is_left_out_is_not_the_canonical_form(plain):
    plain["models"][0]["momentum"] = 0.0
    body = canonical_bytes(msgspec.convert(plain, type=Study))
    assert decode_study(body)
    with pytest.raises(StudyError, match="canonical"):
        decode_study(body.replace(b'"momentum":0.0,', b""))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_study_give_a_study_error(content):
    with pytest.raises(StudyError):
        decode_study(content)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_altered_bytes_are_refused_or_are_another_study(study, data):
    body = bytearray(canonical_bytes(study))
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        other = decode_study(bytes(body))
    except StudyError:
        return
    assert digest(other) != digest(study)


CONTRADICTIONS = {
    "it lists no areas": lambda plain: plain.update(areas=[]),
    "it lists no models": lambda plain: plain.update(models=[]),
    "it lists no phases": lambda plain: plain.update(phases=[]),
    "it lists no suppliers": lambda plain: plain.update(suppliers=[]),
    "it lists the same areas twice": lambda plain: plain["areas"].insert(0, plain["areas"][0]),
    "it lists the same models twice": lambda plain: plain["models"].append(plain["models"][0]),
    "it lists the same phases twice": lambda plain: plain["phases"].append(plain["phases"][0]),
    "it lists the same suppliers twice": lambda plain: plain["suppliers"][1].update(name="north"),
    "it lists the same supplier keys twice": lambda plain: plain["suppliers"][1].update(public_key="0a" * 32),
    "areas must be sorted by LSOA code": lambda plain: plain["areas"].reverse(),
    "legal_gateway must be one of": lambda plain: plain.update(legal_gateway="because"),
    "feature_week must be a Monday": lambda plain: plain.update(feature_week="2026-03-17"),
    "whole week lies in the period": lambda plain: plain.update(feature_week="2026-04-06"),
    "delta must be at most 1 / (10 × households)": lambda plain: plain.update(delta=1e-4),
    "positive_classes of model all_aged_66_plus": lambda plain: plain["models"][0].update(positive_classes=["tall"]),
    "must be some of one_person_66_plus": lambda plain: plain["models"][0].update(positive_classes=[]),
    "must be some of nobody, somebody": lambda plain: plain["models"][0].update(question="paid_work"),
    "block profiles may have models beside": lambda plain: plain["phases"][1]["blocks"][1].update(
        model="all_aged_66_plus", beside=["all_aged_66_plus"]
    ),
    "block gradient may have models beside its own, each once": lambda plain: plain["phases"][0]["blocks"][0].update(
        beside=["all_aged_66_plus"]
    ),
    "block area_scores must name a model of the study": lambda plain: plain["phases"][1]["blocks"][0].update(
        beside=["another"]
    ),
    "must have the same models beside it": lambda plain: beside(plain, [], ["one_person"]),
    "only if they have no hidden layers": lambda plain: beside(
        plain, ["one_person"], [], kind="perceptron", hidden=[4]
    ),
    "differ in more than _ for -": lambda plain: beside(plain, [], [], name="all-aged-66-plus"),
    "none may be named occupancy": lambda plain: beside(plain, [], [], name="electricity_use"),
    "start of model all_aged_66_plus": lambda plain: plain["models"][0].update(features="class22-v1", start=[0.5] * 22),
    "every phase must have blocks": lambda plain: plain["phases"][0].update(blocks=[]),
    "each of a name of its own": lambda plain: plain["phases"][1]["blocks"][0].update(name="profiles"),
    "block profiles must name a model": lambda plain: plain["phases"][1]["blocks"][1].update(model="all_aged_66_plus"),
    "block gradient must name a model": lambda plain: plain["phases"][0]["blocks"][0].update(model=""),
    "block area_scores must name a model": lambda plain: plain["phases"][1]["blocks"][0].update(model="another"),
    "block profiles may have counts_trainers only if its source is class_score or area_label and the study trains": (
        lambda plain: plain["phases"][1]["blocks"][1].update(counts_trainers=True)
    ),
    "block area_scores may have counts_trainers only if its source is class_score or area_label and the study trains": (
        lambda plain: untrained(plain)["blocks"][0].update(source="area_label", l2_bound=1.2, counts_trainers=True)
    ),
    "block area_scores shortens every home's labels, which are 1.118034 long": (
        lambda plain: plain["phases"][1]["blocks"][0].update(source="area_label", l2_bound=1.0)
    ),
    "block profiles must have a cap if and only if": lambda plain: plain["phases"][1]["blocks"][1].update(cap=40),
    "without one of source area_use": lambda plain: plain["phases"][1]["blocks"][1].update(source="area_use_histogram"),
    "without one of source class_histogram": lambda plain: plain["phases"][1]["blocks"][0].update(
        source="area_histogram"
    ),
    "block profiles must have a cap if": lambda plain: plain["phases"][1]["blocks"][1].update(
        source="area_capped_count"
    ),
    "phase training must either train or measure": lambda plain: plain["phases"][0]["blocks"].append(
        {**plain["phases"][1]["blocks"][0], "name": "more"}
    ),
}


def untrained(plain):
    """Leave out the phase that trains, and give the one after it."""
    del plain["phases"][0]
    return plain["phases"][0]


def beside(plain, gradient, scores, **second):
    """Give the study a second model, beside the first in the gradient or in scores that are not calibrated so."""
    plain["models"].append({**plain["models"][0], "name": "one_person", **second})
    plain["phases"][0]["blocks"][0]["beside"] = gradient
    plain["phases"][1]["blocks"][0]["beside"] = scores
    plain["phases"][1]["blocks"].append({**plain["phases"][1]["blocks"][0], "name": "c", "source": "class_score"})
    plain["phases"][1]["blocks"][-1]["beside"] = []


@pytest.mark.parametrize("words", CONTRADICTIONS)
def test_each_contradiction_is_named(plain, words):
    CONTRADICTIONS[words](plain)
    with pytest.raises(StudyError) as refused:
        check(msgspec.convert(plain, type=Study))
    assert words in str(refused.value)


def test_all_contradictions_are_named_at_once(plain):
    apart = [
        "areas must be sorted by LSOA code",
        "legal_gateway must be one of",
        "feature_week must be a Monday",
        "delta must be at most 1 / (10 × households)",
        "must be some of one_person_66_plus",
        "block profiles must name a model",
        "it lists the same supplier keys twice",
    ]
    for words in apart:
        CONTRADICTIONS[words](plain)
    with pytest.raises(StudyError) as refused:
        check(msgspec.convert(plain, type=Study))
    assert [words for words in apart if words not in str(refused.value)] == []


def test_a_sound_study_has_no_contradiction(study):
    check(study)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_may_be_infinite(plain, value):
    accepted = []
    for path in [path for path in leaves(plain) if isinstance(get(plain, path), float)]:
        before = get(plain, path)
        put(plain, path, value)
        try:
            check(msgspec.convert(plain, type=Study))
        except (StudyError, msgspec.ValidationError):
            pass
        else:
            accepted.append(path)
        put(plain, path, before)
    assert accepted == []


@pytest.mark.parametrize("field", ["feature_week", "period.start"])
@pytest.mark.parametrize("date", ["0001-01-01", "9999-12-27", "9999-12-31"])
def test_a_date_at_the_end_of_time_is_a_study_error(plain, field, date):
    put(plain, tuple(field.split(".")), date)
    with pytest.raises(StudyError):
        check(msgspec.convert(plain, type=Study))


def test_areas_nest_in_order(study):
    assert study.lsoas == ("E01000001", "E01000002", "E01000003")
    assert study.msoas == ("E02000001", "E02000002")


def test_what_a_study_has_not_is_a_study_error(study):
    for find in (operator.methodcaller("phase", "encore"), operator.methodcaller("model", "encore")):
        with pytest.raises(StudyError, match="encore"):
            find(study)
