# SPDX-License-Identifier: Apache-2.0
"""Make the list of all LSOA and MSOA codes of 2021 that the office holds areas against.

    python tools/make_area_codes.py --lookup lsoa21-msoa21-lad22.csv.gz --out server/skyglow_server/codes_2021.zlib

Source: Office for National Statistics, Open Geography Portal, the lookup of LSOA (2021) to MSOA (2021) to LAD (2022),
under the Open Government Licence v3.0.
"""

import argparse
import csv
import gzip
import sys
import zlib
from pathlib import Path

import numpy as np

from skyglow_server.vintage import BITS, PREFIXES


def main() -> int:
    """Write the list; return an exit code."""
    parser = argparse.ArgumentParser(description="Make the list of area codes of 2021.")
    parser.add_argument("--lookup", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    bits = np.zeros((len(PREFIXES), BITS), dtype=np.uint8)
    with gzip.open(options.lookup, "rt", encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            for code in (row["LSOA21CD"], row["MSOA21CD"]):
                bits[PREFIXES.index(code[:3]), int(code[3:])] = 1
    options.out.write_bytes(zlib.compress(np.packbits(bits).tobytes(), 9))
    return 0


if __name__ == "__main__":
    sys.exit(main())
