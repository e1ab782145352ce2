# SPDX-License-Identifier: Apache-2.0
"""The spreadsheet, read as the file it is: what the guidance on accessible spreadsheets asks for."""

import re
import zipfile
from dataclasses import replace
from xml.etree import ElementTree

import msgspec
import pytest

from skyglow_server.publication import spreadsheet

SPACE = {"m": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}


def written(path, release):
    spreadsheet.write(path, release)
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


@pytest.fixture
def book(release, tmp_path):
    return written(tmp_path / "book.xlsx", release)


def tree(content):
    return ElementTree.fromstring(content)  # noqa: S314 - made by this test


def sheets(book):
    """Cells by sheet name: {place: text}."""
    strings = [
        "".join(text.text or "" for text in item.iter(f"{{{SPACE['m']}}}t"))
        for item in tree(book["xl/sharedStrings.xml"])
    ]
    names = [sheet.get("name") for sheet in tree(book["xl/workbook.xml"]).iterfind(".//m:sheet", SPACE)]
    found = {}
    for number, name in enumerate(names, start=1):
        cells = {}
        for cell in tree(book[f"xl/worksheets/sheet{number}.xml"]).iterfind(".//m:c", SPACE):
            value = cell.findtext("m:v", "", SPACE)
            cells[cell.get("r")] = strings[int(value)] if cell.get("t") == "s" else value
        found[name] = cells
    return found


def test_cover_contents_and_notes_come_first(book):
    found = sheets(book)
    assert list(found)[:3] == ["Cover", "Contents", "Notes"]
    assert found["Cover"]["A1"] == "Who is home in three areas"
    assert any("Simulated figures" in text for text in found["Cover"].values())
    assert any("towns@office.example" in text for text in found["Cover"].values())
    assert len(found) == 3 + 3 + 2 * 2


def test_every_sheet_has_its_title_first_and_one_marked_up_table(book):
    found = sheets(book)
    tables = [name for name in book if re.fullmatch(r"xl/tables/table\d+\.xml", name)]
    assert len(tables) == len(found) - 1, "one a sheet, none on the cover"
    for name in [name for name in found if name.startswith("Table")]:
        assert found[name]["A1"].startswith(f"{name}: ")
    heads = [[column.get("name") for column in tree(book[name]).iterfind(".//m:tableColumn", SPACE)] for name in tables]
    assert all(all(head) and len(set(head)) == len(head) for head in heads)


def test_nothing_is_merged_hidden_or_empty(book):
    for name in (name for name in book if name.startswith("xl/worksheets/sheet")):
        root = tree(book[name])
        assert root.find(".//m:mergeCell", SPACE) is None
        assert not root.findall(".//m:row[@hidden]", SPACE)
    for name in (name for name in book if re.fullmatch(r"xl/tables/table\d+\.xml", name)):
        first, last = tree(book[name]).get("ref").split(":")
        number = next(
            key for key in book if key.startswith("xl/worksheets/_rels/") and name.split("/")[-1].encode() in book[key]
        )
        cells = tree(book[f"xl/worksheets/{number.split('/')[-1].removesuffix('.rels')}"])
        rows = range(int(re.sub(r"\D", "", first)), int(re.sub(r"\D", "", last)) + 1)
        width = len(tree(book[name]).findall(".//m:tableColumn", SPACE))
        by_row = {int(row.get("r")): row for row in cells.iterfind(".//m:row", SPACE)}
        for row in rows:
            filled = [cell for cell in by_row[row].iterfind("m:c", SPACE) if cell.findtext("m:v", "", SPACE) != ""]
            assert len(filled) == width, f"{name} row {row}"


def test_withheld_and_unreliable_figures_carry_shorthand_that_is_explained(book):
    found = sheets(book)
    table = next(cells for cells in found.values() if "E01010002" in cells.values())
    row = next(place[1:] for place, text in table.items() if text == "E01010002")
    assert [table[f"{column}{row}"] for column in "CDEF"] == ["[c]"] * 4
    row = next(place[1:] for place, text in table.items() if text == "E01010001")
    assert (table[f"C{row}"], table[f"F{row}"]) == ("0", "use with caution [u]")
    said = " ".join(table.values())
    assert "[c] confidential" in said
    assert "[u] low reliability" in said
    assert "[x]" not in said, "shorthand that is not used is not explained"


def test_a_day_is_a_row_of_half_hours(book):
    found = sheets(book)
    day = next(cells for cells in found.values() if "weekdays" in cells["A1"] and "MSOA" in cells["A1"])
    head = next(place[1:] for place, text in day.items() if text == "Area code")
    row = [text for place, text in day.items() if re.sub(r"\D", "", place) == head]
    assert row[2:] == [f"{slot // 2:02d}:{slot % 2 * 30:02d}" for slot in range(48)]


def test_no_text_becomes_a_formula(release, tmp_path):
    """A spreadsheet would reckon with it, and show something else than what was written."""
    study = msgspec.structs.replace(release.study, title="=1+1", public_good="=2+2")
    named = [replace(item, area_name='=HYPERLINK("x")') for item in release.estimates]
    made = replace(release, study=study, estimates=tuple(named), producer="=3+3", contact="=4+4")
    book = written(tmp_path / "book.xlsx", made)
    assert not [name for name, content in book.items() if "worksheets/sheet" in name and b"<f>" in content]
    found = sheets(book)
    assert found["Cover"]["A1"] == "=1+1"
    assert '=HYPERLINK("x")' in found["Table 1"].values()
