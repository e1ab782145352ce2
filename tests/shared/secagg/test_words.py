# SPDX-License-Identifier: Apache-2.0
"""Long vectors go through the cache part by part: what comes out is the same as without parts."""

import numpy as np
import pytest

from skyglow_shared.errors import StudyError
from skyglow_shared.privacy.randomness import ByteStream
from skyglow_shared.secagg import codec, masks

KEYS = [bytes([number]) * 32 for number in range(3)]


@pytest.mark.parametrize("bits", [3, 8, 24, 32, 40, 64])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_masks_are_the_keystreams_of_their_keys_at_any_length(bits, more):
    kind = codec.lane(bits)
    count = 2 * masks._CHUNK_BYTES // kind.itemsize + more
    vector = np.arange(count) % min(1 << (bits - 1), 99) // 3
    first, second, third = (np.frombuffer(ByteStream(key).read(count * kind.itemsize), dtype=kind) for key in KEYS)
    wanted = codec.reduce(vector.astype(kind) + first + second - third, bits)
    np.testing.assert_array_equal(masks.put_on(vector, bits, 3, plus=KEYS[:2], minus=KEYS[2:]), wanted)


@pytest.mark.parametrize("bits", [8, 24, 32, 40, 56, 64])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_sum_of_masked_vectors_without_their_masks_is_that_of_the_vectors(bits, more):
    count = 2 * masks._CHUNK_BYTES // codec.lane(bits).itemsize + more
    largest = ((1 << (bits - 1)) - 1) // 3
    drawn = np.random.default_rng(7)
    vectors = [drawn.integers(-largest, largest, count, endpoint=True) for _ in KEYS]
    packed = [
        codec.pack(masks.put_on(vector, bits, 3, plus=[key], minus=[]), bits)
        for vector, key in zip(vectors, KEYS, strict=True)
    ]
    before = [bytes(one) for one in packed]
    total = masks.taken_off(packed, count, bits, plus=[], minus=KEYS)
    assert total.dtype == np.int64
    np.testing.assert_array_equal(total, np.sum(vectors, axis=0))
    assert [bytes(one) for one in packed] == before
    assert not np.array_equal(masks.taken_off(packed, count, bits, plus=[], minus=KEYS[:2]), total)


@pytest.mark.parametrize("bits", [8, 24, 32, 40, 56, 64])
def test_long_vectors_come_back_and_their_last_number_is_checked_too(bits):
    largest = ((1 << (bits - 1)) - 1) // 3
    count = masks._CHUNK_BYTES // codec.lane(bits).itemsize + 3
    numbers = np.random.default_rng(7).integers(-largest, largest, count, endpoint=True)
    words = masks.put_on(numbers, bits, 3, plus=[], minus=[])
    packed = codec.pack(words, bits)
    assert packed.readonly
    assert packed == b"".join(int(word).to_bytes(bits // 8, "little") for word in words)
    np.testing.assert_array_equal(masks.taken_off([packed], count, bits, plus=[], minus=[]), numbers)
    for wrong in (-largest - 1, largest + 1):
        numbers[-1] = wrong
        with pytest.raises(StudyError):
            masks.put_on(numbers, bits, 3, plus=[], minus=[])
