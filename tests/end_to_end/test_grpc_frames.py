# SPDX-License-Identifier: Apache-2.0
"""Messages are cut into frames and put together again, and nothing else is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from skyglow_shared import link
from skyglow_shared.errors import FormatError, ProtocolError
from skyglow_shared.link import Assembly, Part

SIZES = (0, 1, link.PART_BYTES - 1, link.PART_BYTES, link.PART_BYTES + 1, 3 * link.PART_BYTES)


@pytest.mark.parametrize("size", SIZES)
def test_a_message_of_any_size_arrives_whole(size):
    message = bytes(range(256)) * (size // 256 + 1)
    assembly = Assembly()
    frames = list(link.parts(9, message[:size]))
    assert all(len(frame) <= link.FRAME_BYTES for frame in frames)
    whole = [assembly.add(link.decode(frame)) for frame in frames]
    assert whole[-1] == message[:size]
    assert whole[:-1] == [None] * (len(frames) - 1)


def test_messages_follow_one_another():
    assembly = Assembly()
    for number in range(5):
        (frame,) = link.parts(number, b"m" * number)
        assert assembly.add(link.decode(frame)) == b"m" * number


def test_a_message_may_not_interrupt_another():
    assembly = Assembly()
    assembly.add(Part(1, False, bytes(link.PART_BYTES)))
    with pytest.raises(ProtocolError, match="begun before"):
        assembly.add(Part(2, True, b""))


def test_no_more_is_held_than_the_largest_message(monkeypatch):
    monkeypatch.setattr(link, "MAX_MESSAGE_BYTES", 2 * link.PART_BYTES)
    assembly = Assembly()
    for _ in range(2):
        assembly.add(Part(1, False, bytes(link.PART_BYTES)))
    with pytest.raises(ProtocolError, match="at most"):
        assembly.add(Part(1, True, b"1"))
    assert sum(map(len, assembly.pieces)) <= link.MAX_MESSAGE_BYTES


@pytest.mark.parametrize("body", [b"", b"short", bytes(link.PART_BYTES - 1)])
def test_only_a_last_part_may_be_short(body):
    with pytest.raises(ProtocolError, match="another size"):
        Assembly().add(Part(1, False, body))


@given(some.binary(max_size=200))
def test_noise_is_a_protocol_error_or_a_frame(noise):
    try:
        found = link.decode(noise)
    except ProtocolError:
        return
    assert isinstance(found, link.Frame)


@pytest.mark.parametrize("address", ["", "host", "host:", ":1", "host:port", "a b:1", 'h"\n:1', "h:123456", "h:1\n"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(FormatError, match="host and a port"):
        link.check_address(address)


@pytest.mark.parametrize("name", ["", "North", "../up", "a/b", "x" * 65, "n\n"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(FormatError, match="name"):
        link.check_name(name)


@pytest.mark.parametrize("key", ["", "0b" * 31, "0B" * 32, "0g" * 32, "0b" * 32 + "\n"])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(FormatError, match="64 hex digits"):
        link.check_key(key)
