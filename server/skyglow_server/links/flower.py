# SPDX-License-Identifier: Apache-2.0
"""Flower as a carrier: the messages that the office sends and reads.

Where they go is said by `flower_engine` (simulation, on Ray) and `flower_superlink` (deployment); no other module of
the server knows Flower. Bytes go out in one message a supplier and come back in one; the message types are described in
`skyglow_client.links.flower`, the other end. Nothing here reports home.
"""

import os

from skyglow_shared.errors import RunError

SILENT = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "RAY_USAGE_STATS_ENABLED": "0"}
os.environ.update(SILENT)  # Flower and Ray read these while they are imported

try:
    from flwr.app import ConfigRecord, Message, RecordDict
    from flwr.supercore import telemetry
except ImportError as error:
    raise RunError("Flower is not installed here; install it with: pip install 'skyglow[flower]'") from error

telemetry.FLWR_TELEMETRY_ENABLED = "0"  # Flower may have been imported before this module could say so
_RECORD = "skyglow"


def message(node: int, kind: str, body: bytes = b"", ttl: float | None = None) -> Message:
    """A message to a node; nobody reads it after `ttl` seconds."""
    return Message(RecordDict({_RECORD: ConfigRecord({"body": body})}), node, kind, ttl=ttl)


def content(reply: Message, key: str) -> object:
    """One field of a reply's record, None if there is none."""
    if reply.has_error():
        return None
    record = reply.content.config_records.get(_RECORD)
    return None if record is None else record.get(key)


def trouble(reply: Message) -> str:
    """Name what went wrong without repeating a text that came over the wire."""
    if reply.has_error():
        return f"error {int(reply.error.code)} of Flower's"
    named = content(reply, "error")
    return named if isinstance(named, str) and named.isidentifier() else "an error without a name"
