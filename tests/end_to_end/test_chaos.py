# SPDX-License-Identifier: Apache-2.0
"""Kill -9 at random while a study runs between processes: what `make chaos` does 500 times, here a few."""

import os
import subprocess
import sys

import pytest

from skyglow_server import serve  # noqa: F401 - first: it says what TLS gRPC may speak

# isort: split
from skyglow_simulations import chaos


@pytest.mark.slow
@pytest.mark.parametrize("store", [[], ["--postgres"]], ids=["sqlite", "postgresql"])
def test_a_study_under_kills_ends_as_it_should(store, tmp_path, request):
    if store:
        request.getfixturevalue("database_server")  # skips where there is none
    line = [sys.executable, "-m", "skyglow_simulations.chaos", "--kills", "25", "--seed", "5", *store]
    done = subprocess.run(
        [*line, "--out", str(tmp_path / "chaos")],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert "25 kills, 1 studies: all complete, all books agree, nothing charged twice" in done.stdout


def test_what_must_not_be_in_a_log_is_found_in_one(tmp_path, monkeypatch):
    """The search itself is searched: a secret that is put into a log must be found."""
    checks = chaos.chaos_checks
    folder = chaos.Folder(tmp_path)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "north.log").write_text("north is connected\n")
    monkeypatch.setattr(checks, "_unspeakable", lambda folder: {"a meter_id of north (0)": "1000000205894"})
    assert checks._logs(folder) == 1
    (tmp_path / "logs" / "south.log").write_text("reading of 1000000205894 refused\n")
    with pytest.raises(chaos.RunError, match="a log holds a meter_id of north"):
        checks._logs(folder)
