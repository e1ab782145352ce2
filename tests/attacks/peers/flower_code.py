# SPDX-License-Identifier: Apache-2.0
"""The coordinator's bundle is installed and executed at the site: its code takes a file away."""

import hashlib
import json
import os
import tempfile
from pathlib import Path

site = Path(tempfile.mkdtemp())
os.environ["FLWR_HOME"] = str(site / "home")

from flower_app import bundle  # noqa: E402 - Flower reads its home when imported
from flwr.cli.install import install_from_fab  # noqa: E402
from flwr.clientapp.utils import get_load_client_app_fn  # noqa: E402

os.chdir(site)
(site / "readings.csv").write_text("meter,kwh\n")
content = bundle()
install_from_fab(content, None, True)  # as flwr-clientapp does with what it pulls
load = get_load_client_app_fn("", None, True)
load("office/survey", "1.0.0", hashlib.sha256(content).hexdigest())
succeeded = (site / "taken.csv").exists() and not (site / "readings.csv").exists()
print(json.dumps({"succeeded": succeeded}))
