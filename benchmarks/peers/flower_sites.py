# SPDX-License-Identifier: Apache-2.0
"""No-op rounds over skyglow's own path through Flower's deployment: the last line is JSON, seconds.

``flower_sites.py NODES ROUNDS``. A SuperLink, SuperNodes with their own keys, and skyglow's sites in place of Flower's
executor, each a process, on loopback over TLS; the office drives the SuperLink itself. The first round is left out.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from skyglow_client.links.flower import client_app
from skyglow_client.links.flower_site import Site
from skyglow_server.links.flower import SILENT
from skyglow_server.links.flower_superlink import federation
from skyglow_shared.signals import stop_at_signals
from skyglow_simulations import deployed, deployed_flower
from skyglow_simulations.run import Folder


def main() -> None:
    """Deploy, run, tear down."""
    if sys.argv[1] == "site":
        echo(*sys.argv[2:])
        return
    names = tuple(f"supplier-{number}" for number in range(int(sys.argv[1])))
    with tempfile.TemporaryDirectory(prefix="flower-", ignore_cleanup_errors=True) as place:
        folder = Folder(Path(place))
        deployment = deployed_flower.enrol(folder, names)
        secret, authority = deployment.place / "secret", deployed.office_folder(folder) / "ca.pem"
        with deployed_flower.started(deployment, "node") as running:
            for name in names:
                words = [sys.executable, __file__, "site", name, f"127.0.0.1:{deployment.ports[name]}", str(secret)]
                running["site", name] = subprocess.Popen(words, env={**os.environ, **SILENT})
            with federation(deployment.address, authority, secret) as office:
                print(json.dumps([one_round(office, names) for _ in range(int(sys.argv[2]) + 1)][1:]))


def one_round(office: object, names: tuple[str, ...]) -> float:
    """Seconds of one round that asks everybody for an echo."""
    begun = time.perf_counter()
    if office.ask(dict.fromkeys(names, b"n")) != dict.fromkeys(names, b"n"):
        raise SystemExit("a site did not answer a no-op round")
    return time.perf_counter() - begun


def echo(name: str, address: str, secret: str) -> None:
    """Be a site that gives back what it gets, until SIGTERM."""
    app = client_app(lambda name: nullcontext(lambda request: request), (name,))
    Site(address, app, Path(secret).read_bytes()).serve(stop_at_signals())


if __name__ == "__main__":
    main()
