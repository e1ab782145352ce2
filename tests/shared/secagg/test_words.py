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
    words = codec.reduce(np.arange(count).astype(kind), bits)
    first, second, third = (np.frombuffer(ByteStream(key).read(count * kind.itemsize), dtype=kind) for key in KEYS)
    wanted = codec.reduce(words + first + second - third, bits)
    np.testing.assert_array_equal(masks.apply(words, bits, plus=KEYS[:2], minus=KEYS[2:]), wanted)
    np.testing.assert_array_equal(words, wanted)


@pytest.mark.parametrize("bits", [8, 24, 32, 40, 56, 64])
def test_long_vectors_come_back_and_their_last_number_is_checked_too(bits):
    largest = ((1 << (bits - 1)) - 1) // 3
    numbers = np.random.default_rng(7).integers(-largest, largest, 2 * codec._CHUNK + 3, endpoint=True)
    words = codec.encode(numbers, bits, 3)
    packed = codec.pack(words, bits)
    assert packed == b"".join(int(word).to_bytes(bits // 8, "little") for word in words)
    unpacked = codec.unpack(packed, numbers.size, bits)
    np.testing.assert_array_equal(codec.decode(unpacked, bits), numbers)
    with pytest.raises(ValueError, match="read-only"):
        unpacked += unpacked.dtype.type(1)
    for wrong in (-largest - 1, largest + 1):
        numbers[-1] = wrong
        with pytest.raises(StudyError):
            codec.encode(numbers, bits, 3)
