# SPDX-License-Identifier: Apache-2.0
"""A release's folder says what it let out."""

from dataclasses import replace

import msgspec
import pytest

from skyglow_server.publication.earlier import footprints_for, read_footprints, read_release
from skyglow_shared.errors import FormatError, StudyError
from skyglow_shared.study import COMPOSITION_CLASSES


def test_what_was_let_out_is_read_back(published, release):
    found = {footprint.topic: footprint for footprint in read_footprints(published)}
    assert set(found) == {"all_aged_66_plus", "occupancy"}
    shares = {cell.code: cell for cell in found["all_aged_66_plus"].cells}
    assert {code for code, cell in shares.items() if not cell.published} == {"E01010002", "E02000001"}
    assert shares["E06000001"].atoms == set(release.study.lsoas)
    assert (shares["E01010002"].parent, shares["E02000001"].parent) == ("E02000001", "E06000001")
    assert {cell.level for cell in found["occupancy"].cells} == {"MSOA", "LAD"}
    assert all(cell.published for cell in found["occupancy"].cells)


@pytest.mark.parametrize(
    ("classes", "met"),
    [(COMPOSITION_CLASSES[1::-1], True), (COMPOSITION_CLASSES[2:], True), (COMPOSITION_CLASSES[:1], False)],
)
def test_topics_meet_by_the_homes_that_they_count_or_do_not(published, release, classes, met):
    own = msgspec.structs.replace(release.study.models[0], name="pensioners", positive_classes=classes)
    study = msgspec.structs.replace(release.study, models=(own,))
    found = {footprint.topic: footprint.cells for footprint in footprints_for(read_release(published), study)}
    assert set(found) == {"all_aged_66_plus", "occupancy", *(["pensioners"] if met else [])}
    assert not met or found["pensioners"] == found["all_aged_66_plus"]


@pytest.mark.parametrize(
    ("first", "second", "met"),
    [
        (("one_person_66_plus", "one_person_under_66"), ("household_size", ("1",)), True),
        (("one_person_66_plus", "one_person_under_66"), ("household_size", tuple("2345678")), True),
        (("one_person_66_plus",), ("household_size", ("1",)), False),
        (("one_person_66_plus", "one_person_under_66"), ("household_size", ("2",)), False),
        (("one_person_66_plus", "one_person_under_66"), ("paid_work", ("nobody",)), False),
    ],
)
def test_the_same_homes_by_another_question_meet(published, release, first, second, met):
    old = msgspec.structs.replace(release.study.models[0], positive_classes=first)
    new = msgspec.structs.replace(old, name="alone", question=second[0], positive_classes=second[1])
    earlier = replace(read_release(published), study=msgspec.structs.replace(release.study, models=(old,)))
    study = msgspec.structs.replace(release.study, models=(new,))
    found = {footprint.topic: footprint.cells for footprint in footprints_for(earlier, study)}
    assert ("alone" in found) is met
    assert not met or found["alone"] == found["all_aged_66_plus"]


def test_a_topic_meets_those_that_it_is_the_sum_of_in_several_releases(published, release):
    one, other = COMPOSITION_CLASSES[:2]
    asked = [
        msgspec.structs.replace(release.study.models[0], positive_classes=classes)
        for classes in ((one,), (other,), (one, other))
    ]
    first, second = (
        replace(read_release(published), study=msgspec.structs.replace(release.study, models=(model,)))
        for model in asked[:2]
    )
    study = msgspec.structs.replace(release.study, models=(msgspec.structs.replace(asked[2], name="both"),))
    assert "both" not in {footprint.topic for footprint in footprints_for(first, study)}
    assert "both" in {footprint.topic for footprint in footprints_for(first, study, [first, second])}


@pytest.mark.parametrize("name", ["study.json", "estimates-occupancy.csv"])
def test_another_folder_is_refused(published, name):
    (published / name).write_bytes(b"\xff")
    with pytest.raises((FormatError, StudyError), match=r"release|study"):
        read_footprints(published)
    (published / "study.json").unlink()
    with pytest.raises(FormatError, match="release"):
        read_footprints(published)
