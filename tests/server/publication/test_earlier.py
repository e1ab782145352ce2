# SPDX-License-Identifier: Apache-2.0
"""A release's folder says what it let out."""

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


@pytest.mark.parametrize("name", ["study.json", "estimates-occupancy.csv"])
def test_another_folder_is_refused(published, name):
    (published / name).write_bytes(b"\xff")
    with pytest.raises((FormatError, StudyError), match=r"release|study"):
        read_footprints(published)
    (published / "study.json").unlink()
    with pytest.raises(FormatError, match="release"):
        read_footprints(published)
