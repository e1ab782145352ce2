# SPDX-License-Identifier: Apache-2.0
"""From a statistician's template to the study that is signed: add areas, keys, roster, and the digests of constants."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from skyglow_shared.errors import FormatError, StudyError
from skyglow_shared.models import features, presence, temporal
from skyglow_shared.soundness import check
from skyglow_shared.study import Area, Block, Study, Supplier


def draft(
    template: Path, *, areas: Sequence[Area], office_key: str, suppliers: Sequence[Supplier], scale: float = 1.0
) -> Study:
    """Complete a study's template.

    Parameters
    ----------
    template : Path
        The statistician's TOML: every field of `Study` but areas, keys, roster and digests.
    areas : sequence of Area
        Sorted by LSOA code.
    office_key : str
    suppliers : sequence of Supplier
    scale : float
        For trials on part of the homes: multiplies the phases' public `expected_homes`, and caps on counts.

    Raises
    ------
    FormatError
        The template is missing or is not TOML.
    StudyError
        It is not a sound study; every problem is listed.
    """
    plain = _pinned(_read(template))
    try:
        study = msgspec.convert(
            {
                **plain,
                "areas": [msgspec.to_builtins(area) for area in areas],
                "office_key": office_key,
                "suppliers": [msgspec.to_builtins(supplier) for supplier in suppliers],
            },
            type=Study,
        )
    except msgspec.ValidationError as error:
        raise StudyError(f"{template.name} is not a study: {error}; see docs/reference/study.md") from None
    study = msgspec.structs.replace(
        study,
        phases=tuple(
            msgspec.structs.replace(
                phase,
                expected_homes=max(1, round(phase.expected_homes * scale)),
                blocks=tuple(_scaled(block, scale) for block in phase.blocks),
            )
            for phase in study.phases
        ),
    )
    check(study)
    return study


def _scaled(block: Block, scale: float) -> Block:
    return msgspec.structs.replace(block, cap=max(1, round(block.cap * scale))) if block.cap else block


def _read(template: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(template.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"{template.name} cannot be read ({type(error).__name__}); give the path of a study's TOML file"
        raise FormatError(message) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{template.name} is not a TOML file: {error}; correct it and try again") from None


def _pinned(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Add the digests of the constants that the template names; whatever is not shaped like a study is left alone."""
    pinned = dict(plain)
    if isinstance(plain.get("models"), list):
        pinned["models"] = [
            {**model, "features_digest": features.contract(str(model.get("features"))).digest, **_start(model)}
            if isinstance(model, dict)
            else model
            for model in plain["models"]
        ]
    if isinstance(plain.get("occupancy"), dict):
        occupancy = plain["occupancy"]
        digests = {"basis_digest": presence.load(str(occupancy.get("basis"))).digest}
        models = plain.get("models")
        own = [one.get("name") for one in models if isinstance(one, dict)] if isinstance(models, list) else []
        if occupancy.get("model") and occupancy["model"] not in own:
            digests["model_digest"] = temporal.load(str(occupancy["model"])).digest
        pinned["occupancy"] = {**occupancy, **digests}
    return pinned


def _start(model: Mapping[str, Any]) -> dict[str, str]:
    """The digest of the installed model that a model's training begins from, if one is named."""
    name = str(model.get("start_model", ""))
    return {"start_digest": temporal.load(name).digest} if name else {}
