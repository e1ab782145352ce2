# SPDX-License-Identifier: Apache-2.0
"""Fuzz every decoder that bytes from outside reach, guided by coverage; ten minutes by default.

It needs atheris, which is no dependency of anything here::

    python -m venv fuzz && fuzz/bin/pip install atheris -e ./shared
    fuzz/bin/python tools/fuzz_messages.py -max_total_time=600

What stands after the script's name goes to libFuzzer; a folder there is a corpus. Half of the inputs are also signed
with the office's and a supplier's key, so that what lies behind a signature is reached. Anything but an error of
skyglow's own tree ends the run, and libFuzzer writes the input that did it.
"""

import sys
import tempfile
from pathlib import Path

try:
    import atheris
except ImportError:
    sys.exit("atheris is not installed: pip install atheris (Linux, CPython 3.11 to 3.13)")

with atheris.instrument_imports(include=["skyglow_shared"]):
    from skyglow_shared import audit, messages, signing
    from skyglow_shared.errors import SkyglowError
    from skyglow_shared.secagg import messages as steps
    from skyglow_shared.soundness import decode_study

import msgspec

from skyglow_shared.signing import Identity

_OFFICE, _NORTH = Identity.generate(), Identity.generate()
_BOOK = Path(tempfile.mkdtemp()) / "book.jsonl"


def _signed(body: bytes, sender: str, identity: Identity, domain: bytes) -> bytes:
    return msgspec.msgpack.encode(messages.Envelope(messages.VERSION, sender, body, identity.sign(domain, body)))


def _book(content: bytes) -> None:
    _BOOK.write_bytes(content)
    audit.read(_BOOK, audit.OFFICE)


_TARGETS = (
    lambda content: messages.open_request(content, _OFFICE.public_key),
    lambda content: messages.open_reply(content, "north", _NORTH.public_key),
    lambda content: messages.open_request(_signed(content, "office", _OFFICE, signing.REQUEST), _OFFICE.public_key),
    lambda content: messages.open_reply(_signed(content, "north", _NORTH, signing.REPLY), "north", _NORTH.public_key),
    steps.decode_reply,
    steps.decode_request,
    decode_study,
    lambda content: messages.decode_weights(content, 23),
    lambda content: messages.decode_integers(content, (3, 2)),
    _book,
)


def one_input(content: bytes) -> None:
    """Give the bytes after the first to the decoder that the first one chooses."""
    if not content:
        return
    try:
        _TARGETS[content[0] % len(_TARGETS)](content[1:])
    except SkyglowError:
        return


def seeds() -> Path:
    """A folder of sound messages to begin from, each for the decoder that takes it."""
    place = {"study": "ab" * 32, "phase": "training", "round": 3}
    step = steps.SurvivorSet(session=bytes(32), survivors=("north",), dropped=())
    bodies = (
        (2, messages.RoundRequest(**place, weights={"model": bytes(16)})),
        (2, messages.StepRequest(**place, attempt=1, content=steps.encode(step))),
        (2, messages.StudyRequest(study=b"{}", signature=bytes(64))),
        (3, messages.Share(**place, attempt=0, step="share", supplier="north", blocks={"gradient": bytes(16)})),
        (3, messages.Refusal(code=31, rule="features", message="no")),
        (5, step),
    )
    folder = Path(tempfile.mkdtemp())
    for number, (target, body) in enumerate(bodies):
        (folder / str(number)).write_bytes(bytes([target]) + msgspec.msgpack.encode(body))
    audit.write(_BOOK, [audit.link(audit.OFFICE, 1, "reply", {"a": 1}, "")])
    (folder / "book").write_bytes(bytes([len(_TARGETS) - 1]) + _BOOK.read_bytes())
    return folder


if __name__ == "__main__":
    limited = any("-max_total_time" in word for word in sys.argv)
    arguments = [*sys.argv, str(seeds()), *([] if limited else ["-max_total_time=600"])]
    atheris.Setup(arguments, one_input)
    atheris.Fuzz()
