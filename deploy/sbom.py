# SPDX-License-Identifier: Apache-2.0
"""What an installation consists of: ``python deploy/sbom.py`` prints a CycloneDX bill, with ``--lock`` pins for pip."""

import argparse
import json
import sys
from importlib import metadata

from packaging.markers import default_environment
from packaging.requirements import Requirement

OURS = ("skyglow-shared", "skyglow-client", "skyglow-server")
EXTRAS = ("psycopg", "psycopg-binary")  # of the office: where they are installed, they are pinned and listed too


def closure(roots: tuple[str, ...]) -> dict[str, metadata.Distribution]:
    """Every distribution that these need to run, by name, themselves included."""
    found: dict[str, metadata.Distribution] = {}
    wanted = list(roots)
    while wanted:
        name = wanted.pop().lower().replace("_", "-")
        if name in found:
            continue
        found[name] = metadata.distribution(name)
        for line in found[name].requires or ():
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({**default_environment(), "extra": ""}):
                wanted.append(need.name)
    return dict(sorted(found.items()))


def bill(found: dict[str, metadata.Distribution]) -> dict[str, object]:
    """A CycloneDX 1.5 document."""
    components = [
        {
            "type": "library",
            "name": name,
            "version": one.version,
            "purl": f"pkg:pypi/{name}@{one.version}",
            "licenses": [{"license": {"name": one.metadata.get("License-Expression") or "see its package"}}],
        }
        for name, one in found.items()
    ]
    return {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": components}


def main() -> None:
    """Print the one or the other."""
    parser = argparse.ArgumentParser(description="What an installation of skyglow consists of.")
    parser.add_argument("--lock", action="store_true", help="pins for `pip install --constraint` instead of the bill")
    here = {one.metadata["Name"].lower().replace("_", "-") for one in metadata.distributions()}
    found = closure((*OURS, *(name for name in EXTRAS if name in here)))
    if parser.parse_args().lock:
        # without the local part of a version: an index that serves another build of it will do
        lines = [f"{name}=={one.version.partition('+')[0]}" for name, one in found.items() if name not in OURS]
        sys.stdout.write("# Made by: python deploy/sbom.py --lock\n" + "\n".join(lines) + "\n")
    else:
        sys.stdout.write(json.dumps(bill(found), indent=1) + "\n")


if __name__ == "__main__":
    main()
