# SPDX-License-Identifier: Apache-2.0
"""What raw files of readings look like: a few formats by name, any other as a mapping in a TOML file.

Three layouts cover what suppliers and trials give: `wide`, a row a meter and local day; `long`, a row a reading with
its stamp; `coded`, a row a reading with a day and half-hour number. A mapping names the columns and says what stamps
and values mean; nothing is guessed from the data. What is no number where a reading should be counts as missing.
"""

import datetime
import tomllib
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal

import msgspec

from skyglow_shared.errors import FormatError

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class Format(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to read raw files.

    Attributes
    ----------
    layout : str
        ``wide``: columns ``hh01`` … ``hh50`` of half-hours in the order of the local day; ``long``; ``coded``.
    files : str
        Pattern of file names in the folder. ``.parquet`` files are Parquet, all others text.
    meter, time, value : str
        Names of the columns: the meter; the date, stamp or code; the reading (empty if `layout` is ``wide``).
    separator : str
        Between columns of text.
    names : tuple of str
        All columns in order, if the text has no header line; empty = it has one.
    pattern : str
        Of stamps as text, in the notation of ``strptime``. Stamps are UTC.
    marks : str
        Whether a stamp is the start or the end of its half-hour.
    unit : str
        ``kwh`` or ``wh`` in a half-hour.
    day_one : date or None
        The local day that code 101 … 150 means; only for ``coded``.
    """

    layout: Literal["wide", "long", "coded"]
    files: _Name
    meter: _Name
    time: _Name
    value: str = ""
    separator: Annotated[str, msgspec.Meta(min_length=1, max_length=1)] = ","
    names: tuple[_Name, ...] = ()
    pattern: str = "%Y-%m-%dT%H:%M:%SZ"
    marks: Literal["start", "end"] = "start"
    unit: Literal["kwh", "wh"] = "kwh"
    day_one: datetime.date | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a reading a row."""
        return (self.meter, self.time, self.value)


WIDE: Final = Format(layout="wide", files="readings-*.parquet", meter="meter_id", time="date")
_LONG: Final = Format(layout="long", files="readings-*.parquet", meter="meter_id", time="stamp", value="kwh")

#: What can be named. `cer` is like the Irish trial's files (half-hours numbered from one on every local day), `lcl`
#: like Low Carbon London's, `serl` like the Smart Energy Research Lab's (stamps end the half-hour, watt-hours).
FORMATS: Final = MappingProxyType(
    {
        "wide": WIDE,
        "wide-csv": msgspec.structs.replace(WIDE, files="readings-*.csv"),
        "long": _LONG,
        "long-csv": msgspec.structs.replace(_LONG, files="readings-*.csv"),
        "cer": Format(
            layout="coded",
            files="readings-*.txt",
            meter="meter",
            time="code",
            value="kwh",
            separator=" ",
            names=("meter", "code", "kwh"),
            day_one=datetime.date(2009, 1, 1),
        ),
        "lcl": Format(
            layout="long",
            files="readings-*.csv",
            meter="LCLid",
            time="DateTime",
            value="KWH/hh (per half hour)",
            pattern="%Y-%m-%d %H:%M:%S%.f",
        ),
        "serl": Format(
            layout="long",
            files="readings-*.csv",
            meter="PUPRN",
            time="Read_date_time_UTC",
            value="Elec_act_imp_hh_Wh",
            pattern="%Y-%m-%d %H:%M:%S",
            marks="end",
            unit="wh",
        ),
    }
)


def load_format(name: str) -> Format:
    """Find a format by its name, or read it from a TOML file.

    Raises
    ------
    FormatError
        There is no such format, or the file is not a mapping or contradicts itself.
    """
    if not name.endswith(".toml"):
        if name not in FORMATS:
            raise FormatError(f"--format is one of {', '.join(FORMATS)}, or a mapping that ends in .toml")
        return FORMATS[name]
    try:
        plain = tomllib.loads(Path(name).read_text(encoding="utf-8"))
        found = msgspec.convert(plain, Format)
    except msgspec.ValidationError as error:
        raise FormatError(f"the mapping of --format is wrong: {error}; see docs/how-to/read-your-files.md") from None
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"the mapping of --format cannot be read ({type(error).__name__}); correct it") from None
    if "/" in found.files or "\\" in found.files:
        raise FormatError("`files` of the mapping names files of the folder raw, without a path; correct it")
    if found.layout == "wide":
        if found.names or (found.meter, found.time, found.unit) != ("meter_id", "date", "kwh"):
            raise FormatError("a wide file has a header with meter_id, date and hh01 … hh50, in kWh; export it so")
    elif not found.value:
        raise FormatError("the mapping must name the column of readings in `value`")
    elif found.names and not set(found.columns) <= set(found.names):
        raise FormatError("`names` of the mapping must contain the columns meter, time and value; correct it")
    if found.layout == "coded" and found.day_one is None:
        raise FormatError("a coded format needs `day_one`, the local day that codes count from; add it")
    return found
