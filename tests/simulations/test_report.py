# SPDX-License-Identifier: Apache-2.0
"""The report says what it was given, to everybody, and asks nothing of the network."""

import dataclasses
import datetime
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import pairwise

import msgspec
import pytest

from skyglow_server.estimation import Estimate
from skyglow_shared.study import COMPOSITION_CLASSES, Area, Block, Model, Occupancy, Period, Phase, Study, Supplier
from skyglow_simulations.report import ReportData, Sent, render
from skyglow_simulations.report.scales import axis, classes
from skyglow_simulations.report.summary import topic_figures

TOPIC = "all_aged_66_plus"
DISTRICT = "E06000045"
HOSTILE = "</script><script>alert('area')</script> & \"Sons\" <b>"
HOSTILE_TITLE = "</title><script>alert('title')</script>"
VOID = {"meta", "link", "br", "img", "input", "hr"}
LEVELS = (("LSOA", 20), ("MSOA", 5), ("LAD", 1))
METHODS = {"skyglow": "skyglow: meters and panel", "panel_alone": "panel alone, same model", "naive": "naive: count"}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed, so scripts cannot be run")


def code_of(level: str, number: int) -> str:
    return {"LSOA": f"E010{number:05d}", "MSOA": f"E020{number:05d}", "LAD": DISTRICT}[level]


def groups() -> list[str]:
    return [f"{kind} {slot // 2:02d}:{slot % 2 * 30:02d}" for kind in ("weekday", "weekend") for slot in range(48)]


def study(**changes: object) -> Study:
    blocks = (Block(name="scores", source="area_score", model=TOPIC, l2_bound=1.5, noise_multiplier=3.0),)
    model = Model(
        name=TOPIC, features="f", features_digest="0" * 64, positive_classes=COMPOSITION_CLASSES[:2], learning_rate=1.0,
        score_centre=0.0, score_width=1.0,
    )  # fmt: skip
    plain = Study(
        name="town", title="Homes in a town", purpose="research", legal_gateway="Simulated data: no gateway needed",
        public_good="none", reference_date=datetime.date(2026, 3, 9), expires=datetime.date(2027, 1, 1),
        trust_mode="local", epsilon=4.0, delta=1e-6, period=Period(datetime.date(2026, 3, 9), 28),
        feature_week=datetime.date(2026, 3, 16), households=20_000, models=(model,), office_key="1" * 64,
        areas=tuple(Area(code_of("LSOA", n), code_of("MSOA", n % 5), DISTRICT) for n in range(20)),
        occupancy=Occupancy(basis="presence_basis_v1", basis_digest="0" * 64),
        phases=(Phase(name="release", expected_homes=15_000, blocks=blocks),),
        suppliers=tuple(Supplier(name=name, public_key="2" * 64) for name in ("north", "south")),
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def estimates(spread: float = 0.04) -> tuple[Estimate, ...]:
    found = []
    for level, count in LEVELS:
        for number in range(count):
            share = 0.05 + 0.3 * number / count
            wanted = [(TOPIC, "all", share)]
            if level != "LSOA":
                wanted += [
                    ("occupancy", g, 0.75 + 0.2 * math.cos(n / 48 * 2 * math.pi)) for n, g in enumerate(groups())
                ]
            for topic, group, value in wanted:
                named = (code_of(level, number), f"Town {number:03d}", level, topic, group)
                parts = {"privacy noise of areas": 1e-4, "panel sampling": 2e-4, "area model": 1e-4}
                found.append(Estimate(*named, value, value - spread, value + spread, parts=parts))
    return tuple(found)


def data(**changes: object) -> ReportData:
    shown = estimates()
    truth = {(e.area_code, e.topic, e.group): (e.estimate or 0) + 0.01 for e in shown}
    worse = [dataclasses.replace(e, estimate=e.estimate + 0.05) for e in shown if e.topic == TOPIC]
    cost = {"epsilon_lower": 3.8, "epsilon_upper": 3.81, "delta": 1e-6, "policy_epsilon": 4.0, "ledger_head": "ab" * 32}
    model = {"auc": 0.71, "mcc": 0.22, "auc_non_private": 0.74, "mcc_non_private": 0.27}
    presence = {"mcc": 0.6, "absence_recall": 0.59, "occupied_share": 0.82, "mcc_always_home": 0.0}
    summary = {
        "study": "town",
        "digest": "0" * 64,
        "simulated": True,
        "seed": 1,
        "scale": 1.0,
        "topics": topic_figures(shown, truth),
        "methods": {name: topic_figures(worse, truth) for name in METHODS if name != "skyglow"},
        "models": {TOPIC: {**model, "auc_majority": 0.5, "mcc_majority": 0.0}, "presence_rule": presence},
        "suppliers": {"north": cost, "south": cost},
        "rounds": 1,
        "seconds": {"rounds": 1.0},
        "peak_memory_mib": 100,
    }
    corners = [(0, 0), (0, 900), (900, 900), (900, 0), (0, 0)]
    features = [
        {
            "type": "Feature",
            "properties": {"msoa21cd": code_of("MSOA", n), "msoa21nm": f"Town {n:03d}"},
            "geometry": {"type": "Polygon", "coordinates": [[[1000 * n + x, y] for x, y in corners]]},
        }
        for n in range(5)
    ]
    plain = ReportData(
        study=study(),
        summary=summary,
        estimates=shown,
        truth=truth,
        methods=METHODS,
        boundaries={"type": "FeatureCollection", "features": features},
        public_curve=[0.8] * 96,
        sent=[Sent("release", 1, 568, {"scores": 2.4}, {"north": 4800, "south": 4800})],
        versions={"skyglow-shared": "0.1.0"},
    )
    return dataclasses.replace(plain, **changes)


def renamed(name: str) -> ReportData:
    plain = data()
    assert plain.boundaries is not None
    shown = [dataclasses.replace(e, area_name=name) for e in plain.estimates]
    features = [{**f, "properties": {**f["properties"], "msoa21nm": name}} for f in plain.boundaries["features"]]
    return data(estimates=shown, boundaries={"features": features}, study=study(title=HOSTILE_TITLE))


def suppressed(code: str) -> ReportData:
    def hide(item: Estimate) -> Estimate:
        if item.area_code != code:
            return item
        bare = Estimate(item.area_code, item.area_name, item.level, item.topic, item.group)
        return dataclasses.replace(bare, status="suppressed", reason="least_homes")

    return data(estimates=[hide(item) for item in data().estimates])


class Page(HTMLParser):
    """Every element with its attributes and text; checks that elements are closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(html)
        assert not self.open, "every element is closed"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def payload(self) -> dict:
        return json.loads(next(text for text in self.texts["script"] if text.lstrip().startswith("{")))


@pytest.fixture(scope="module")
def html() -> str:
    return render(data())


def test_it_is_one_well_formed_page_of_moderate_size(html):
    page = Page(html)
    assert html.startswith("<!doctype html>") and page.all("html")[0]["lang"] == "en-GB"
    assert len(page.all("main")) == len(page.all("h1")) == 1
    assert len(html.encode()) < 1_000_000


def test_it_loads_nothing_from_anywhere(html):
    for name, attributes in Page(html).elements:
        assert name not in {"link", "iframe", "object", "embed", "base"}
        for key in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
            assert (attributes.get(key) or "#").startswith("#"), f"{name} {key}"
    assert "@import" not in html
    assert set(re.findall(r"url\(([^)]*)\)", html)) <= {"#hatch"}
    assert not re.findall(r"\b(?:fetch|XMLHttpRequest|WebSocket|sendBeacon|import)\s*\(", html)


def test_ids_are_unique_and_what_is_referred_to_exists(html):
    page = Page(html)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        assert (attributes.get("href") or "#main")[1:] in ids
        for key in ("for", "aria-labelledby", "aria-describedby"):
            assert set((attributes.get(key) or "").split()) <= set(ids)


def test_headings_are_in_order_and_every_column_has_a_heading(html):
    page = Page(html)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all("scope" in attributes for attributes in page.all("th"))
    assert len(page.all("table")) == len(page.all("caption"))


def test_every_drawing_has_a_name(html):
    for attributes in Page(html).all("svg"):
        if attributes.get("aria-hidden") == "true":
            continue
        assert attributes["role"] in {"img", "group"}
        assert attributes["aria-label"] and "None" not in attributes["aria-label"]


def test_hostile_names_stay_names():
    html = render(renamed(HOSTILE))
    page = Page(html)
    assert len(page.all("script")) == 2
    assert not page.all("b")
    assert page.texts["title"][0].startswith(HOSTILE_TITLE)
    assert any(text.startswith(HOSTILE) for text in page.texts["title"][1:]), "the map's titles hold the name"
    assert set(page.payload()["names"].values()) == {HOSTILE}
    assert "<script>alert" not in html


def test_numbers_reach_the_page(html):
    assert "<strong>5.0%</strong> of homes in Town 000, everyone is aged 66 or over" in html
    assert "<strong>1.0% to 9.0%</strong>" in html
    assert "at 12:00: 55.0% (95% interval 51.0% to 59.0%)" in html, "the emptiest half-hour"
    for method in METHODS.values():
        assert method in html
    assert "0.710" in html and "0.740" in html and "0.500" in html
    assert "50%</td>" in html, "half of the variance is the panel's"
    assert "ab" * 32 in html, "the ledger's head"


def test_the_nearest_method_is_named_even_when_it_is_not_ours(html):
    assert "Ours came nearest: 1.0 points off" in html
    plain = data()
    summary = json.loads(json.dumps(plain.summary))
    summary["methods"]["panel_alone"][TOPIC]["LAD"]["rmse"] = 0.001
    assert "Ours did not come nearest: panel alone, same model was 0.1 points off, ours 1.0" in render(
        data(summary=summary)
    )
    summary["methods"]["panel_alone"][TOPIC]["LAD"]["rmse"] = summary["topics"][TOPIC]["LAD"]["rmse"] + 1e-6
    assert "Level: skyglow: meters and panel and panel alone, same model" in render(data(summary=summary))


def test_intervals_that_miss_are_said_to_miss(html):
    assert "20 of 20 intervals" in html and "too narrow" not in html
    shown = estimates(spread=0.001)
    assert "0 of 20 intervals" in render(data(estimates=shown)) and "too narrow" in render(data(estimates=shown))


def test_suppressed_areas_are_withheld_everywhere():
    html = render(suppressed(code_of("MSOA", 2)))
    page = Page(html)
    areas = {a["data-code"]: a["fill"] for a in page.all("path") if "data-code" in a}
    assert areas[code_of("MSOA", 2)] == "url(#hatch)" and areas[code_of("MSOA", 1)] != "url(#hatch)"
    hidden = page.payload()["topics"][TOPIC]["areas"][code_of("MSOA", 2)]
    assert hidden is None
    day = page.payload()["topics"]["occupancy"]["areas"][code_of("MSOA", 2)]
    assert day == {"weekday": [None] * 48, "weekend": [None] * 48}
    assert "Town 002: withheld, too few homes" in html and "1 of 5 MSOAs" in html
    assert page.texts["td"].count("[c]") == 3


def test_a_district_that_is_withheld_makes_no_claim():
    html = render(suppressed(DISTRICT))
    assert "of homes in Town 000" not in html and "The district’s estimate is withheld" in html
    assert not [a for a in Page(html).all("path") if a.get("class") == "mark" and a.get("data-mark") and a["d"]]


def test_without_truth_nothing_is_compared_with_it():
    plain = data()
    summary = {name: plain.summary[name] for name in ("study", "digest", "suppliers", "rounds", "seconds")}
    html = render(data(truth=None, summary=summary))
    for words in ("How near the truth", "came nearest", "imulated truth", "Simulated homes"):
        assert words not in html
    assert Page(html).payload()["topics"]["occupancy"]["truth"] == {}


def test_without_boundaries_the_table_stands_in():
    page = Page(render(data(boundaries=None)))
    assert not [a for a in page.all("svg") if a["class"] == "map"]
    assert "No boundaries" in " ".join(page.texts["p"])


def test_areas_clearly_apart_from_the_district_are_marked(html):
    marks = {a["data-mark"]: a["d"] for a in Page(html).all("path") if a.get("data-mark")}
    # the district is 5 %, intervals are ± 4 points, estimates are 5, 11, 17 … %
    assert marks[code_of("MSOA", 0)] == "" and all(marks[code_of("MSOA", n)].startswith("M0,-6") for n in range(1, 5))


def test_noise_is_told_in_homes(html):
    # one supplier's deviation 2.4 on a home's contribution of at most 1.5, where a home counts one half
    assert "1.6 times the most that one home can change; on a number of homes, 4.8" in html


def test_classes_are_round_and_hold_every_value():
    found = classes([0.047, 0.291])
    assert found.edges == (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
    assert len(set(found.colours)) == 6
    assert [found.colour(value) for value in (0.047, 0.05, 0.291)] == [found.colours[n] for n in (0, 1, 5)]
    assert [words for _, words in classes([0.5]).labels()] == ["50.0% to 50.1%"]
    assert axis([0.302], zero=True) == (0.0, 0.35, 0.05)


def test_a_study_of_shares_alone_has_no_curves():
    plain = data()
    html = render(data(estimates=[item for item in plain.estimates if item.topic == TOPIC]))
    assert "When homes are occupied" not in html
    assert set(Page(html).payload()["topics"]) == {TOPIC}


def test_a_study_that_withholds_everything_still_has_a_report():
    hidden = [
        dataclasses.replace(e, estimate=None, lower=None, upper=None, status="suppressed") for e in data().estimates
    ]
    html = render(data(estimates=hidden, boundaries={"type": "FeatureCollection", "features": []}))
    assert "5 of 5 MSOAs" in html and "made so that it contains" in html


@needs_chromium
@pytest.mark.parametrize(
    ("mode", "legend", "reading"),
    [
        ("", "%", "Town 000: 5.0%, 95% interval 1.0% to 9.0%"),
        (f"#map={TOPIC},width,weekday,26", "points", "Town 000: 5.0%, 95% interval 1.0% to 9.0%"),
        ("#map=occupancy,estimate,weekend,24", "%", "Town 000: 55.0%, 95% interval 51.0% to 59.0%"),
    ],
)
def test_the_switch_works_in_a_browser(html, tmp_path, mode, legend, reading):
    file = tmp_path / "report.html"
    file.write_text(html)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--dump-dom"]
    options += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'user'}"]
    done = subprocess.run(
        [CHROMIUM, *options, f"{file.as_uri()}{mode}"], capture_output=True, text=True, timeout=60, check=False
    )
    page = Page(done.stdout)
    assert page.all("html")[0].get("class") == "scripted", "the page's script ran to its end"
    assert reading in page.texts["title"]
    assert any(text.endswith(legend) for text in page.texts["li"])
    hours = next(attributes for attributes in page.all("fieldset") if attributes.get("id") == "hours")
    assert ("hidden" in hours) is not mode.startswith("#map=occupancy")
    assert [a.get("tabindex") for a in page.all("path") if a.get("class") == "area"] == ["0", "-1", "-1", "-1", "-1"]
