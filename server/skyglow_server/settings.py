# SPDX-License-Identifier: Apache-2.0
"""``office.toml``: what the office's own person sets.

::

    address = "office.example.org:7443"       # where suppliers dial
    database = "postgresql:///skyglow"        # where replies are kept; without it, checkpoints.sqlite in the folder
    producer = "Office for Example Statistics"    # who is responsible for releases, and how to reach them
    contact = "statistics@office.example.org"
    designation = "official statistics in development"  # of releases; none unless the producer sets one
"""

import json
import tomllib
from pathlib import Path

import msgspec

from skyglow_shared import link
from skyglow_shared.errors import FormatError
from skyglow_shared.files import write_atomically

FILE = "office.toml"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Host and port that suppliers dial, the URL of the database, if replies are not kept in the folder, and releases.

    `producer`, `contact` and `designation` are what releases say of whoever makes them.
    """

    address: str
    database: str = ""
    producer: str = ""
    contact: str = ""
    designation: str = ""

    def __repr__(self) -> str:
        """The address alone: a URL may hold a password."""
        return f"Settings({self.address!r})"


def load(folder: Path) -> Settings:
    """Read an office's settings; FormatError if they are missing, or are not what they should be."""
    path = folder / FILE
    try:
        found = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), type=Settings)
    except OSError as error:
        message = f"{FILE} cannot be read ({type(error).__name__}); make the office with `skyglow office init`"
        raise FormatError(message) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        # not the error's text: a line of the file may hold a password
        kind = type(error).__name__
        raise FormatError(f"{FILE} is not the settings of an office ({kind}); see docs/how-to/deploy.md") from None
    link.check_address(found.address)
    if found.database and path.stat().st_mode & 0o077:
        raise FormatError(f"{FILE} names a database and can be read by others; run: chmod 600 {FILE}")
    return found


def save(folder: Path, found: Settings) -> None:
    """Write an office's settings, for its owner alone."""
    lines = (f"{name} = {json.dumps(value)}\n" for name, value in msgspec.structs.asdict(found).items() if value)
    write_atomically(folder / FILE, "".join(lines).encode(), mode=0o600)
