# SPDX-License-Identifier: Apache-2.0
"""What is in deploy/ is well formed, as far as this machine can tell, and starts commands that exist."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from skyglow_shared.command import main

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


@pytest.mark.parametrize("unit", sorted(DEPLOY.glob("systemd/*.service")), ids=lambda path: path.stem)
def test_a_unit_starts_a_command_that_exists_and_is_hardened(unit, tmp_path, capsys):
    text = unit.read_text()
    (line,) = re.findall(r"^ExecStart=\S+ (.*)$", text, re.MULTILINE)
    with pytest.raises(SystemExit) as ended:
        main([*line.replace("%S", "/var/lib").split(), "--help"])
    assert ended.value.code == 0
    if shutil.which("systemd-analyze"):
        copy = tmp_path / unit.name
        copy.write_text(text.replace("/opt/skyglow/bin/skyglow", "/bin/true"))
        subprocess.run(["systemd-analyze", "verify", copy], check=True, capture_output=True)
        judged = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--threshold=20", copy], check=False, capture_output=True
        )
        assert judged.returncode == 0, judged.stdout.decode()[-500:]


@pytest.mark.parametrize("path", sorted(DEPLOY.glob("containers/*")), ids=lambda path: path.name)
def test_an_image_runs_a_command_that_exists_without_root(path, capsys):
    text = path.read_text()
    (words,) = re.findall(r"^CMD (.*)$", text, re.MULTILINE)
    with pytest.raises(SystemExit) as ended:
        main([*json.loads(words), "--help"])
    assert ended.value.code == 0
    assert "USER 10001" in text


def test_the_lock_pins_what_is_installed_here():
    pins = (DEPLOY / "lock.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[a-z0-9.-]+==\S+", pin) for pin in pins if not pin.startswith("#"))
    names = {pin.partition("==")[0] for pin in pins}
    assert {"grpcio", "torch", "cryptography", "msgspec", "psycopg"} <= names
    assert not any(name.startswith("skyglow") for name in names)
    needed = subprocess.run([sys.executable, DEPLOY / "sbom.py", "--lock"], check=True, capture_output=True, text=True)
    wanted = {pin.partition("==")[0] for pin in needed.stdout.splitlines() if not pin.startswith("#")}
    assert wanted - names == set(), "make lock"


def test_the_bill_names_every_package():
    said = subprocess.run([sys.executable, DEPLOY / "sbom.py"], check=True, capture_output=True, text=True).stdout
    found = json.loads(said)
    assert found["bomFormat"] == "CycloneDX"
    assert {"skyglow-client", "grpcio"} <= {one["name"] for one in found["components"]}
