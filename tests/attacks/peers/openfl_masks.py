# SPDX-License-Identifier: Apache-2.0
"""OpenFL's aggregator is sent every share of every secret before training, and takes a collaborator's masks off."""

import json
import threading
import time
from types import SimpleNamespace

import numpy as np
from openfl.callbacks.secure_aggregation import SecAggBootstrapping
from openfl.component.collaborator.collaborator import Collaborator
from openfl.databases import TensorDB
from openfl.utilities import TensorKey
from openfl.utilities.secagg import calculate_shared_mask, pseudo_random_generator
from openfl.utilities.secagg.bootstrap import SecAggSetup

NAMES = ["north", "south", "west"]
VICTIM = "south"
TAGS = ("secagg",)


class Aggregator:
    """OpenFL's own set-up of secure aggregation behind the two calls that a collaborator makes."""

    def __init__(self):
        self.database, self.turn = TensorDB(), threading.Lock()
        self.setup = SecAggSetup("agg", NAMES, self.database)

    def send_local_task_results(self, round_number, task, size, tensors):
        with self.turn:
            self.setup.process_secagg_setup_tensors(tensors)

    def get_aggregated_tensor(self, name, round_number, report, tags, lossless):
        while True:
            with self.turn:
                found = self.read(name)
            if found is not None:
                return SimpleNamespace(data_bytes=json.dumps(found.tolist()).encode())
            time.sleep(0.01)

    def read(self, name):
        return self.database.get_tensor_from_cache(TensorKey(name, "agg", -1, False, TAGS))


def collaborate(name, aggregator, databases):
    """What a collaborator does when an experiment begins."""
    callback = SecAggBootstrapping()
    callback.set_params({"origin": name, "client": aggregator})
    callback.set_tensor_db(databases[name])
    callback.on_experiment_begin()


aggregator, databases = Aggregator(), {name: TensorDB() for name in NAMES}
threads = [threading.Thread(target=collaborate, args=(name, aggregator, databases), daemon=True) for name in NAMES]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(60)

vector = np.random.default_rng(3).normal(size=50)
tensors = {TensorKey("weights", VICTIM, 0, False, ("trained",)): vector.copy()}
victim = SimpleNamespace(_private_mask=None, _shared_mask=None, tensor_db=databases[VICTIM], collaborator_name=VICTIM)
Collaborator._apply_masks(victim, tensors)
(sent,) = tensors.values()

learned = aggregator.setup._results  # what the aggregator itself works out at set-up
place = learned["index"][VICTIM]
agreed = [entry for entry in learned["agreed_keys"] if entry[0] == place]
found = sent - pseudo_random_generator(learned["private_seeds"][place]) - calculate_shared_mask(agreed)
error, masked = (float(np.abs(each - vector).max()) for each in (found, sent))
distinct = len(set(np.round(sent - vector, 9)))
print(json.dumps({"succeeded": error < 1e-9 < masked, "largest_error": error, "distinct_mask_values": distinct}))
