# SPDX-License-Identifier: Apache-2.0
"""Where suppliers' ledgers stood, as far as an office is told: what they advertised in secure aggregation.

A supplier that begins an attempt at a round says under its signature how many entries its ledger has and the digest
that chains them, for the other suppliers to be its witnesses; the round is charged by then. In trust mode ``local``
nobody says anything of a ledger.
"""

from skyglow_server.checkpoints import Checkpoints
from skyglow_shared.errors import ProtocolError
from skyglow_shared.messages import StepReply, open_reply
from skyglow_shared.secagg.ledger_heads import Head
from skyglow_shared.secagg.messages import Advertisement, decode_reply
from skyglow_shared.study import Study, digest

_STEP = "advertise"


def advertised(study: Study, checkpoints: Checkpoints) -> dict[str, Head]:
    """The last head that each supplier advertised within a study, by name; of those that advertised none, nothing.

    Raises
    ------
    FormatError, DatabaseError
        The checkpoints cannot be read.
    ProtocolError, SignatureError
        A stored reply is not what its supplier signed.
    """
    if study.aggregation is None:
        return {}
    keys = {supplier.name: supplier.public_key for supplier in study.suppliers}
    found: dict[str, Head] = {}
    for place in reversed(checkpoints.places(digest(study))):
        missing = keys.keys() - found.keys()
        if not missing:
            break
        replies = checkpoints.load(place) or {} if place.step == _STEP else {}
        for name in missing & replies.keys():
            reply = open_reply(replies[name], name, keys[name])
            if isinstance(reply, StepReply) and (head := _head(reply, name, keys[name])):
                found[name] = head
    return found


def _head(reply: StepReply, name: str, public_key: str) -> Head | None:
    """The head that a stored answer advertises; None if it was an answer that nobody could use."""
    try:
        content = decode_reply(reply.content)
    except ProtocolError:
        return None
    if not isinstance(content, Advertisement) or content.sender != name:
        return None
    content.seen().verify(public_key, what=f"the advertisement of {name}")
    return content.seen().head
