# SPDX-License-Identifier: Apache-2.0
"""Every error skyglow raises, drawn as one tree.

::

    SkyglowError                      exit code
    ├── DataError                     10   a file or table cannot be used as it is
    │   ├── FormatError               11   not the format it claims to be: corrupt, truncated, foreign
    │   └── GeographyError            12   an area code that is unknown, retired or does not nest
    ├── StudyError                    20   the study is malformed or contradicts itself
    │   ├── SignatureError            21   not signed, or not by the key it should be
    │   └── ExpiredError              22   the study's last day has passed
    ├── RefusalError                  30   the supplier's gate said no; `rule` names the rule
    │   ├── PolicyError               31   the supplier's policy does not allow what the study asks
    │   ├── BudgetError               32   the charge would pass the policy's privacy budget
    │   ├── ApprovalError             33   the study was not approved here, or was changed since
    │   ├── OrderError                34   a round out of order, or one the study does not contain
    │   ├── ClockError                35   the supplier's clock cannot be believed
    │   └── LimitError                36   a round takes more time or memory than the supplier gives it
    ├── ProtocolError                 40   a message that is malformed, oversized or of another version
    │   └── PeerError                 41   what another supplier sent cannot be right; `peer` names it
    ├── LedgerError                   50   the ledger fails its own checks
    │   ├── LedgerBusyError           51   another process holds the ledger
    │   └── RollbackError             52   the ledger is older, or another, than other suppliers saw it
    ├── RunError                      60   a run cannot start, continue or be resumed
    │   ├── AttemptError              61   too few suppliers are left in an attempt at secure aggregation
    │   └── DatabaseError             62   the office's database is away, or does not let the office in
    └── InternalError                 70   a bug: please report it

Messages say what was wrong, what was wanted and what to do next, and never contain a data value: no reading,
no meter, no home, no count of homes. The exit codes are stable; a code is never given a new meaning.
"""


class SkyglowError(Exception):
    """Anything skyglow refuses to do; `exit_code` is what the command line exits with."""

    exit_code = 1


class DataError(SkyglowError):
    """A file or table cannot be used as it is."""

    exit_code = 10


class FormatError(DataError):
    """A file is not what it claims to be: corrupt, truncated or of a foreign format."""

    exit_code = 11


class GeographyError(DataError):
    """An area code is unknown, retired, or does not nest as the geography says."""

    exit_code = 12


class StudyError(SkyglowError):
    """The study is malformed or contradicts itself."""

    exit_code = 20


class SignatureError(StudyError):
    """A signature is missing, wrong, or made with another key."""

    exit_code = 21


class ExpiredError(StudyError):
    """The study's last day has passed."""

    exit_code = 22


class RefusalError(SkyglowError):
    """The supplier's gate said no.

    Parameters
    ----------
    message : str
        What was refused and what to do next.
    rule : str
        The name of the rule that refused, e.g. ``budget`` or ``approval``.
    """

    exit_code = 30

    def __init__(self, message: str, *, rule: str) -> None:
        super().__init__(message)
        self.rule = rule


class PolicyError(RefusalError):
    """The supplier's policy does not allow what the study asks."""

    exit_code = 31


class BudgetError(RefusalError):
    """The charge would pass the privacy budget of the supplier's policy."""

    exit_code = 32


class ApprovalError(RefusalError):
    """The study was not approved by this supplier, or was changed after it was."""

    exit_code = 33


class OrderError(RefusalError):
    """A round that is out of order, or that the approved study does not contain."""

    exit_code = 34


class ClockError(RefusalError):
    """The supplier's clock is further ahead of its ledger than it is believed, or not at the date it should be."""

    exit_code = 35


class LimitError(RefusalError):
    """A round's computation takes more time or memory than the supplier gives it; it was stopped, its charge stands."""

    exit_code = 36


class ProtocolError(SkyglowError):
    """A message is malformed, oversized, or speaks another version of the protocol."""

    exit_code = 40


class PeerError(ProtocolError):
    """What another supplier sent, by way of the office, cannot be right.

    Parameters
    ----------
    message : str
        What was wrong with it.
    peer : str
        That supplier's name on the roster.
    """

    exit_code = 41

    def __init__(self, message: str, *, peer: str = "") -> None:
        super().__init__(message)
        self.peer = peer


class LedgerError(SkyglowError):
    """The ledger fails its own checks; nothing more is charged or released from it."""

    exit_code = 50


class LedgerBusyError(LedgerError):
    """Another process holds the ledger."""

    exit_code = 51


class RollbackError(LedgerError):
    """The ledger is older, or another, than this very supplier told the others under its signature."""

    exit_code = 52


class RunError(SkyglowError):
    """A run cannot start, continue or be resumed."""

    exit_code = 60


class AttemptError(RunError):
    """Too few suppliers are left in an attempt at secure aggregation."""

    exit_code = 61


class DatabaseError(RunError):
    """The office's database is away, full, or does not let the office in; what was stored is stored."""

    exit_code = 62


class InternalError(SkyglowError):
    """A bug in skyglow. Please report it; no data is included."""

    exit_code = 70
