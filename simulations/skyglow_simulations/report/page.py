# SPDX-License-Identifier: Apache-2.0
"""The report's page: everything it says and shows, put into the template."""

import json
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from skyglow_server.publication.templating import environment
from skyglow_server.publication.words import shorthand
from skyglow_shared.layout import trains
from skyglow_shared.study import digest
from skyglow_simulations.report import checked, costs, use, when, where, wording
from skyglow_simulations.report.data import ReportData


def render(data: ReportData) -> str:
    """Render the report.

    Parameters
    ----------
    data : ReportData

    Returns
    -------
    str
        A whole HTML document that loads nothing from anywhere.
    """
    topics = [model.name for model in data.study.answer_models]
    shown = [topic for topic in topics if data.pick(topic, "LAD")] or topics[:1] or [""]
    groups, sources = costs.sources(data, shown)
    return (
        environment("skyglow_simulations.report", _FILTERS)
        .get_template("report.html")
        .render(
            data=data,
            study=data.study,
            summary=data.summary,
            digest=digest(data.study),
            trains=trains(data.study),
            levels=data.levels,
            words=wording,
            where=where.section(data, shown),
            when=when.section(data),
            use=use.section(data),
            scatters=[(wording.topic(topic), found) for topic in shown if (found := checked.scatters(data, topic))],
            accuracy=checked.accuracy(data),
            panels=[(wording.topic(topic), beside) for topic in shown if (beside := checked.panels(data, topic))],
            source_groups=groups,
            sources=sources,
            price=costs.price(groups, sources),
            models=costs.models(data),
            running_total=costs.running_total(data.study),
            leaving=costs.leaving(data),
            certainty=costs.certainty,
            payload=_json(where.payload(data, topics)),
        )
    )


_FILTERS: dict[str, Callable[..., str]] = {
    "percent": wording.percent,
    "points": wording.points,
    "shorthand": shorthand,
    "signed": wording.signed,
}


def _json(plain: dict[str, Any]) -> Markup:
    """JSON that cannot end its script element."""
    return Markup(json.dumps(plain, separators=(",", ":")).replace("<", "\\u003c"))  # noqa: S704 - escaped just here
