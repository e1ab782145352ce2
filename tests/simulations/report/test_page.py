# SPDX-License-Identifier: Apache-2.0
"""The report's page is well formed, for everybody, and asks nothing of the network."""

import re
from itertools import pairwise

from skyglow_simulations.report import render


def test_it_is_one_well_formed_page_of_moderate_size(html, town):
    page = town.Page(html)
    assert html.startswith("<!doctype html>") and page.all("html")[0]["lang"] == "en-GB"
    assert len(page.all("main")) == len(page.all("h1")) == 1
    assert len(html.encode()) < 1_000_000


def test_it_loads_nothing_from_anywhere(html, town):
    for name, attributes in town.Page(html).elements:
        assert name not in {"link", "iframe", "object", "embed", "base"}
        for key in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
            assert (attributes.get(key) or "#").startswith("#"), f"{name} {key}"
    assert "@import" not in html
    assert set(re.findall(r"url\(([^)]*)\)", html)) <= {"#hatch"}
    assert not re.findall(r"\b(?:fetch|XMLHttpRequest|WebSocket|sendBeacon|import)\s*\(", html)


def test_ids_are_unique_and_what_is_referred_to_exists(html, town):
    page = town.Page(html)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        assert (attributes.get("href") or "#main")[1:] in ids
        for key in ("for", "aria-labelledby", "aria-describedby"):
            assert set((attributes.get(key) or "").split()) <= set(ids)


def test_headings_are_in_order_and_every_column_has_a_heading(html, town):
    page = town.Page(html)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all("scope" in attributes for attributes in page.all("th"))
    assert len(page.all("table")) == len(page.all("caption"))


def test_every_drawing_has_a_name(html, town):
    for attributes in town.Page(html).all("svg"):
        if attributes.get("aria-hidden") == "true":
            continue
        assert attributes["role"] in {"img", "group"}
        assert attributes["aria-label"] and "None" not in attributes["aria-label"]


def test_hostile_names_stay_names(town):
    html = render(town.renamed(town.hostile))
    page = town.Page(html)
    assert len(page.all("script")) == 2
    assert not page.all("b")
    assert page.texts["title"][0].startswith(town.hostile_title)
    assert any(text.startswith(town.hostile) for text in page.texts["title"][1:]), "the map's titles hold the name"
    assert set(page.payload()["names"].values()) == {town.hostile}
    assert "<script>alert" not in html
