# SPDX-License-Identifier: Apache-2.0
"""Long vectors go through the cache part by part: what comes out is the same as without parts."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from skyglow_shared.errors import StudyError
from skyglow_shared.secagg import codec, masks

KEYS = [bytes([number]) * 32 for number in range(3)]
OWN = [bytes([number]) * 32 for number in range(3, 6)]


def keystream(key, size):
    """AES-256-CTR, from the second block on."""
    return Cipher(algorithms.AES(key), modes.CTR((2).to_bytes(16, "big"))).encryptor().update(bytes(size))


@pytest.mark.parametrize("way", masks._WAYS, ids=["GCM", "CTR"])
@pytest.mark.parametrize("bits", [3, 8, 24, 32, 40, 64])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_masks_are_the_keystreams_of_their_keys_at_any_length(monkeypatch, bits, more, way):
    """The own one is that of the packed words, whatever the parts they were put on in, and by either way to them."""
    monkeypatch.setattr(masks, "_fastest", lambda: way)
    kind, width = codec.lane(bits), codec.width(bits)
    count = 2 * masks._CHUNK_BYTES // kind.itemsize + more
    vector = np.arange(count) % min(1 << (bits - 1), 99) // 3
    second, third = (np.frombuffer(keystream(key, count * kind.itemsize), dtype=kind) for key in KEYS[1:])
    words = codec.reduce(vector.astype(kind) + second - third, bits)
    packed = np.frombuffer(b"".join(int(word).to_bytes(width, "little") for word in words), np.uint8)
    wanted = packed ^ np.frombuffer(keystream(KEYS[0], packed.size), np.uint8)
    found = masks.put_on(vector, bits, 3, own=KEYS[0], plus=KEYS[1:2], minus=KEYS[2:])
    assert found.readonly
    np.testing.assert_array_equal(np.frombuffer(found, np.uint8), wanted)


@pytest.mark.parametrize("bits", [8, 24, 32, 40, 56, 64])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_sum_of_masked_vectors_without_their_masks_is_that_of_the_vectors(bits, more):
    count = 2 * masks._CHUNK_BYTES // codec.lane(bits).itemsize + more
    largest = ((1 << (bits - 1)) - 1) // 3
    drawn = np.random.default_rng(7)
    vectors = [drawn.integers(-largest, largest, count, endpoint=True) for _ in KEYS]
    plus, minus = [[KEYS[1]], [KEYS[0]], []], [[], [], [KEYS[1]]]
    packed = [
        masks.put_on(vector, bits, 3, own=key, plus=added, minus=subtracted)
        for vector, key, added, subtracted in zip(vectors, OWN, plus, minus, strict=True)
    ]
    before = [bytes(one) for one in packed]
    total = masks.taken_off(packed, OWN, count, bits, plus=[], minus=KEYS[:1])
    assert total.dtype == np.int64
    np.testing.assert_array_equal(total, np.sum(vectors, axis=0))
    assert [bytes(one) for one in packed] == before
    assert not np.array_equal(masks.taken_off(packed, OWN, count, bits, plus=[], minus=[]), total)
    assert not np.array_equal(masks.taken_off(packed, OWN[::-1], count, bits, plus=[], minus=KEYS[:1]), total)


@pytest.mark.parametrize("bits", [8, 24, 32, 40, 56, 64])
def test_long_vectors_come_back_and_their_last_number_is_checked_too(bits):
    largest = ((1 << (bits - 1)) - 1) // 3
    count = masks._CHUNK_BYTES // codec.lane(bits).itemsize + 3
    numbers = np.random.default_rng(7).integers(-largest, largest, count, endpoint=True)
    packed = masks.put_on(numbers, bits, 3, own=OWN[0], plus=[], minus=[])
    np.testing.assert_array_equal(masks.taken_off([packed], OWN[:1], count, bits, plus=[], minus=[]), numbers)
    for wrong in (-largest - 1, largest + 1):
        numbers[-1] = wrong
        with pytest.raises(StudyError):
            masks.put_on(numbers, bits, 3, own=OWN[0], plus=[], minus=[])


@given(st.integers(1, 20 * masks._CHUNK_BYTES), st.sampled_from([1, 2, 4, 8]))
def test_parts_are_all_of_a_vector_and_none_is_larger_than_its_room(count, width):
    spans = list(masks._spans(count, width))
    assert [span.start for span in spans[1:]] == [span.stop for span in spans[:-1]]
    assert (spans[0].start, spans[-1].stop) == (0, count)
    assert max(span.stop - span.start for span in spans) * width + 16 <= masks._MOST_BYTES


def test_a_process_takes_the_way_that_takes_less_time(monkeypatch):
    assert masks._fastest() in masks._WAYS
    for quicker in masks._WAYS:
        monkeypatch.setattr(masks, "_seconds", {way: float(way is not quicker) for way in masks._WAYS}.__getitem__)
        assert masks._fastest.__wrapped__() is quicker


def test_nothing_of_a_mask_stays_in_the_room_that_is_used_again():
    for count in (5, 100_000, 5):
        masks.put_on(np.arange(count), 32, 3, own=OWN[0], plus=KEYS, minus=[])
        assert not any(room.any() for room in masks._rooms)
    with pytest.raises(StudyError):
        masks.put_on(np.array([0] * 99_999 + [2**40]), 32, 3, own=OWN[0], plus=KEYS, minus=[])
    assert masks._rooms
    assert not any(room.any() for room in masks._rooms)


def test_two_threads_have_a_room_each():
    vector, wanted = np.arange(300_000), masks.put_on(np.arange(300_000), 32, 3, own=OWN[0], plus=KEYS, minus=[])
    with ThreadPoolExecutor(2) as threads:
        found = [threads.submit(masks.put_on, vector, 32, 3, own=OWN[0], plus=KEYS, minus=[]) for _ in range(8)]
    assert all(bytes(each.result()) == bytes(wanted) for each in found)
