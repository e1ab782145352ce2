# SPDX-License-Identifier: Apache-2.0
"""The bundle that stands for skyglow on Flower's deployment: it holds no code, and has the same bytes everywhere.

Flower's SuperLink begins a run only for a bundle of an app. skyglow's is one text file that names the app; what
runs, on both sides, is what is installed there. A site compares a run's bundle with this one and refuses any other.
"""

import hashlib
import io
import zipfile

_PROJECT = """\
[project]
name = "skyglow"
version = "1"
description = "No code: each side runs the skyglow that it has installed."
license = "Apache-2.0"

[tool.flwr.app]
publisher = "skyglow"

[tool.flwr.app.components]
serverapp = "skyglow:installed"
clientapp = "skyglow:installed"
"""
#: The code of a site's answer that it refuses a run; beside Flower's own codes, which are small.
REFUSED = 403
_UNIX = 3
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def bundle() -> bytes:
    """The whole bundle: a ZIP archive, stored as it is, so that no version of a packer changes a byte."""
    entry = zipfile.ZipInfo("pyproject.toml", _LONG_AGO)
    entry.create_system = _UNIX
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(entry, _PROJECT)
    return whole.getvalue()


def digest(content: bytes) -> str:
    """SHA-256 of a bundle, hex, as Flower names it."""
    return hashlib.sha256(content).hexdigest()
