# SPDX-License-Identifier: Apache-2.0
"""Fuzz every decoder that bytes from outside reach, guided by coverage; ten minutes by default.

It needs atheris, which is no dependency of anything here::

    python -m venv fuzz && fuzz/bin/pip install atheris -e ./shared
    fuzz/bin/python tools/fuzz_messages.py -max_total_time=600

What stands after the script's name goes to libFuzzer; a folder there is a corpus. It begins from a message of every
kind. Some inputs are signed with the office's or a supplier's key first, so that what lies behind a signature is
reached; half of all changes are of one value within what an input decodes to, so that what lies behind a decoder is.
Anything but an error of skyglow's own tree ends the run, and libFuzzer writes the input that did it.
"""

import random
import re
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
import msgspec.inspect as shapes

from skyglow_shared.signing import Identity
from skyglow_shared.study import Study, canonical_bytes
from skyglow_shared.vocabulary import LEGAL_GATEWAYS

_OFFICE, _NORTH = Identity.generate(), Identity.generate()
_BOOK = Path(tempfile.mkdtemp()) / "book.jsonl"
_TEXTS = ("north", "ab" * 32, "E01000001", "E02000001", "E06000001", LEGAL_GATEWAYS[-1])
_ODD: tuple[object, ...] = (
    None, True, -1, 0, 1, 2**63, 2**64 - 1, -(2**63), 0.0, -0.0, 1e308, float("nan"), float("inf"), "", "\0", "north",
    "ab" * 32, "../..", "2026-03-09", "9999-12-31", "local", b"", bytes(32), bytes(64), b"\xff" * 300, [], {}, [[]],
)  # fmt: skip


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


def _sample(shape: shapes.Type) -> object:  # noqa: PLR0911 - one for each kind of type
    """Plain data of a type, as small as its limits allow."""
    match shape:
        case shapes.StrType(pattern=pattern):
            return next(text for text in _TEXTS if pattern is None or re.match(pattern, text))
        case shapes.BytesType(min_length=least):
            return bytes(least or 16)
        case shapes.IntType(ge=least, gt=below):
            return least if least is not None else 0 if below is None else below + 1
        case shapes.FloatType(ge=least):
            return least or 0.0005
        case shapes.DateType():
            return "2026-03-09"
        case shapes.LiteralType(values=values):
            return values[0]
        case shapes.VarTupleType(item_type=item) | shapes.ListType(item_type=item):
            return [_sample(item)]
        case shapes.DictType(key_type=key, value_type=value):
            return {_sample(key): _sample(value)}
        case shapes.UnionType(types=types):
            return _sample(next(one for one in types if not isinstance(one, shapes.NoneType)))
        case shapes.StructType() if shape.array_like:
            return [_sample(field.type) for field in shape.fields]
        case shapes.StructType():
            tag = {shape.tag_field: shape.tag} if shape.tag_field else {}
            return tag | {field.encode_name: _sample(field.type) for field in shape.fields}
        case _:
            raise NotImplementedError(type(shape).__name__)


def _samples(kinds: object) -> list[object]:
    found = shapes.type_info(kinds)
    return [_sample(one) for one in (found.types if isinstance(found, shapes.UnionType) else (found,))]


def seeds() -> Path:
    """A folder with a message of every kind to begin from, each for the decoder that takes it."""
    kinds = ((2, messages.Request), (3, messages.Reply), (4, steps.FromSupplier), (5, steps.FromOffice))
    inputs = [(target, msgspec.msgpack.encode(one)) for target, kind in kinds for one in _samples(kind)]
    inputs += [(6, canonical_bytes(msgspec.convert(one, Study))) for one in _samples(Study)]
    inputs += [(0, _signed(inputs[0][1], "office", _OFFICE, signing.REQUEST)), (7, bytes(8 * 23)), (8, bytes(8 * 6))]
    audit.write(_BOOK, [audit.link(audit.OFFICE, 1, "reply", {"a": 1}, "")])
    folder = Path(tempfile.mkdtemp())
    for number, (target, content) in enumerate([*inputs, (len(_TARGETS) - 1, _BOOK.read_bytes())]):
        (folder / str(number)).write_bytes(bytes([target]) + content)
    return folder


def _changed(tree: object, rng: random.Random) -> object:
    """A tree with one of its values replaced by an odd one, left out, or put in twice."""
    if isinstance(tree, dict | list) and tree and rng.random() < 0.8:
        copy = list(tree.items()) if isinstance(tree, dict) else [(None, one) for one in tree]
        place = rng.randrange(len(copy))
        key, value = copy[place]
        copy[place : place + 1] = [[(key, _changed(value, rng))], [], copy[place : place + 1] * 2][
            rng.choice((0, 0, 0, 1, 2))
        ]
        return dict(copy) if isinstance(tree, dict) else [one for _, one in copy]
    return rng.choice(_ODD)


def mutated(content: bytes, most: int, seed: int) -> bytes:
    """Another input: half of the time by libFuzzer's own ways, half by changing a value of what it decodes to."""
    rng = random.Random(seed)  # noqa: S311 - of inputs, not of secrets
    if len(content) > 1 and rng.random() < 0.5:
        coding = msgspec.json if content[1:2] == b"{" else msgspec.msgpack
        try:
            return (content[:1] + coding.encode(_changed(coding.decode(content[1:]), rng), order="sorted"))[:most]
        except (msgspec.MsgspecError, TypeError, UnicodeError, RecursionError, OverflowError, ValueError):
            pass
    return bytes(atheris.Mutate(content, most))


if __name__ == "__main__":
    limited = any("-max_total_time" in word for word in sys.argv)
    arguments = [*sys.argv, str(seeds()), *([] if limited else ["-max_total_time=600"])]
    atheris.Setup(arguments, one_input, custom_mutator=mutated)
    atheris.Fuzz()
