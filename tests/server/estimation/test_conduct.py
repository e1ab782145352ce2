# SPDX-License-Identifier: Apache-2.0
"""What the office writes of a study beside its estimates, and the public tables that it looks for."""

import json
import shutil
from contextlib import nullcontext
from dataclasses import dataclass

import msgspec
import numpy as np
import pytest

from skyglow_server import serve, settings
from skyglow_server.settings import Settings
from skyglow_shared.errors import DataError, FormatError, GeographyError
from skyglow_shared.models import features, presence
from skyglow_shared.signing import Identity
from skyglow_shared.study import Block, canonical_bytes

TOPIC, LAD = "all_aged_66_plus", "E06000045"


@dataclass
class Books:
    """Checkpoints that hold nothing: the rounds are over."""

    def alone(self, digest):
        return nullcontext()


@pytest.fixture
def office(simulator, tmp_path, monkeypatch):
    """An office whose study has run: (its folder, the study's place)."""
    rng = np.random.default_rng(3)
    areas, sums = simulator.drawn(rng, lsoas=12, msoas=3, panel=400)
    sums["use"] = simulator.noised(
        np.column_stack([sums["area_scores"].values[:, 0], *[np.full(12, 60.0)] * 6]), 1.0, rng
    )
    study = simulator.study_of(areas)
    kept = [
        msgspec.structs.replace(phase, blocks=tuple(block for block in phase.blocks if block.model))
        for phase in study.phases
    ]
    use = Block(name="use", source="area_use", l2_bound=1.224745, noise_multiplier=3.0)
    kept[-1] = msgspec.structs.replace(kept[-1], blocks=(*kept[-1].blocks, use))
    contract, basis = features.contract("class22-v1"), presence.load(study.occupancy.basis)
    model = msgspec.structs.replace(study.models[0], features=contract.name, features_digest=contract.digest)
    occupancy = msgspec.structs.replace(study.occupancy, basis_digest=basis.digest)
    delta = 1 / (10 * study.households)
    study = msgspec.structs.replace(study, phases=tuple(kept), models=(model,), occupancy=occupancy, delta=0.9 * delta)
    place = tmp_path / "studies" / study.name
    place.mkdir(parents=True)
    (place / "study.json").write_bytes(canonical_bytes(study))
    (place / "areas.csv").write_text(simulator.areas_csv(areas))
    Identity.generate().save(tmp_path / "identity.key")
    settings.save(tmp_path, Settings(address="office.test:1"))

    @dataclass
    class Finished:
        sums: dict

    monkeypatch.setattr(serve, "Coordinator", lambda *_: type("Ran", (), {"run": lambda self: Finished(sums)})())
    return tmp_path, place


def conduct(folder):
    return serve.conduct(folder, "town", None, Books(), lambda *_: None)


def test_electricity_use_is_written_beside_the_estimates(office):
    folder, place = office
    assert conduct(folder) == place / "estimates.csv"
    use = (place / "electricity-use.csv").read_text()
    assert "all day" in use
    assert "kWh a home and day" in use


def test_a_market_and_totals_in_the_studys_folder_are_heeded(office):
    folder, place = office
    lsoas = [f"E01{number:06d}" for number in range(12)]
    (place / "market.csv").write_text("lsoa21cd,supplier,homes\n" + "".join(f"{code},north,9\n" for code in lsoas))
    conduct(folder)
    assert "published" not in (place / "estimates.csv").read_text(), "one supplier has all homes"
    shutil.rmtree(place / "release")  # turned down
    (place / "market.csv").unlink()
    (place / "totals.csv").write_text(f"area_code,topic,homes,standard_error\n{LAD},{TOPIC},1e9,0\n")
    with pytest.raises(DataError, match="more than there are"):
        conduct(folder)
    (place / "totals.csv").write_text("nothing of the kind\n1\n")
    with pytest.raises(FormatError, match=r"totals\.csv"):
        conduct(folder)


def drawing(codes):
    """Boundaries as the ONS names their properties."""
    ring = [[441000, 112000], [441900, 112000], [441900, 112900], [441000, 112000]]
    one = {"type": "Polygon", "coordinates": [ring]}
    features = [{"type": "Feature", "properties": {"MSOA21CD": code}, "geometry": one} for code in codes]
    return json.dumps({"crs": {"properties": {"name": "EPSG:27700"}}, "features": features})


def test_boundaries_may_hold_other_places(office):
    folder, place = office
    (place / "boundaries.geojson").write_text(drawing(["E02999999", "E02000000", "E02000001", "E02000002"]))
    conduct(folder)
    drawn = json.loads((place / "release" / "estimates-msoa.geojson").read_bytes())["features"]
    assert [feature["id"] for feature in drawn] == ["E02000000", "E02000001", "E02000002"]


@pytest.mark.parametrize(
    ("file", "text", "error"),
    [
        ("boundaries.geojson", drawing(["E02000000", "E02000001"]), GeographyError),
        ("market.csv", "nothing of the kind\n1\n", FormatError),
        ("totals.csv", "nothing of the kind\n1\n", FormatError),
        ("totals.csv", "area_code,topic,homes,standard_error\nE02000000,nobody_asked,5,0\n", DataError),
        ("vintages.csv", "nothing of the kind\n1\n", FormatError),
        ("vintages.csv", "earlier,later,households\nE01999998,E01999999,600\n", GeographyError),
        ("neighbours.csv", "nothing of the kind\n1\n", FormatError),
        ("selection.csv", "nothing of the kind\n1\n", FormatError),
    ],
)
def test_what_no_release_could_be_made_with_stops_a_study_before_its_first_round(
    office, monkeypatch, file, text, error
):
    folder, place = office
    begun = []
    monkeypatch.setattr(serve, "Coordinator", lambda *_: begun.append("a round"))
    (place / file).write_text(text)
    with pytest.raises(error):
        conduct(folder)
    assert not begun


def test_a_study_that_has_its_release_asks_for_nothing_more(office):
    folder, place = office
    conduct(folder)
    (place / "market.csv").write_text("nothing of the kind\n1\n")
    assert conduct(folder) == place / "estimates.csv"
