# SPDX-License-Identifier: Apache-2.0
"""A report on a small town, and a reader of its page."""

import dataclasses
import datetime
import json
import math
from html.parser import HTMLParser

import msgspec
import pytest

from skyglow_server.estimation import Estimate
from skyglow_shared.study import COMPOSITION_CLASSES, Area, Block, Model, Occupancy, Period, Phase, Study, Supplier
from skyglow_simulations.report import ReportData, Sent, render
from skyglow_simulations.report.summary import topic_figures

TOPIC = "all_aged_66_plus"
DISTRICT = "E06000045"
HOSTILE = "</script><script>alert('area')</script> & \"Sons\" <b>"
HOSTILE_TITLE = "</title><script>alert('title')</script>"
VOID = {"meta", "link", "br", "img", "input", "hr"}
LEVELS = (("LSOA", 20), ("MSOA", 5), ("LAD", 1))
METHODS = {"skyglow": "skyglow: meters and panel", "panel_alone": "panel alone, same model", "naive": "naive: count"}


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
        occupancy=Occupancy(basis="presence_basis_v2", basis_digest="0" * 64),
        phases=(Phase(name="release", expected_homes=15_000, blocks=blocks),),
        suppliers=tuple(Supplier(name=name, public_key="2" * 64) for name in ("north", "south")),
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def estimates(spread: float = 0.04, curves: tuple[str, ...] = ("MSOA", "LAD")) -> tuple[Estimate, ...]:
    found = []
    for level, count in LEVELS:
        for number in range(count):
            share = 0.05 + 0.3 * number / count
            wanted = [(TOPIC, "all", share)]
            if level in curves:
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
        households={code_of("LSOA", number): 600.0 + number for number in range(20)},
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


@dataclasses.dataclass(frozen=True)
class Town:
    """What tests use: the functions and names above."""

    data = staticmethod(data)
    study = staticmethod(study)
    estimates = staticmethod(estimates)
    renamed = staticmethod(renamed)
    suppressed = staticmethod(suppressed)
    code_of = staticmethod(code_of)
    Page = Page
    topic = TOPIC
    district = DISTRICT
    hostile = HOSTILE
    hostile_title = HOSTILE_TITLE
    methods = METHODS


@pytest.fixture(scope="session")
def town() -> Town:
    return Town()


@pytest.fixture(scope="session")
def html() -> str:
    return render(data())
