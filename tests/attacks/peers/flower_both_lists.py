# SPDX-License-Identifier: Apache-2.0
"""The server names one node both active and dropped, and so gets both of its secrets from everybody else."""

import json

import numpy as np
from flower_node import THRESHOLD, town, unmasked
from flwr.common.secure_aggregation.crypto.shamir import combine_shares
from flwr.common.secure_aggregation.secaggplus_constants import Key, Stage

VICTIM = 2
nodes = town(1)
keys = {number: node.set_up(len(nodes)) for number, node in nodes.items()}
sealed = {number: [] for number in nodes}
for source, node in nodes.items():
    reply = node.ask(Stage.SHARE_KEYS, {str(number): pair for number, pair in keys.items()})
    for recipient, text in zip(reply[Key.DESTINATION_LIST], reply[Key.CIPHERTEXT_LIST], strict=True):
        sealed[recipient].append((source, text))
masked = {
    number: node.masked([source for source, _ in sealed[number]], [text for _, text in sealed[number]])
    for number, node in nodes.items()
}
seeds, secrets = [], []
for number, node in nodes.items():
    if number != VICTIM:
        lists = {Key.ACTIVE_NODE_ID_LIST: list(nodes), Key.DEAD_NODE_ID_LIST: [VICTIM]}
        reply = node.ask(Stage.UNMASK, lists)
        given = list(zip(reply[Key.NODE_ID_LIST], reply[Key.SHARE_LIST], strict=True))
        seeds.append(dict(given[:-1])[VICTIM])
        secrets.append(given[-1][1])
public = {number: pair[0] for number, pair in keys.items() if number != VICTIM}
seed, secret = (combine_shares(shares[:THRESHOLD]) for shares in (seeds, secrets))
found = unmasked(masked[VICTIM], VICTIM, seed, secret, public)
error = float(np.abs(found - nodes[VICTIM].vector).max())
print(json.dumps({"succeeded": error < 1e-4, "largest_error": error}))
