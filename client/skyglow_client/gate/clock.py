# SPDX-License-Identifier: Apache-2.0
"""The time by a ledger: a machine's clock is believed forwards, and not far, and only a person frees budget by it.

A clock can be wrong, or be made wrong by whoever answers for the time on the network. So that it can neither end a
study nor free what was charged:

- A clock that went back is held at the stamp of the ledger's last entry.
- A clock that is more than `BELIEVED` after that entry is not believed: nothing is decided, charged or sealed until it
  is put right, or a person has confirmed the date (``skyglow supplier ledger accept-clock``). What was sealed is still
  sent again. A supplier that was idle for so long is asked once.
- Studies leave the policy's window by the date that a person confirmed last, or else by the ledger's first entry. No
  clock moves that date, nor do entries, of which an office can cause as many as it likes.
"""

from datetime import UTC, date, datetime, timedelta

from skyglow_shared.errors import ClockError

#: How long a ledger may be without an entry before its clock needs a person's word.
BELIEVED = timedelta(days=31)

_A_DAY = timedelta(days=1)  # dates are told in local time, and kept in UTC


def utc_now() -> datetime:
    """The time by the machine's clock."""
    return datetime.now(UTC)


def stamp(time: datetime) -> str:
    """A time as entries have it: UTC, whole seconds, ISO 8601; stamps compare as text."""
    return time.astimezone(UTC).isoformat(timespec="seconds")


def believed(clock: datetime, last: datetime) -> datetime:
    """What the time is when the clock says `clock` and the ledger's last entry was made at `last`.

    Raises
    ------
    ClockError
        The clock is further ahead than it is believed.
    """
    if clock - last > BELIEVED:
        raise ClockError(
            f"by the clock it is more than {BELIEVED.days} days since this ledger's last entry; nothing new is "
            "answered until a person at this supplier puts the clock right, or confirms today's date with "
            "`skyglow supplier ledger accept-clock`",
            rule="clock",
        )
    return max(clock, last)


def check_date(clock: datetime, today: date) -> None:
    """ClockError unless the clock shows the date that a person says it is, give or take a day for time zones."""
    if abs(clock.date() - today) > _A_DAY:
        raise ClockError(f"this machine's clock is not at {today}; put it right, then try again", rule="clock")
