# SPDX-License-Identifier: Apache-2.0
"""A supplier: bytes in, bytes out, one way.

`Supplier.handle` is all that a link ever calls. It never raises: whatever goes wrong becomes a signed refusal that
names the rule and carries no data. What the person at the supplier does (approve, refuse, look) has methods of its own.

A supplier's folder::

    supplier.toml   policy.toml   identity.key   pseudonym.key
    ledger.sqlite   store/        raw/panel.csv, raw/diaries.csv
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

from skyglow_client.features import build_features
from skyglow_client.features.table import CLASS22
from skyglow_client.gate.budget import Budget
from skyglow_client.gate.gate import Gate
from skyglow_client.gate.ledger import open_ledger
from skyglow_client.gate.policy import load_policy
from skyglow_client.learning.homes import Homes, homes_of
from skyglow_client.learning.occupied import build_profiles
from skyglow_client.readings import Store, load_panel
from skyglow_client.readings.meters import mark_of
from skyglow_client.readings.store import current
from skyglow_shared.errors import (
    DataError,
    InternalError,
    LedgerBusyError,
    PeerError,
    RefusalError,
    SkyglowError,
    StudyError,
)
from skyglow_shared.messages import Refusal, Reply, StepRequest, StudyRequest, open_request, seal_reply
from skyglow_shared.models import temporal
from skyglow_shared.privacy.randomness import Randomness, SystemRandomness
from skyglow_shared.signing import Identity, kept_secret
from skyglow_shared.study import COMPOSITION_CLASSES, Study, digest

_log = logging.getLogger(__name__)
_SYSTEM = SystemRandomness()
_LENT_SECONDS = 0.02  # between looks whether a ledger that was lent is free


@dataclass(slots=True)
class Supplier:
    """One supplier, its ledger held open. Make one with `Supplier.open`; use it as a context manager."""

    folder: Path
    gate: Gate
    _homes: dict[str, Homes] = field(default_factory=dict, repr=False)
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def open(cls, folder: Path, name: str, *, randomness: Randomness = _SYSTEM) -> "Supplier":
        """Open the supplier in `folder`, which holds its ledger until it is closed.

        Parameters
        ----------
        folder : Path
        name : str
            Its name on rosters.
        randomness : Randomness
            Only simulations give one, in code; a supplier's installation has the operating system's alone.

        Raises
        ------
        FormatError
            A key or the policy is missing or unreadable.
        LedgerBusyError, LedgerError
            The ledger is held by another process, or fails its checks.
        """
        policy = load_policy(folder / "policy.toml")
        identity = Identity.load(folder / "identity.key")
        ledger = open_ledger(folder / "ledger.sqlite")
        return cls(folder, Gate(name, identity, policy, ledger, randomness))

    def __enter__(self) -> "Supplier":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the ledger."""
        self.gate.ledger.close()

    def lend(self, wanted: Callable[[], bool], ended: threading.Event) -> None:
        """Let go of the ledger between requests, and take it again when it is not wanted any more and is free.

        Once `ended` is set it is not taken again: nobody serves any more, and whoever has it may keep it.

        Raises
        ------
        LedgerError
            What came back fails its checks: nothing is answered from it.
        """
        with self._turn:
            self.close()
            while not ended.is_set():
                try:
                    if not wanted():
                        self.gate = replace(self.gate, ledger=open_ledger(self.folder / "ledger.sqlite"))
                        return
                except LedgerBusyError:
                    pass
                time.sleep(_LENT_SECONDS)

    def handle(self, request: bytes) -> bytes:
        """Answer one request with one signed reply; never raises.

        Parameters
        ----------
        request : bytes
            A sealed envelope of the office.

        Returns
        -------
        bytes
            A sealed envelope: an approval, a share, or a refusal.

        Privacy
        -------
        A share is noised and charged before it exists. A refusal names the rule that refused and nothing that depends
        on readings; an unexpected error is answered with a fixed text.
        """
        try:
            with self._turn:
                return self._answer(request)
        except DataError as error:
            _log.warning("a request was refused: %s", error)
            return self._refusal(DataError("the supplier's data are not ready; its own log says why"))
        except SkyglowError as error:
            _log.info("a request was refused: %s", error)
            return self._refusal(error)
        except Exception as error:  # whatever it is, its text may hold data: neither sent nor logged
            _log.error("a request failed inside skyglow: %s", type(error).__name__)
            return self._refusal(InternalError("an unexpected error at the supplier; its own log says of which type"))

    def approve(self, study: str) -> Budget:
        """Approve a proposed study by its digest; a person's act. Returns what it costs and what it leaves."""
        with self._turn:
            self._heed_policy()
            return self.gate.approve(study)

    def refuse(self, study: str) -> None:
        """Refuse a proposed study by its digest; a person's act."""
        with self._turn:
            self.gate.refuse(study)

    def homes(self, study: Study) -> Homes:
        """The supplier's homes as the study sees them; read once a study.

        Raises
        ------
        DataError
            The store is missing, damaged, of another period than the study's, or was replaced while it was read.
        """
        key = digest(study)
        if key not in self._homes:
            store = Store.open(self.folder / "store")
            if (store.start, store.days) != (study.period.start, study.period.days):
                raise DataError("the store holds another period than the study's; ingest the study's period first")
            contracts = {model.features for model in study.answer_models} or {CLASS22}
            if len(contracts) > 1:
                raise StudyError("the models of a study must share one feature contract; ask for two studies")
            table = build_features(
                self.folder / "store",
                week_start=study.feature_week,
                weeks=study.feature_weeks,
                name=contracts.pop(),
            )
            if named := temporal.installed(study):
                table = replace(table, profile=build_profiles(self.folder / "store", named))
            secret = kept_secret(self.folder / "pseudonym.key")
            if store.key not in ("", mark_of(secret)):
                raise DataError("the store was loaded with another pseudonym.key; put that back, or load again")
            panel = load_panel(self.folder / "raw", store.pseudonyms, secret, COMPOSITION_CLASSES)
            if current(self.folder / "store") != store.folder:  # else one home's readings could be another's too
                raise DataError("the store was loaded anew while it was read; ask again")
            self._homes = {key: homes_of(study, store, table, panel)}
        return self._homes[key]

    def _heed_policy(self) -> None:
        """Take the policy as its file now is: stricter limits hold from the next request on."""
        self.gate = replace(self.gate, policy=load_policy(self.folder / "policy.toml"))

    def _answer(self, request: bytes) -> bytes:
        self._heed_policy()
        message = open_request(request, self.gate.policy.office_key)
        if isinstance(message, StudyRequest):
            return self._seal(self.gate.propose(message))
        if isinstance(message, StepRequest):
            return self.gate.step(message)
        return self.gate.answer(message, self.homes)

    def _seal(self, reply: Reply) -> bytes:
        return seal_reply(reply, self.gate.name, self.gate.identity)

    def _refusal(self, error: SkyglowError) -> bytes:
        rule = error.rule if isinstance(error, RefusalError) else type(error).__name__
        about = error.peer if isinstance(error, PeerError) else ""
        return self._seal(Refusal(code=error.exit_code, rule=rule, message=str(error), about=about))
