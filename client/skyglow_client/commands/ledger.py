# SPDX-License-Identifier: Apache-2.0
"""``skyglow supplier ledger``: read, check and hand out the account of what left."""

import argparse
from datetime import date
from pathlib import Path

import msgspec

from skyglow_client.commands.terminal import Verbs, open_supplier, proposed, verb
from skyglow_client.gate import exchanges
from skyglow_client.gate.clock import stamp
from skyglow_shared.privacy.accounting import study_cost
from skyglow_shared.screen import show


def register(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Add the verbs of ``skyglow supplier ledger``."""
    verb(verbs, "show", _show, "what was charged, by study")
    verb(
        verbs,
        "sent",
        _sent,
        "everything that left or is sealed to leave: when, of which round, the digest of its bytes",
    )
    verb(verbs, "verify", _verify, "recompute the whole chain")
    verb(verbs, "export", _export, "write the chain as JSON lines").add_argument("file", type=Path)
    verb(
        verbs, "accept-clock", _accept_clock, "confirm this machine's clock, by which studies leave the policy's window"
    ).add_argument(
        "today", type=date.fromisoformat, help="today's date as you know it, not as the machine says: 2026-03-21"
    )


def _show(options: argparse.Namespace) -> int:
    with open_supplier(options) as supplier:
        gate = supplier.gate
        charged = gate.ledger.charges()
        for identity, study in proposed(supplier).items():
            events = charged.get(identity, [])
            epsilon = study_cost(events, study.delta).epsilon_upper
            rounds = f"{len(events)} of {sum(phase.rounds for phase in study.phases)} rounds charged"
            show(f"{identity[:12]}  {study.name}  {rounds}  epsilon {epsilon:.3f} at delta {study.delta:g}")
        spent = gate.ledger.spent(gate.policy.delta)
        limit = gate.policy.epsilon
        show(f"all        epsilon {spent.epsilon_upper:.3f} at delta {spent.delta:g}; the policy allows {limit:g}")
        show(f"head       {gate.ledger.head}")
    return 0


def _sent(options: argparse.Namespace) -> int:
    with open_supplier(options) as supplier:
        for entry in supplier.gate.ledger.entries("approval", "seal"):
            body = msgspec.json.decode(entry.body)
            if entry.kind == "approval":
                show(f"{entry.time}  {body['study'][:12]}  approval")
            else:
                study, _, place = body["key"].partition("/")
                show(f"{entry.time}  {study[:12]}  {place}  {body['reply']}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    with open_supplier(options) as supplier:
        head = supplier.gate.ledger.verify()
        exchanges.check(supplier.gate.ledger, supplier.gate.identity.public_key)
        show(f"the chain holds; head {head}")
    return 0


def _export(options: argparse.Namespace) -> int:
    with open_supplier(options) as supplier:
        supplier.gate.ledger.export(options.file)
    return 0


def _accept_clock(options: argparse.Namespace) -> int:
    with open_supplier(options) as supplier:
        ledger = supplier.gate.ledger
        ledger.accept_clock(options.today)
        show(f"the clock is confirmed at {stamp(ledger.confirmed)}; studies leave the window by that date")
    return 0
