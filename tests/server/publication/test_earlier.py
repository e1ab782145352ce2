# SPDX-License-Identifier: Apache-2.0
"""A release's folder says what it let out."""

import pytest

from skyglow_server.publication.earlier import read_footprints
from skyglow_shared.errors import FormatError, StudyError


def test_what_was_let_out_is_read_back(published, release):
    found = {footprint.topic: footprint for footprint in read_footprints(published)}
    assert set(found) == {"all_aged_66_plus", "occupancy"}
    shares = {cell.code: cell for cell in found["all_aged_66_plus"].cells}
    assert {code for code, cell in shares.items() if not cell.published} == {"E01010002", "E02000001"}
    assert shares["E06000001"].atoms == set(release.study.lsoas)
    assert (shares["E01010002"].parent, shares["E02000001"].parent) == ("E02000001", "E06000001")
    assert {cell.level for cell in found["occupancy"].cells} == {"MSOA", "LAD"}
    assert all(cell.published for cell in found["occupancy"].cells)


@pytest.mark.parametrize("name", ["study.json", "estimates-occupancy.csv"])
def test_another_folder_is_refused(published, name):
    (published / name).write_bytes(b"\xff")
    with pytest.raises((FormatError, StudyError), match=r"release|study"):
        read_footprints(published)
    (published / "study.json").unlink()
    with pytest.raises(FormatError, match="release"):
        read_footprints(published)
