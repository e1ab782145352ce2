# SPDX-License-Identifier: Apache-2.0
"""Make a district's small extract from the full census tables, the area lookup and the MSOA boundaries.

    python tools/make_extract.py --census DIR --geography DIR --district E06000045 --out DIR

Sources: Office for National Statistics, Census 2021 tables TS003, TS017, TS059, TS065; Open Geography Portal, LSOA
(2021) to MSOA (2021) to LAD (2022) lookup and MSOA (December 2021) boundaries EW BSC. Open Government Licence v3.0.
"""

import argparse
import csv
import gzip
import json
import sys
from pathlib import Path

import shapefile

from skyglow_simulations.population.census import TABLES

_ATTRIBUTION = """Contains National Statistics data © Crown copyright and database right 2021–2022.
Contains OS data © Crown copyright and database right 2022.
Licensed under the Open Government Licence v3.0.
https://www.nationalarchives.gov.uk/doc/open-government-licence/version/3/

Census 2021: TS003 household composition, TS017 household size, TS059 hours worked, TS065 unemployment history.
Open Geography Portal: LSOA (2021) to MSOA (2021) to LAD (2022); MSOA (December 2021) boundaries EW BSC.
Made by tools/make_extract.py.
"""


def main() -> int:
    """Write the extract; return an exit code."""
    parser = argparse.ArgumentParser(description="Make a district's extract from the full tables.")
    for option in ("census", "geography", "out"):
        parser.add_argument(f"--{option}", type=Path, required=True)
    parser.add_argument("--district", required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    lookup = "lsoa21-msoa21-lad22"
    header, rows = _table(options.geography / f"{lookup}.csv.gz")
    rows = [row for row in rows if row[header.index("LAD22CD")] == options.district]
    if not rows:
        sys.stderr.write("no area of the lookup lies in that district\n")
        return 12
    _write(options.out / f"{lookup}.csv", header, rows)
    lsoas = {row[header.index("LSOA21CD")] for row in rows}
    msoas = {row[header.index("MSOA21CD")] for row in rows}
    for name in TABLES:
        header, rows = _table(options.census / f"{name}-lsoa.csv.gz")
        _write(options.out / f"{name}-lsoa.csv", header, [row for row in rows if row[2] in lsoas])
    (options.out / "msoa.geojson").write_text(_boundaries(options.geography, msoas), encoding="utf-8")
    (options.out / "ATTRIBUTION.txt").write_text(_ATTRIBUTION, encoding="utf-8")
    return 0


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file)
    return [" ".join(name.split()).replace(" ,", ",") for name in header], rows


def _write(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _boundaries(folder: Path, msoas: set[str]) -> str:
    features = []
    with shapefile.Reader(str(folder / "MSOA_2021_EW_BSC.shp")) as reader:
        for record in reader.iterShapeRecords():
            fields = {name.upper(): value for name, value in record.record.as_dict().items()}
            if fields["MSOA21CD"] not in msoas:
                continue
            geometry = record.shape.__geo_interface__
            features.append(
                {
                    "type": "Feature",
                    "properties": {"msoa21cd": fields["MSOA21CD"], "msoa21nm": fields["MSOA21NM"]},
                    "geometry": {"type": geometry["type"], "coordinates": _whole(geometry["coordinates"])},
                }
            )
    features.sort(key=lambda feature: str(feature["properties"]))
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::27700"}}
    collection = {"type": "FeatureCollection", "crs": crs, "features": features}
    return json.dumps(collection, separators=(",", ":"))


def _whole(coordinates):  # noqa: ANN001, ANN202 - nested as deep as the geometry is
    if isinstance(coordinates[0], (int, float)):
        return [round(number) for number in coordinates]
    return [_whole(part) for part in coordinates]


if __name__ == "__main__":
    sys.exit(main())
