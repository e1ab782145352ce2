# SPDX-License-Identifier: Apache-2.0
"""``skyglow supplier``: load readings, decide on studies, read the ledger."""

import argparse
import datetime
import logging
import sys
import tomllib
from pathlib import Path

from skyglow_client.gate import budget
from skyglow_client.readings import ingest
from skyglow_client.supplier import Supplier
from skyglow_shared.errors import ApprovalError, FormatError
from skyglow_shared.layout import block_shape
from skyglow_shared.privacy.accounting import study_cost
from skyglow_shared.signing import load_or_generate, secret_bytes
from skyglow_shared.soundness import decode_study
from skyglow_shared.study import Block, Study

_SOURCES = {
    "gradient": "training half of the panel: the gradient of each home's loss, all together",
    "area_score": "every metered home: a count and its score, by LSOA",
    "class_score": "calibration half of the panel: a count, its score and the score's square, by composition class",
    "area_label": "calibration half of the panel: a count and its label, by MSOA",
    "area_profile": "every metered home: its presence profile on a public basis, by MSOA",
    "diary_profile": "calibration homes with a diary: presence by rule beside presence by diary, all together",
}
_NAME = 'write the line name = "…" with the name the office has on its roster'
_STATES = {"": "awaits a decision", "approval": "approved", "refusal": "refused"}


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the ``supplier`` command."""
    supplier = commands.add_parser(
        "supplier", help="what a supplier does: load readings, decide on studies, read the ledger"
    )
    verbs = supplier.add_subparsers(required=True, metavar="verb")
    load = _verb(verbs, "load", _load, "clean, pseudonymise and store the readings of raw/")
    load.add_argument("--start", type=datetime.date.fromisoformat, required=True, help="first day, e.g. 2026-03-09")
    load.add_argument("--days", type=int, required=True)
    load.add_argument("--postcodes", type=Path, required=True, help="public lookup: pcds,lsoa21cd")
    _verb(verbs, "key", _key, "show the public key that the office puts on its roster; made when there is none yet")
    study = verbs.add_parser("study", help="look at proposed studies and decide").add_subparsers(
        required=True, metavar="verb"
    )
    _verb(study, "list", _list, "list proposed studies")
    for name, function, text in (
        ("show", _show, "what a study asks, in plain words, and what it would cost"),
        ("approve", _approve, "approve a study: sign it, and let its rounds be answered"),
        ("refuse", _refuse, "refuse a study"),
    ):
        _verb(study, name, function, text).add_argument("study", help="the study's digest, or its first characters")
    _verb(verbs, "serve", _serve, "dial the office of the kit in link/, and answer it until stopped")
    ledger = verbs.add_parser("ledger", help="read the ledger").add_subparsers(required=True, metavar="verb")
    _verb(ledger, "show", _ledger_show, "what was charged, by study")
    _verb(ledger, "verify", _ledger_verify, "recompute the whole chain")
    _verb(ledger, "export", _ledger_export, "write the chain as JSON lines").add_argument("file", type=Path)


def _verb(verbs, name, function, text) -> argparse.ArgumentParser:  # type: ignore[no-untyped-def] # noqa: ANN001
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text)
    parser.add_argument("--folder", type=Path, default=Path(), help="the supplier's folder (default: here)")
    parser.set_defaults(func=function)
    return parser


def _open(options: argparse.Namespace) -> Supplier:
    path = options.folder / "supplier.toml"
    try:
        name = tomllib.loads(path.read_text(encoding="utf-8"))["name"]
    except (OSError, KeyError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FormatError(f"supplier.toml cannot be read ({type(error).__name__}); {_NAME}") from None
    if not isinstance(name, str):
        raise FormatError(f"supplier.toml gives no name in quotes; {_NAME}")
    return Supplier.open(options.folder, name)


def _load(options: argparse.Namespace) -> int:
    key = secret_bytes(options.folder / "pseudonym.key")
    report = ingest(
        options.folder / "raw",
        options.folder / "store",
        start=options.start,
        days=options.days,
        postcodes=options.postcodes,
        pseudonym_key=key,
    )
    _print(*report.lines())
    return 0


def _key(options: argparse.Namespace) -> int:
    _print(load_or_generate(options.folder / "identity.key").public_key)
    return 0


def _serve(options: argparse.Namespace) -> int:
    from skyglow_client import serve  # noqa: PLC0415 - no other verb needs a network

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = serve.stop_at_signals()
    with _open(options) as supplier:
        serve.serve(supplier, stop)
    return 0


def _list(options: argparse.Namespace) -> int:
    with _open(options) as supplier:
        for identity, study in _studies(supplier).items():
            _print(f"{identity[:12]}  {study.name}  {_STATES[supplier.gate.ledger.decision(identity)]}")
    return 0


def _show(options: argparse.Namespace) -> int:
    with _open(options) as supplier:
        identity, study = _one(supplier, options.study)
        _print(
            study.title,
            f"digest     {identity}",
            f"state      {_STATES[supplier.gate.ledger.decision(identity)]}",
            f"purpose    {study.purpose} ({study.legal_gateway})",
            f"why        {study.public_good}",
            f"homes      of {len(study.areas)} areas, readings of {study.period.start} to {study.period.end}",
            f"until      {study.expires}",
        )
        for phase in study.phases:
            sample = "" if phase.sampling_rate == 1 else f", each home in with chance {phase.sampling_rate:g}"
            _print("", f"{phase.name}: {phase.rounds} round{'s' * (phase.rounds > 1)}{sample}")
            for block in phase.blocks:
                _print(*_describe(study, block))
        _print("", *_cost(supplier, study))
        supplier.gate.check(study)
        _print("", "Nothing else would leave. The policy allows this study; it is for you to approve or refuse.")
    return 0


def _cost(supplier: Supplier, study: Study) -> tuple[str, ...]:
    gate = supplier.gate
    found = budget.of_study(gate.policy, gate.ledger, study, gate.clock())
    cost = found.requested
    after = max(found.limit - found.after, 0.0)
    return (
        f"cost       epsilon {cost.epsilon_upper:.3f} at delta {cost.delta:g}, add or remove one household",
        f"remaining  epsilon {found.remaining:.3f} of the policy's {found.limit:g} without it, {after:.3f} with it",
    )


def _describe(study: Study, block: Block) -> tuple[str, ...]:
    groups, width = block_shape(study, block)
    return (
        f"  {block.name}: {_SOURCES[block.source]}",
        f"    {groups} × {width} numbers; one home counts for at most {block.l2_bound:g}, "
        f"noise {block.noise_multiplier * block.l2_bound:g} on each number",
    )


def _approve(options: argparse.Namespace) -> int:
    with _open(options) as supplier:
        identity, study = _one(supplier, options.study)
        cost = supplier.approve(identity).requested
        _print(f"approved {study.name}: at most epsilon {cost.epsilon_upper:.3f} at delta {cost.delta:g}")
    return 0


def _refuse(options: argparse.Namespace) -> int:
    with _open(options) as supplier:
        identity, study = _one(supplier, options.study)
        supplier.refuse(identity)
        _print(f"refused {study.name}")
    return 0


def _ledger_show(options: argparse.Namespace) -> int:
    with _open(options) as supplier:
        gate = supplier.gate
        charged = gate.ledger.charges()
        for identity, study in _studies(supplier).items():
            events = charged.get(identity, [])
            epsilon = study_cost(events, study.delta).epsilon_upper
            rounds = f"{len(events)} of {sum(phase.rounds for phase in study.phases)} rounds charged"
            _print(f"{identity[:12]}  {study.name}  {rounds}  epsilon {epsilon:.3f} at delta {study.delta:g}")
        spent = gate.ledger.spent(gate.policy.delta)
        limit = gate.policy.epsilon
        _print(f"all        epsilon {spent.epsilon_upper:.3f} at delta {spent.delta:g}; the policy allows {limit:g}")
        _print(f"head       {gate.ledger.head}")
    return 0


def _ledger_verify(options: argparse.Namespace) -> int:
    with _open(options) as supplier:
        _print(f"the chain holds; head {supplier.gate.ledger.verify()}")
    return 0


def _ledger_export(options: argparse.Namespace) -> int:
    with _open(options) as supplier:
        supplier.gate.ledger.export(options.file)
    return 0


def _studies(supplier: Supplier) -> dict[str, Study]:
    return {identity: decode_study(canonical) for identity, canonical in supplier.gate.ledger.studies().items()}


def _one(supplier: Supplier, start: str) -> tuple[str, Study]:
    found = [(identity, study) for identity, study in _studies(supplier).items() if identity.startswith(start)]
    if len(found) != 1:
        raise ApprovalError("that is the digest of no proposed study, or of several; see `study list`", rule="approval")
    return found[0]


def _print(*lines: str) -> None:
    for line in lines:  # the office's words may not move the cursor or begin lines of their own
        sys.stdout.write("".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in line) + "\n")
