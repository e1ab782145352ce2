# SPDX-License-Identifier: Apache-2.0
"""What ingestion found and repaired."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

#: What is counted, in the order of the report, with what each count means.
COUNTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "rows": "rows read",
        "rows_without_key": "rows without a meter or a date that can be read, ignored",
        "rows_of_unknown_meters": "rows of meters that meters.csv does not list, ignored",
        "rows_of_meters_left_out": "rows of meters left out for the reasons below, ignored",
        "rows_outside_period": "rows dated outside the period, ignored",
        "rows_repeated": "rows equal to an earlier one, dropped",
        "readings_repeated": "readings equal to an earlier one of the same half-hour, dropped",
        "readings_conflicting": "half-hours given with different readings, made missing",
        "stamps_moved": "readings stamped within five minutes of a half-hour, taken as that half-hour's",
        "stamps_between": "readings stamped further from every half-hour, ignored",
        "days_conflicting": "meter-days given with different readings, masked",
        "days_of_wrong_length": "meter-days with more half-hours than the day has, masked",
        "missing": "half-hours missing in the files",
        "infinite": "readings that are infinite, made missing",
        "other_unit": "readings of days that are in another unit, made missing",
        "negative": "readings below zero, made missing",
        "impossible": "readings above what a home's supply carries, made missing",
        "stuck": "readings of meters that repeat themselves, made missing",
        "interpolated": "half-hours filled by interpolation",
        "typical": "half-hours filled from the home's typical day",
        "days_masked": "home-days with some readings, masked",
        "meters": "meters listed in meters.csv",
        "meters_repeated": "rows of meters.csv that repeat another, dropped",
        "meters_conflicting": "meters listed with different postcodes, left out",
        "meters_without_id": "rows of meters.csv without a meter, dropped",
        "homes_without_area": "homes whose postcode the lookup does not have, left out",
        "homes_with_few_days": "homes with too few valid days, left out",
        "homes": "homes in the store",
    }
)


@dataclass(frozen=True, slots=True)
class IngestReport:
    """Counts of what ingestion read, repaired, quarantined and stored.

    Attributes
    ----------
    counts : mapping of str to int
        Every key of `COUNTS`.

    Privacy
    -------
    These are exact counts of homes and readings, for the supplier's own eyes. They never leave the supplier: nothing
    that is sent may be derived from them.
    """

    counts: Mapping[str, int]

    def lines(self) -> list[str]:
        """Return the report for a terminal, one line a count."""
        width = max(len(f"{count:,}") for count in self.counts.values())
        return [f"{self.counts[name]:>{width},}  {meaning}" for name, meaning in COUNTS.items()]
