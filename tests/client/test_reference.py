# SPDX-License-Identifier: Apache-2.0
"""The lookup of postcodes."""

import pytest

from skyglow_client.reference import load_postcodes
from skyglow_shared.errors import FormatError, GeographyError


def _lookup(tmp_path, *rows, header="pcds,lsoa21cd"):
    path = tmp_path / "postcodes.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return load_postcodes(path)


def test_postcodes_are_brought_to_one_form(tmp_path):
    table = _lookup(tmp_path, "zz12 3ab,E01000001", "ZZ123AC ,W01000002", "ZZ12  3AD,E01000001")
    assert table.rows() == [("ZZ123AB", "E01000001"), ("ZZ123AC", "W01000002"), ("ZZ123AD", "E01000001")]


def test_postcodes_without_an_area_and_repeated_rows_are_left_out(tmp_path):
    table = _lookup(tmp_path, "ZZ1 1AA,E01000001", "ZZ1 1AA,E01000001", "ZZ1 1AB,")
    assert table.rows() == [("ZZ11AA", "E01000001")]


@pytest.mark.parametrize(
    "code", ["E02000001", "E0100001", "E010000001", "X01000001", "e01000001", "E01 00001", "7.777"]
)
def test_a_code_that_is_not_an_lsoas_is_refused(tmp_path, code):
    with pytest.raises(GeographyError, match="E01 or W01") as caught:
        _lookup(tmp_path, "ZZ1 1AA,E01000001", f"ZZ1 1AB,{code}")
    assert code not in str(caught.value)


def test_a_postcode_with_two_areas_is_refused(tmp_path):
    with pytest.raises(GeographyError, match="two areas"):
        _lookup(tmp_path, "ZZ1 1AA,E01000001", "zz11aa,E01000002")


def test_other_columns_are_refused(tmp_path):
    with pytest.raises(FormatError, match="lacks the columns lsoa21cd"):
        _lookup(tmp_path, "ZZ1 1AA,E01000001", header="pcds,lsoa11cd")


def test_no_file_is_refused(tmp_path):
    with pytest.raises(FormatError, match="no such file"):
        load_postcodes(tmp_path / "postcodes.csv")
