# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server of one's own, on loopback, for as long as it is tried out; where PostgreSQL is installed.

It asks for passwords as a real one would. PostgreSQL does not run as root: there the server runs as `postgres`.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from skyglow_shared.errors import RunError
from skyglow_simulations.links.ports import free_port

USER, PASSWORD, DATABASE = "skyglow", "a secret of tests", "office"
_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")
_START_SECONDS = 60.0
_SYSTEM_USER = "postgres"


def programs() -> Path | None:
    """The folder of `initdb` and `postgres`, the newest if there are several, or None if they cannot be run here."""
    if os.getuid() == 0 and _SYSTEM_USER not in {entry.pw_name for entry in pwd.getpwall()}:
        return None
    found = [Path(path).resolve().parent for name in ("initdb",) if (path := shutil.which(name))]
    for pattern in _PLACES:
        found += sorted(Path("/").glob(pattern.lstrip("/")))
    usable = [place for place in found if (place / "initdb").exists() and (place / "postgres").exists()]
    return usable[-1] if usable else None


@dataclass(slots=True)
class Server:
    """A server that can be stopped, killed and started again; its data stay until the end."""

    programs: Path
    folder: Path
    port: int
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def url(self, database: str = DATABASE, *, schema: str = "public", user: str = USER, password: str = "") -> str:
        """The URL of a schema of a database, with the password in a file (as an office would) unless one is given."""
        who = f"{user}:{password}" if password else user
        rest = f"passfile={self.folder.parent / 'pass'}&options=-csearch_path%3D{schema}"
        return f"postgresql://{who}@127.0.0.1:{self.port}/{database}?{rest}"

    def start(self) -> None:
        """Start, and wait until it answers; RunError if it does not."""
        settings = (f"port={self.port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}")
        words = [self.programs / "postgres", "-D", self.folder, "-c", "fsync=off", "-c", "max_connections=20"]
        for setting in settings:
            words += ["-c", setting]
        with (self.folder.parent / "log").open("ab") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log, **_as())  # type: ignore[call-overload]  # noqa: S603
        deadline = time.monotonic() + _START_SECONDS
        while subprocess.run(  # noqa: S603 - its own program
            [self.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False
        ).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RunError(f"PostgreSQL does not start; see {self.folder.parent / 'log'}")
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop at once: sessions are cut. With SIGQUIT as if its machine had failed."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(_START_SECONDS)

    def run(self, statements: str, database: str = DATABASE) -> str:
        """Run SQL and return what it gives, fields separated by a bar."""
        words = [str(self.programs / "psql"), "-qAt", "-d", self.url(database), "-c", statements]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server with a user and an empty database; RunError if PostgreSQL is not installed."""
    place = programs()
    if place is None:
        raise RunError("PostgreSQL cannot be run here; install its server, for example the package `postgresql`")
    top = Path(tempfile.mkdtemp(prefix="skyglow-postgres-"))
    server = Server(place, top / "data", free_port())
    try:
        top.chmod(0o755)
        password, passes = top / "password", top / "pass"
        password.write_text(PASSWORD + "\n")
        passes.write_text(f"*:*:*:{USER}:{PASSWORD}\n")
        passes.chmod(0o600)
        server.folder.mkdir()
        if os.getuid() == 0:
            shutil.chown(server.folder, _SYSTEM_USER, _SYSTEM_USER)
        words = [place / "initdb", "-D", server.folder, "-U", USER, "-A", "scram-sha-256", "--pwfile", password]
        words += ["-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(words, check=True, capture_output=True, **_as())  # type: ignore[call-overload]  # noqa: S603
        server.start()
        server.run(f"CREATE DATABASE {DATABASE}", "postgres")
        yield server
    finally:
        server.stop(signal.SIGQUIT)  # nothing of it is kept
        shutil.rmtree(top, ignore_errors=True)


def _as() -> dict[str, object]:
    """As whom the server runs."""
    return {"user": _SYSTEM_USER, "group": _SYSTEM_USER, "extra_groups": []} if os.getuid() == 0 else {}
