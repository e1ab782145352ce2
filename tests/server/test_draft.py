# SPDX-License-Identifier: Apache-2.0
"""From a statistician's file to the study that is signed: complete, pinned, sound, or refused with every reason."""

from importlib import resources
from pathlib import Path

import pytest

from skyglow_server.draft import draft
from skyglow_shared.errors import FormatError, StudyError
from skyglow_shared.models import features, presence, temporal
from skyglow_shared.soundness import decode_study
from skyglow_shared.study import Area, Supplier, canonical_bytes, digest

BUILT_IN = Path(str(resources.files("skyglow_simulations") / "studies" / "southampton.toml"))
AREAS = tuple(Area(f"E0100000{n}", f"E0200000{n // 2}", "E06000001") for n in range(4))
ROSTER = tuple(Supplier(name=f"supplier-{n}", public_key=f"{n:064x}") for n in range(3))


@pytest.fixture
def make(tmp_path):
    """Drafts the built-in study with some of its text replaced."""

    def drafted(*replacements, areas=AREAS, suppliers=ROSTER, office_key="ab" * 32, scale=1.0):
        text = BUILT_IN.read_text(encoding="utf-8")
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return draft(path, areas=areas, office_key=office_key, suppliers=suppliers, scale=scale)

    return drafted


def test_the_draft_is_what_suppliers_can_read(make):
    study = make()
    assert decode_study(canonical_bytes(study)) == study
    assert (study.areas, study.suppliers, study.office_key) == (AREAS, ROSTER, "ab" * 32)
    assert (study.name, study.epsilon, study.delta) == ("southampton", 4.0, 1e-6)


def test_constants_are_pinned_by_what_is_installed(make):
    study = make()
    assert study.models[0].features_digest == features.contract("class22-v1").digest
    assert study.occupancy.basis_digest == presence.load("presence_basis_v2").digest


def test_a_model_of_presence_is_pinned_where_the_template_names_one(make):
    named = 'model = "presence_model_v1"'
    assert make((named, "")).occupancy.model_digest == ""
    assert make().occupancy.model_digest == temporal.load("presence_model_v1").digest
    with pytest.raises(StudyError, match="no model of presence of that name"):
        make((named, named.replace("v1", "v9")))


def test_a_model_of_presence_that_is_trained_has_what_it_begins_from_pinned(tmp_path):
    text = BUILT_IN.with_stem("southampton-presence").read_text(encoding="utf-8")
    roster = tuple(Supplier(name=f"supplier-{n}", public_key=f"{n:064x}") for n in range(5))
    places = {"areas": AREAS, "office_key": "ab" * 32, "suppliers": roster}
    for start, pinned in (("presence_model_v1", temporal.load("presence_model_v1").digest), ("", "")):
        path = tmp_path / "mine.toml"
        path.write_text(text.replace('start_model = "presence_model_v1"', f'start_model = "{start}"'), encoding="utf-8")
        study = draft(path, **places)
        assert study.presence_model is not None and study.presence_model.start_digest == pinned
        assert study.occupancy.model_digest == ""


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.02, 1e-9])
def test_scale_takes_its_share_of_the_public_numbers_of_homes(scale, make):
    whole, part = make(), make(scale=scale)
    for before, after in zip(whole.phases, part.phases, strict=True):
        assert after.expected_homes == max(1, round(before.expected_homes * scale))
        assert after.blocks == before.blocks, "no scale changes clip or noise"
    assert (digest(part) == digest(whole)) == (scale == 1.0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"areas": AREAS[::-1]}, "sorted"),
        ({"areas": ()}, "areas"),
        ({"areas": AREAS[:1] * 2}, "areas"),
        ({"suppliers": ()}, "suppliers"),
        ({"suppliers": ROSTER[:1] * 2}, "suppliers"),
        ({"office_key": "AB" * 32}, "office_key"),
        ({"office_key": ""}, "office_key"),
    ],
    ids=str,
)
def test_what_the_office_adds_is_checked_too(settings, words, make):
    with pytest.raises(StudyError, match=words):
        make(**settings)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "southampton"', 'nam = "southampton"', "nam"),
        ("days = 28", "days = 28\nnights = 28", "nights"),
        ("days = 28", "days = 5", "days"),
        ("rounds = 40", "rounds = 0", "rounds"),
        ("rounds = 40", "rounds = 4.5", "rounds"),
        ("sampling_rate = 0.5", "sampling_rate = 1.5", "sampling_rate"),
        ("l2_bound = 0.3\nnoise_multiplier =", "l2_bound = 0.3\nnoise_multiplier = 0.0 #", "noise_multiplier"),
        ("l2_bound = 1.0", "l2_bound = nan", "l2_bound|finite"),
        ("epsilon = 4.0", "epsilon = 400.0", "epsilon"),
        ('trust_mode = "local"', 'trust_mode = "blind"', "trust_mode"),
        ('features = "class22-v1"', 'features = "class22-v2"', "feature"),
        ('basis = "presence_basis_v2"', 'basis = "presence_basis_v9"', "presence basis"),
        ('positive_classes = ["one_person_66_plus"', 'positive_classes = ["two_persons"', "positive_classes"),
        ("[occupancy]", "[somewhere]", "occupancy|somewhere"),
        ("[[models]]", "[models]", "models"),
    ],
)
def test_a_template_that_is_no_study(old, new, words, make):
    with pytest.raises(StudyError, match=words):
        make((old, new))


def test_every_contradiction_is_told_at_once(make):
    with pytest.raises(StudyError) as caught:
        make(("feature_week = 2026-03-09", "feature_week = 2026-03-10"), ("delta = 1e-6", "delta = 1e-4"))
    assert "feature_week" in str(caught.value) and "delta" in str(caught.value)


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", b"name = 1\nname = 2", b"[["])
def test_a_file_that_is_not_toml(content, tmp_path):
    (tmp_path / "mine.toml").write_bytes(content)
    with pytest.raises(FormatError, match=r"mine\.toml is not a TOML file"):
        draft(tmp_path / "mine.toml", areas=AREAS, office_key="ab" * 32, suppliers=ROSTER)


def test_an_empty_file_is_no_study(tmp_path):
    (tmp_path / "mine.toml").write_bytes(b"")
    with pytest.raises(StudyError):
        draft(tmp_path / "mine.toml", areas=AREAS, office_key="ab" * 32, suppliers=ROSTER)


@pytest.mark.parametrize("name", ["nowhere.toml", "."])
def test_a_file_that_cannot_be_read(name, tmp_path):
    with pytest.raises(FormatError, match="cannot be read"):
        draft(tmp_path / name, areas=AREAS, office_key="ab" * 32, suppliers=ROSTER)


@pytest.mark.parametrize("own", ['office_key = "{}"'.format("cd" * 32), "areas = []", "suppliers = []"])
def test_a_template_cannot_bring_what_the_office_adds(own, make):
    """The office's own key, areas and roster stand, whatever the file says."""
    study = make(('name = "southampton"', f'name = "southampton"\n{own}'))
    assert (study.areas, study.suppliers, study.office_key) == (AREAS, ROSTER, "ab" * 32)


def test_a_template_cannot_pin_other_constants(make):
    pins = ('features = "class22-v1"', 'features = "class22-v1"\nfeatures_digest = "{}"'.format("cd" * 32))
    assert make(pins).models[0].features_digest == features.contract("class22-v1").digest


def test_the_built_in_study_is_what_is_shipped_and_costs_at_most_what_it_says(make):
    from skyglow_shared.layout import all_round_numbers  # noqa: PLC0415 - accounting takes a second to load
    from skyglow_shared.privacy.accounting import plan, study_cost  # noqa: PLC0415

    study = make()
    assert study_cost(plan(study, all_round_numbers(study)), study.delta).epsilon_upper <= study.epsilon == 4.0
