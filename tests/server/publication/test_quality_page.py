# SPDX-License-Identifier: Apache-2.0
"""The quality page says what it must, and nothing of a study can break it."""

from dataclasses import replace
from html.parser import HTMLParser

import msgspec

from skyglow_server.estimation.results import Estimate
from skyglow_server.publication import quality_page, words


def test_it_says_what_an_interval_contains_and_what_is_withheld(release):
    text = quality_page.page(release).decode()
    assert "Simulated figures" in text
    assert "too few metered homes, by the noised count" in text
    assert '<td>privacy noise of areas</td><td class="n">25.0</td>' in text
    assert "Office of Towns &amp; Cities, towns@office.example" in text
    assert "epsilon at most 4.0" in text


def test_it_says_what_the_panel_had_a_part_in(release):
    """Half of it trains, or none; and what those who train answer may be counted."""
    study = release.study
    one = msgspec.structs.replace(study.blocks[0], name="s", source="area_score")
    gradient = msgspec.structs.replace(one, name="g", source="gradient")
    labels = msgspec.structs.replace(one, name="l", source="area_label", counts_trainers=True)
    for blocks, trained, answering in (((one,), False, False), ((one, gradient), True, False),
                                       ((one, gradient, labels), True, True)):  # fmt: skip
        phase = msgspec.structs.replace(study.phases[0], blocks=blocks)
        asked = replace(release, study=msgspec.structs.replace(study, phases=(phase,)))
        text = " ".join(quality_page.page(asked).decode().split())
        assert ("those that took no part in training" in text) == trained
        assert ("What the others of the panel answered is counted too." in text) == answering


def test_a_designation_is_said_only_when_the_producer_sets_one(release):
    real = replace(release, simulated=False)
    assert "official statistics" not in quality_page.page(real).decode().lower()
    set_ = replace(real, designation="official statistics in development")
    assert "Official statistics in development." in quality_page.page(set_).decode()


def test_a_title_cannot_become_markup(release):
    study = msgspec.structs.replace(release.study, title="<script>alert(1)</script>")
    text = quality_page.page(replace(release, study=study)).decode()
    assert "<script" not in text


def test_headings_go_down_by_one_and_tables_have_heads(release):
    tags = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append((tag, dict(attrs)))

    Reader().feed(quality_page.page(release).decode())
    levels = [int(tag[1]) for tag, _ in tags if tag in ("h1", "h2", "h3")]
    assert levels[0] == 1
    assert all(level == 2 for level in levels[1:])
    assert all("scope" in attributes for tag, attributes in tags if tag == "th")
    assert sum(tag == "table" for tag, _ in tags) == sum(tag == "caption" for tag, _ in tags)
    assert not [tag for tag, attributes in tags if "src" in attributes or "href" in attributes], "loads nothing"


def test_quality_words_follow_the_coefficient_of_variation():
    def figure(value, deviation):
        return Estimate("E06000001", "Town", "LAD", "t", "all", value, deviation=deviation)

    bands = {0.05: "precise", 0.051: "reasonably precise", 0.1: "reasonably precise", 0.2: "acceptable"}
    for ratio, label in {**bands, 0.201: "use with caution"}.items():
        assert words.quality(figure(0.5, 0.5 * ratio)) == label
    assert words.quality(figure(0.0, 0.01)) == "use with caution"
    assert words.quality(figure(None, None)) == ""
    assert words.quality(figure(0.5, None)) == ""
