# SPDX-License-Identifier: Apache-2.0
"""Where a release comes from: an RO-Crate 1.1 (Soiland-Reyes et al. 2022) in one JSON-LD file."""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from skyglow_server.publication import tidy
from skyglow_server.publication.release import SELECTION, Release
from skyglow_shared.study import Study, digest

NAME = "ro-crate-metadata.json"
_CONTEXT = "https://w3id.org/ro/crate/1.1/context"
_PROFILE = "https://w3id.org/ro/crate/1.1"
_FORMATS: Mapping[str, str] = {
    "csv": "text/csv",
    "json": "application/json",
    "geojson": "application/geo+json",
    "gpkg": "application/geopackage+sqlite3",
    "html": "text/html",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}

Entity = dict[str, Any]
#: The public tables that an office may hold, by name.
INPUTS: Mapping[str, str] = {
    "areas.csv": "public table of areas with their old census",
    "market.csv": "public numbers of homes by area and supplier, that release rules look at",
    "totals.csv": "official totals that shares were made to agree with",
    SELECTION: "relative chances of having a smart meter and of answering by class of composition, as the survey"
    " organisation knows them: shares were put right by these",
    "vintages.csv": "what areas of two vintages have in common",
    "neighbours.csv": "which MSOAs lie side by side: their drifts may be alike",
    "boundaries.geojson": "boundaries of areas",
}
_SOFTWARE = ("skyglow-shared", "skyglow-server", "torch", "numpy", "dp-accounting")


def software() -> dict[str, str]:
    """Versions of what figures are made by, as installed here."""
    return {name: version(name) for name in _SOFTWARE}


def crate(release: Release, files: Mapping[str, bytes], about: Mapping[str, str]) -> bytes:
    """Describe a release's files, the study they answer, the software that made them and the ledgers that paid.

    Parameters
    ----------
    release : Release
    files : mapping of str to bytes
        Content by name.
    about : mapping of str to str
        What each file is, by name.
    """
    described = [_file(name, content, about.get(name, "")) for name, content in sorted(files.items())]
    software = [_software(name, version) for name, version in sorted(release.versions.items())]
    ledgers = [_ledger(name, release) for name in sorted(supplier.name for supplier in release.study.suppliers)]
    inputs = [_input(name, digest) for name, digest in sorted(release.inputs.items())]
    licence: Entity = {"@id": tidy.LICENCE, "@type": "CreativeWork", "name": "Open Government Licence v3.0"}
    producer: Entity = {"@id": "#producer", "@type": "Organization", "name": release.producer}
    graph = [
        {
            "@id": NAME,
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": {"@id": _PROFILE},
        },
        {
            "@id": "./",
            "@type": "Dataset",
            "name": release.study.title,
            "description": " ".join(filter(None, [release.banner, release.study.public_good])),
            "datePublished": release.made.isoformat(),
            "license": {"@id": tidy.LICENCE},
            "author": {"@id": "#producer"},
            "hasPart": _references(described),
            "mentions": [{"@id": "#run"}, {"@id": "#intervals"}],
        },
        _run(release, described, software, [*ledgers, *inputs]),
        _study(release),
        _intervals(release),
        *described,
        *software,
        *ledgers,
        *inputs,
        producer,
        licence,
    ]
    return json.dumps({"@context": _CONTEXT, "@graph": graph}, indent=1, ensure_ascii=False).encode() + b"\n"


def _references(entities: list[Entity]) -> list[Entity]:
    return [{"@id": entity["@id"]} for entity in entities]


def _file(name: str, content: bytes, description: str) -> Entity:
    return {
        "@id": name,
        "@type": "File",
        "name": name,
        "description": description,
        "encodingFormat": _FORMATS[name.rsplit(".", 1)[-1]],
        "contentSize": str(len(content)),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _software(name: str, version: str) -> Entity:
    return {"@id": f"#software-{name}", "@type": "SoftwareApplication", "name": name, "softwareVersion": version}


def _input(name: str, digest: str) -> Entity:
    """A public table that is not of the release's folder: named by its digest alone."""
    about = INPUTS[name]
    return {"@id": f"#input-{name}", "@type": "CreativeWork", "name": name, "description": about, "sha256": digest}


def _ledger(name: str, release: Release) -> Entity:
    """A supplier's ledger: its head and what it was charged, or in words why the office does not know."""
    head, charged = release.ledger_heads.get(name), release.charged.get(name)
    entity: Entity = {
        "@id": f"#ledger-{name}",
        "@type": "PropertyValue",
        "name": f"head of the ledger of supplier {name}",
    }
    if head is not None:
        entity["value"] = head
    return entity | {"description": f"{_known(name, release)}; {_paid(release.study, charged)}"}


def _known(name: str, release: Release) -> str:
    if name not in release.ledger_heads:
        return f"not known: {unknown_head(release.study)}"
    if name not in release.ledger_entries:
        return "read from the ledger at the end of the study"
    return (
        f"of {release.ledger_entries[name]:,} entries, as the supplier signed it when it last began an attempt at a "
        "round, whose charge is among them"
    )


def unknown_head(study: Study) -> str:
    """Why the office was not told where a supplier's ledger stands."""
    if study.aggregation is None:
        return "in trust mode local no reply says where a ledger stands; ask the supplier"
    return "the supplier took part in no attempt at a round; ask it"


def _paid(study: Study, charged: float | None) -> str:
    if charged is not None:
        return f"charged {charged:.4f} epsilon for this study"
    return (
        "what it was charged for this study stands in the ledger alone, which the office does not see: at most "
        f"{study.epsilon:g} epsilon, as the study was signed"
    )


def _run(release: Release, files: list[Entity], software: list[Entity], taken: list[Entity]) -> Entity:
    return {
        "@id": "#run",
        "@type": "CreateAction",
        "name": "simulated study" if release.simulated else "study",
        "endTime": release.made.isoformat(),
        "object": [{"@id": "#study"}, *_references(taken)],
        "instrument": _references(software),
        "result": _references(files),
        "agent": {"@id": "#producer"},
    }


def _study(release: Release) -> Entity:
    study = release.study
    return {
        "@id": "#study",
        "@type": "CreativeWork",
        "name": study.name,
        "identifier": digest(study),
        "description": f"{study.legal_gateway}; trust mode {study.trust_mode}; at most {study.epsilon:g} epsilon at"
        f" delta {study.delta:g} for every household",
        "temporalCoverage": f"{study.period.start.isoformat()}/{study.period.end.isoformat()}",
    }


def _intervals(release: Release) -> Entity:
    """What each topic's intervals contain, so that a figure's uncertainty can be told apart by its source."""
    found: dict[str, list[str]] = {}
    for topic, _, source, _ in tidy.sources(release):
        if source not in found.setdefault(topic, []):
            found[topic].append(source)
    return {
        "@id": "#intervals",
        "@type": "CreativeWork",
        "name": "what each interval contains",
        "description": "; ".join(f"{topic}: {', '.join(names)}" for topic, names in found.items()),
    }
