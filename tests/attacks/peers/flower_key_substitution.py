# SPDX-License-Identifier: Apache-2.0
"""The server hands one node keys of its own in place of the other nodes', and so reads all that it shares."""

import json

import numpy as np
from flower_node import THRESHOLD, town, unmasked
from flwr.common.secure_aggregation.crypto.shamir import combine_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import decrypt, encrypt, generate_shared_key
from flwr.common.secure_aggregation.secaggplus_constants import Key, Stage
from flwr.common.secure_aggregation.secaggplus_utils import share_keys_plaintext_concat, share_keys_plaintext_separate
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, generate_key_pairs, public_key_to_bytes

VICTIM = 2
nodes = town(2)
own = nodes[VICTIM].set_up(len(nodes))
invented = {number: (generate_key_pairs(), generate_key_pairs()) for number in nodes if number != VICTIM}
public = {number: [public_key_to_bytes(pair[1]) for pair in pairs] for number, pairs in invented.items()}
reply = nodes[VICTIM].ask(Stage.SHARE_KEYS, {str(number): pair for number, pair in {**public, VICTIM: own}.items()})
seeds, secrets, sources, ciphertexts = [], [], [], []
for number, text in zip(reply[Key.DESTINATION_LIST], reply[Key.CIPHERTEXT_LIST], strict=True):
    shared = generate_shared_key(invented[number][1][0], bytes_to_public_key(own[1]))
    _, _, seed_share, secret_share = share_keys_plaintext_separate(decrypt(shared, text))
    seeds.append(seed_share)
    secrets.append(secret_share)
    sources.append(number)
    ciphertexts.append(encrypt(shared, share_keys_plaintext_concat(number, VICTIM, seed_share, secret_share)))
masked = nodes[VICTIM].masked(sources, ciphertexts)
seed, secret = (combine_shares(shares[:THRESHOLD]) for shares in (seeds, secrets))
found = unmasked(masked, VICTIM, seed, secret, {number: pair[0] for number, pair in public.items()})
error = float(np.abs(found - nodes[VICTIM].vector).max())
print(json.dumps({"succeeded": error < 1e-4, "largest_error": error}))
