# SPDX-License-Identifier: Apache-2.0
"""``skyglow supplier``: load readings, decide on studies, read the ledger."""

import argparse
import datetime
from pathlib import Path

from skyglow_client.commands import ledger, study
from skyglow_client.commands.terminal import Verbs, open_supplier, verb
from skyglow_client.readings import ingest
from skyglow_client.readings.formats import FORMATS, load_format
from skyglow_shared import journal, signals
from skyglow_shared.errors import RunError
from skyglow_shared.screen import show
from skyglow_shared.signing import kept_secret, load_or_generate, secret_bytes


def register(commands: "Verbs[argparse.ArgumentParser]") -> None:
    """Add the ``supplier`` command."""
    supplier = commands.add_parser(
        "supplier", help="what a supplier does: load readings, decide on studies, read the ledger"
    )
    verbs = supplier.add_subparsers(required=True, metavar="verb")
    load = verb(verbs, "load", _load, "clean, pseudonymise and store the readings of raw/")
    load.add_argument("--start", type=datetime.date.fromisoformat, required=True, help="first day, e.g. 2026-03-09")
    load.add_argument("--days", type=int, required=True)
    load.add_argument(
        "--format", default="wide", metavar="NAME|FILE", help=f"{', '.join(FORMATS)} (default: wide), or a mapping.toml"
    )
    load.add_argument("--postcodes", type=Path, required=True, help="public lookup: pcds,lsoa21cd")
    verb(verbs, "key", _key, "show the public key that the office puts on its roster; made when there is none yet")
    init = verb(verbs, "init", _init, "check the office's kit and put it into link/; make keys where there are none")
    init.add_argument("kit", type=Path, help="the folder that the office gave, or its authorities.json")
    verb(
        verbs,
        "doctor",
        _doctor,
        "look at all that serving needs; exit with 60 if anything is amiss",
    )
    for noun, register_verbs, text in (
        ("study", study.register, "look at proposed studies and decide"),
        ("ledger", ledger.register, "read the ledger"),
    ):
        register_verbs(verbs.add_parser(noun, help=text).add_subparsers(required=True, metavar="verb"))
    serve = verb(verbs, "serve", _serve, "dial the office of the kit in link/, and answer it until stopped")
    serve.add_argument("--json-logs", action="store_true", help="log as lines of JSON")
    either = serve.add_mutually_exclusive_group()
    either.add_argument("--metrics", type=Path, metavar="FILE.prom", help="write metrics for node_exporter to read")
    either.add_argument("--supernode", default="", metavar="HOST:PORT", help="answer Flower's SuperNode there")
    serve.add_argument("--secret", type=Path, metavar="FILE", help="with --supernode: the secret that it was given")


def _load(options: argparse.Namespace) -> int:
    loaded = (options.folder / "store" / "meta.json").exists()
    key = (kept_secret if loaded else secret_bytes)(options.folder / "pseudonym.key")
    report = ingest(
        options.folder / "raw",
        options.folder / "store",
        start=options.start,
        days=options.days,
        postcodes=options.postcodes,
        pseudonym_key=key,
        form=load_format(options.format),
    )
    show(*report.lines())
    return 0


def _key(options: argparse.Namespace) -> int:
    show(load_or_generate(options.folder / "identity.key").public_key)
    return 0


def _init(options: argparse.Namespace) -> int:
    from skyglow_client import doctor  # noqa: PLC0415 - loads the link

    if options.kit.is_file():
        show(f"{doctor.accept_authorities(options.kit, options.folder)}; restart the service")
        return 0
    told = doctor.accept_kit(options.kit, options.folder)
    show(f"{told.name} dials {told.address}; the office's key is {told.office_key}")
    if not (options.folder / "policy.toml").exists():
        show("policy.toml is for you to write: see docs/reference/supplier-policy.md")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from skyglow_client import doctor  # noqa: PLC0415

    found = list(doctor.examine(options.folder))
    show(*(f"{'ok  ' if one.well else 'AMISS'}  {one.what:<7} {one.words}" for one in found))
    amiss = [one.what for one in found if not one.well]
    if amiss:
        raise RunError(f"{', '.join(amiss)}: see above, then run doctor again")
    return 0


def _serve(options: argparse.Namespace) -> int:
    from skyglow_client import serve  # noqa: PLC0415 - no other verb needs a network

    journal.begin(lines=options.json_logs)
    stop = signals.stop_at_signals()
    with open_supplier(options) as supplier:
        if options.supernode:
            from skyglow_client.links import flower_site  # noqa: PLC0415 - an extra that most do without

            flower_site.serve(supplier, options.supernode, flower_site.secret_in(options.secret), stop)
        else:
            serve.serve(supplier, stop, metrics=options.metrics)
    return 0
