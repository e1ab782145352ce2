# SPDX-License-Identifier: Apache-2.0
"""The report in a browser: its script runs, and nobody is shut out."""

import base64
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from skyglow_simulations.report import render

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = os.environ.get("AXE_CORE", "")  # axe.min.js of npm's axe-core, which does not ship with skyglow
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed, so scripts cannot be run")


def dumped(address, folder):
    """What the browser makes of a page once its scripts have run."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--dump-dom"]
    options += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={folder / 'user'}"]
    command = [CHROMIUM, *options, "--virtual-time-budget=20000", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout


AUDIT = """<script>addEventListener("load", () => setTimeout(async () => {
    const found = await axe.run(document)
    const plain = JSON.stringify(found.violations.map(one => [one.id, one.nodes.map(node => node.html)]))
    document.documentElement.innerHTML = "<pre>" + btoa(unescape(encodeURIComponent(plain))) + "</pre>"
}, 500))</script>"""


@needs_chromium
@pytest.mark.skipif(not AXE, reason="set AXE_CORE to axe-core's axe.min.js to look for barriers")
def test_axe_finds_no_barrier(html, tmp_path):
    script = f"<script>{Path(AXE).read_text(encoding='utf-8')}</script>{AUDIT}</body>"
    (tmp_path / "page.html").write_text(html.replace("</body>", script), encoding="utf-8")
    dom = dumped((tmp_path / "page.html").as_uri(), tmp_path)
    coded = re.search(r"<pre>([A-Za-z0-9+/=]+)</pre>", dom)
    assert coded, "axe ran to its end"
    assert json.loads(base64.b64decode(coded[1])) == []


@needs_chromium
@pytest.mark.parametrize(
    ("mode", "legend", "reading"),
    [
        ("", "%", "Town 000: 5.0%, 95% interval 1.0% to 9.0%"),
        ("#map=all_aged_66_plus,width,weekday,26", "points", "Town 000: 5.0%, 95% interval 1.0% to 9.0%"),
        ("#map=occupancy,estimate,weekend,24", "%", "Town 000: 55.0%, 95% interval 51.0% to 59.0%"),
    ],
)
def test_the_switch_works_in_a_browser(html, tmp_path, mode, legend, reading, town):
    file = tmp_path / "report.html"
    file.write_text(html)
    page = town.Page(dumped(f"{file.as_uri()}{mode}", tmp_path))
    assert page.all("html")[0].get("class") == "scripted", "the page's script ran to its end"
    assert reading in page.texts["title"]
    assert any(text.endswith(legend) for text in page.texts["li"])
    hours = next(attributes for attributes in page.all("fieldset") if attributes.get("id") == "hours")
    assert ("hidden" in hours) is not mode.startswith("#map=occupancy")
    areas = [one.get("tabindex") for one in page.all("path") if one.get("class") == "area"]
    assert areas == ["0", "-1", "-1", "-1", "-1", "0"], "one stop for each level's areas"


@needs_chromium
@pytest.mark.parametrize("level", ["MSOA", "LAD"])
def test_the_map_is_of_the_level_that_is_chosen(html, tmp_path, level, town):
    file = tmp_path / "report.html"
    file.write_text(html)
    page = town.Page(dumped(f"{file.as_uri()}#map={town.topic},estimate,weekday,24,{level}", tmp_path))
    layers = [one for _, one in page.elements if "data-level" in one]
    hidden = {one["data-level"] for one in layers if "none" in (one.get("style") or "")}
    assert hidden == {"MSOA", "LAD"} - {level}
    label = next(one["aria-label"] for one in page.all("svg") if one.get("class") == "map")
    assert label.startswith({"MSOA": "Map of MSOAs by", "LAD": "Map of districts by"}[level])


@needs_chromium
def test_a_small_area_is_found_at_its_hour(tmp_path, town):
    file = tmp_path / "report.html"
    file.write_text(render(town.data(estimates=town.estimates(curves=("LSOA", "MSOA", "LAD")))))
    page = town.Page(dumped(f"{file.as_uri()}#when={town.code_of('LSOA', 7)},24", tmp_path))
    assert "Town 007, 607 households, at 12:00" in page.texts["p"]
    assert page.texts["strong"][-2:] == ["55.0% of homes have somebody in"] * 2
    said = ", 95% interval 51.0% to 59.0%; that is about 330 homes, 310 to 360"
    assert page.texts["p"].count(said) == 2
    assert [item["label"] for item in page.all("optgroup")] == [f"Town {n:03d}" for n in range(5)]
    names = [item["aria-label"] for item in page.all("svg") if item.get("class") == "chart day"]
    assert all("Town 007" in name for name in names)
    assert len([item for item in page.all("path") if item.get("class") == "cursor"]) == 2


@needs_chromium
@pytest.mark.parametrize("chosen", ["LAD", "MSOA"])
def test_an_area_is_drawn_though_the_one_shown_first_is_withheld(tmp_path, town, chosen):
    hidden = [
        replace(one, estimate=None, lower=None, upper=None, status="suppressed") if one.level == "LAD" else one
        for one in town.estimates()
    ]
    file = tmp_path / "report.html"
    file.write_text(render(town.data(estimates=hidden)))
    page = town.Page(dumped(f"{file.as_uri()}#when={town.code_of(chosen, 1)},24", tmp_path))
    paths = {
        kind: [one["d"] for one in page.all("path") if one.get("class") == kind] for kind in ("cursor", "estimate")
    }
    assert len(paths["cursor"]) == 2
    assert not any("NaN" in d for drawn in paths.values() for d in drawn)
    days = [one for one in page.all("svg") if one.get("class") == "chart day"]
    assert len(days) == 2
    shown = [one.get("display") for one in page.all("text") if one.get("class") == "none" and one.get("display")]
    assert shown == ["none" if chosen == "MSOA" else "inline"] * 2
