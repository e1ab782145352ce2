# SPDX-License-Identifier: Apache-2.0
"""Which LSOA and MSOA codes of England and Wales there are in 2021's geography, by the list that ships with skyglow.

Source: Office for National Statistics, Open Geography Portal, under the Open Government Licence v3.0;
`tools/make_area_codes.py` makes the list. Districts are not in it: their codes change from year to year.
"""

import zlib
from collections.abc import Iterable
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.errors import GeographyError
from skyglow_shared.study import Area

#: What codes begin with, in the order in which the list has them: LSOAs, then MSOAs.
PREFIXES = ("E01", "W01", "E02", "W02")
#: The list holds so many bits a prefix: bit n is set if there is a code of the number n.
BITS = 1 << 16
FILE = "codes_2021.zlib"


def check(areas: Iterable[Area]) -> None:
    """GeographyError unless every LSOA and MSOA is one of 2021."""
    unknown = sorted({code for area in areas for code in (area.lsoa, area.msoa) if not is_known(code)})
    if unknown:
        raise GeographyError(
            f"{unknown[0]} ({len(unknown)} in all) is no LSOA or MSOA of 2021; all areas of a study must be of that one"
            " vintage: correct the table of areas, or translate codes of 2011 with the ONS's lookup of LSOAs (2011) to"
            " LSOAs (2021)"
        )


def is_known(code: str) -> bool:
    """Whether a nine-character code is that of an LSOA or MSOA of 2021."""
    number = int(code[3:])
    return code[:3] in PREFIXES and number < BITS and bool(_bits()[PREFIXES.index(code[:3]), number])


def counts() -> dict[str, int]:
    """How many codes there are, by prefix."""
    return dict(zip(PREFIXES, _bits().sum(axis=1, dtype=int).tolist(), strict=True))


@cache
def _bits() -> NDArray[np.uint8]:
    """1 where there is a code, by prefix and number, shape (prefixes, BITS)."""
    packed = zlib.decompress((resources.files("skyglow_server") / FILE).read_bytes())
    return np.unpackbits(np.frombuffer(packed, np.uint8)).reshape(len(PREFIXES), BITS)
