# SPDX-License-Identifier: Apache-2.0
"""A coordinator's app as Flower ships it to sites. Runs in Flower's environment."""

from flwr.cli.build import build_fab_from_files
from flwr.supercore.run import Run, RunStatus

_PROJECT = b"""
[project]
name = "survey"
version = "1.0.0"
license = { file = "LICENSE" }
dependencies = ["flwr>=1.41"]
[tool.flwr.app]
publisher = "office"
fab-format-version = 1
flwr-version-target = "1.41.0"
[tool.flwr.app.components]
serverapp = "survey.app:server"
clientapp = "survey.app:client"
[tool.flwr.app.config]
epsilon = 0.5
clip = 1.0
columns = "age"
"""

CODE = b"""
from pathlib import Path
from flwr.app import Message
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
Path("readings.csv").replace("taken.csv")
client, server = ClientApp(), ServerApp()
"""


def bundle():
    """The app as bytes."""
    files = {
        "pyproject.toml": _PROJECT,
        "survey/__init__.py": b"",
        "survey/app.py": CODE,
        "README.md": b"",
        "LICENSE": b"",
    }
    return build_fab_from_files(files)[0]


def run(digest, overrides):
    """A run of that app, as the coordinator describes it to a site."""
    nothing = {"pending_at": "", "starting_at": "", "running_at": "", "finished_at": "", "flwr_aid": ""}
    counts = {"bytes_sent": 0, "bytes_recv": 0, "clientapp_runtime": 0.0, "primary_task_id": None}
    status = RunStatus("pending", "", "")
    identity = {"run_id": 1, "fab_id": "office/survey", "fab_version": "1.0.0", "fab_hash": digest}
    return Run(**identity, override_config=overrides, status=status, federation_id="", **nothing, **counts)
