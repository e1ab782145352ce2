# SPDX-License-Identifier: Apache-2.0
"""``skyglow office``: keys and certificates, who may connect, studies."""

import argparse
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from skyglow_server import keys, service_command
from skyglow_shared.errors import FormatError
from skyglow_shared.screen import show
from skyglow_shared.signing import Identity
from skyglow_shared.study import digest


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the ``office`` command."""
    office = commands.add_parser("office", help="what the office does: enrol suppliers, draft and run studies")
    verbs = office.add_subparsers(required=True, metavar="verb")
    init = _verb(verbs, "init", _init, "make an office: signing key, certificate authority, certificate")
    init.add_argument("--address", required=True, metavar="HOST:PORT", help="where suppliers will dial")
    enrol = _verb(verbs, "enrol", _enrol, "let a supplier connect: write its kit into kits/NAME")
    enrol.add_argument("name", help="the supplier's name on rosters")
    enrol.add_argument("--key", required=True, help="its public key; the supplier reads it from `skyglow supplier key`")
    _verb(verbs, "revoke", _revoke, "let a supplier connect no more").add_argument("name")
    renew = _verb(verbs, "renew", _renew, "give the office a new certificate; restart the service afterwards")
    renew.add_argument(
        "--authority", action="store_true", help="make a new authority beside the present one, and a file for suppliers"
    )
    _verb(verbs, "suppliers", _suppliers, "list who is enrolled")
    draft = _verb(verbs, "draft", _draft, "complete a study's template with areas and the suppliers enrolled now")
    draft.add_argument("template", type=Path, help="the study's TOML file")
    draft.add_argument("--areas", type=Path, required=True, help="public table of areas, as in a run's reference/")
    run = _verb(verbs, "run", _run, "run a drafted study, from wherever it stands, and write its estimates")
    run.add_argument("study", help="the study's name")
    run.add_argument("--listen", default="", metavar="HOST:PORT", help="default: the address's port, everywhere")
    run.add_argument("--patience", type=float, default=600.0, help="seconds to wait for suppliers in each round")
    run.add_argument("--superlink", default="", metavar="HOST:PORT", help="drive Flower's SuperLink, do not listen")
    run.add_argument("--secret", type=Path, metavar="FILE", help="with --superlink: the secret that it was given")
    run.add_argument("--root-certificates", type=Path, metavar="FILE", help="with --superlink (default: DIR/ca.pem)")
    service_command.database_option(run)
    service_command.register(partial(_verb, verbs))
    change = verbs.add_parser("change", help="what changed between two releases of the same topic and areas")
    change.add_argument("earlier", type=Path, metavar="EARLIER", help="a release's or a run's folder")
    change.add_argument("later", type=Path, metavar="LATER", help="another, of a later reference date")
    change.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the tables are written")
    change.add_argument(
        "--persistence",
        type=float,
        help="how much of what areas had drifted from the old census is thought to last, 0 to 1; 0 is widest",
    )
    change.set_defaults(func=_change)
    books = verbs.add_parser("audit", help="hand out the book of what was received")
    export = _verb(
        books.add_subparsers(required=True, metavar="verb"),
        "export",
        _audit_export,
        "write every reply received, by digest, as a chain of JSON lines; see `skyglow audit compare`",
    )
    export.add_argument("file", type=Path)
    service_command.database_option(export)


def _verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    function: Callable[[argparse.Namespace], int],
    text: str,
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the office's folder")
    parser.set_defaults(func=function)
    return parser


def _init(options: argparse.Namespace) -> int:
    keys.init(options.folder, options.address)
    show(f"office key {Identity.load(options.folder / 'identity.key').public_key}")
    return 0


def _enrol(options: argparse.Namespace) -> int:
    kit = keys.enrol(options.folder, options.name, options.key)
    show(f"{kit} holds a private key: hand it to {options.name} by a safe way, to become its folder link/")
    return 0


def _revoke(options: argparse.Namespace) -> int:
    keys.revoke(options.folder, options.name)
    show(f"{options.name} may connect no more")
    return 0


def _renew(options: argparse.Namespace) -> int:
    if options.authority:
        file = keys.renew_authority(options.folder)
        show(f"give {file} to every supplier: it is signed, and no secret; restart the service")
        show("once all have it, run `skyglow office renew` without --authority, and enrol each again before its end")
        return 0
    keys.renew(options.folder)
    show(f"the office's certificate is new, and holds for {keys.CERTIFICATE_DAYS} days; restart the service")
    return 0


def _suppliers(options: argparse.Namespace) -> int:
    for name, entry in keys.enrolled(options.folder).items():
        show(f"{name}  {entry.public_key}  {'revoked' if entry.revoked else 'may connect'}")
    return 0


def _draft(options: argparse.Namespace) -> int:
    from skyglow_server import serve  # noqa: PLC0415 - loading it takes seconds

    study = serve.prepare(options.folder, options.template, options.areas)
    show(f"{study.name}  {digest(study)}")
    return 0


def _run(options: argparse.Namespace) -> int:
    from skyglow_server import serve  # noqa: PLC0415

    if not options.patience > 0:
        raise FormatError("--patience must be above 0 seconds; 600 is a good start")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    checkpoints = service_command.checkpoints_of(options)
    checkpoints.check()
    if options.superlink:
        from skyglow_server.links.flower_superlink import federation  # noqa: PLC0415 - an extra that most do without

        authority = options.root_certificates or options.folder / "ca.pem"
        with federation(options.superlink, authority, options.secret, patience=options.patience) as driven:
            show(str(serve.conduct(options.folder, options.study, driven, checkpoints, _progress)))
        return 0
    link = serve.federation(options.folder, listen=options.listen, patience=options.patience)
    show(str(serve.run(options.folder, options.study, link, checkpoints, _progress)))
    return 0


def _change(options: argparse.Namespace) -> int:
    from skyglow_server.publication import change, earlier  # noqa: PLC0415

    persistence = change.PERSISTENCE if options.persistence is None else options.persistence
    if not 0 <= persistence <= 1:
        raise FormatError(f"--persistence must be from 0 to 1; {change.PERSISTENCE} is the default")
    releases = [earlier.read_release(path) for path in (options.earlier, options.later)]
    found = change.changes(releases[0], releases[1], persistence=persistence)
    for path in change.write(options.out, found):
        show(str(path))
    return 0


def _audit_export(options: argparse.Namespace) -> int:
    from skyglow_server import audit  # noqa: PLC0415

    found = audit.export(options.folder, options.file, service_command.checkpoints_of(options))
    show(f"{found} replies in {options.file.name}")
    return 0


def _progress(phase: str, done: int, total: int) -> None:
    logging.getLogger(__name__).info("%s: %d of %d", phase, done, total)
