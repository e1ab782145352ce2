# SPDX-License-Identifier: Apache-2.0
"""Many studies of the same homes at once: what suppliers would send, to the number, and what the office makes of it.

A real run charges, seals, signs and masks every share; a sweep over hundreds of studies has no use for that. Here the
shares are computed from the same samples, with the same clipping, grid and noise, by the client's own code; only the
gradients are not, whose products are taken for all studies at once. The sums are those of a real run with the same
seed, up to a grid step where the last bit of a gradient differs. Masks cancel, so that trust mode ``aggregate`` has the
sum of the shares too, each with its smaller part of the noise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyglow_client.gate.aggregation import share_request
from skyglow_client.gate.rounds import label, noised, sampler_for
from skyglow_client.learning.contributions import labels
from skyglow_client.learning.homes import Homes, calibrates
from skyglow_server.coordinator import Outcome, Training, advance, parameters
from skyglow_server.sums import block_sums
from skyglow_shared.aggregation import joined
from skyglow_shared.layout import column_weights, share_block
from skyglow_shared.messages import RoundRequest, encode_integers
from skyglow_shared.privacy.randomness import KEY_BYTES, ByteStream, Randomness
from skyglow_shared.privacy.release import add_noise, grouped_sum
from skyglow_shared.study import Block, Study, digest
from skyglow_simulations.stacked.device import device_named

Array = NDArray[np.float64]
Weights = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Party:
    """One supplier's homes, and where its samples and noise come from."""

    name: str
    homes: Homes
    randomness: Randomness


@dataclass(frozen=True, slots=True)
class _Crowd:
    """One supplier in all studies.

    Attributes
    ----------
    party : Party
    homes : sequence of Homes
        The party's, divided in halves as each study divides them.
    digests : sequence of str
        The studies'.
    panel : ndarray of int64, shape (panel homes,)
        Rows of the homes that train in one study or another.
    inputs : mapping of model name to ndarray, shape (panel homes, features + 1)
        Features beside a one.
    factors, truths : mapping of model name to Tensor of float64, shapes (panel homes, features + 1), (panel homes, 1)
        The same, and labels, on the device.
    """

    party: Party
    homes: Sequence[Homes]
    digests: Sequence[str]
    panel: NDArray[np.int64]
    inputs: Mapping[str, Array]
    factors: Mapping[str, Tensor]
    truths: Mapping[str, Tensor]

    @classmethod
    def of(cls, party: Party, studies: Sequence[Study], digests: Sequence[str], where: torch.device) -> "_Crowd":
        """Divide a party's homes once a study, and lay its panel out for products on a device."""
        halves = [calibrates(study, party.homes.pseudonyms) for study in studies]
        panel = np.flatnonzero(party.homes.metered & (party.homes.composition >= 0))
        ones = np.ones((len(panel), 1))
        models = studies[0].answer_models
        inputs = {model.name: np.hstack([party.homes.x[model.name][panel], ones]) for model in models}
        truths = {model.name: labels(model, party.homes.answered(model.question)[panel])[:, None] for model in models}
        return cls(
            party,
            [replace(party.homes, calibrates=half) for half in halves],
            digests,
            panel,
            inputs,
            {name: torch.from_numpy(values).to(where) for name, values in inputs.items()},
            {name: torch.from_numpy(values).to(where) for name, values in truths.items()},
        )

    def slopes(self, model: str, weights: Sequence[Weights]) -> Array:
        """Derivative of each panel home's loss by its logit in every study, shape (panel homes, studies)."""
        factors = self.factors[model]
        logits = factors @ torch.from_numpy(np.stack([own[model] for own in weights], axis=1)).to(factors.device)
        return logits.sigmoid_().sub_(self.truths[model]).cpu().numpy()

    def trainers(self, study: int, sample: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which of the panel train in a round of a study, shape (panel homes,)."""
        return sample[self.panel] & ~self.homes[study].calibrates[self.panel]


def rehearse(studies: Sequence[Study], parties: Sequence[Party], device: str = "cpu") -> list[Outcome]:
    """Run studies to their end.

    Parameters
    ----------
    studies : sequence of Study
        Alike in everything but trust mode and noise.
    parties : sequence of Party
        The roster's suppliers.
    device : str
        Where the products of all studies are taken, in float64: ``cpu``, or a device that has it, such as ``cuda``.

    Returns
    -------
    list of Outcome, one a study

    Raises
    ------
    RunError
        There is no such device.

    Notes
    -----
    For simulation only: everybody's homes are in one place, and nothing is charged. Samples, clipping, grid and noise
    are the client's own code, on the processor whatever the device.
    """
    where = device_named(device)
    digests = [digest(study) for study in studies]
    crowds = [_Crowd.of(party, studies, digests, where) for party in parties]
    outcomes = [Outcome({model.name: Training.start(model) for model in study.models}) for study in studies]
    for place, common in enumerate(studies[0].phases):
        phases = [study.phases[place] for study in studies]
        for round_ in range(common.rounds):
            weights = [parameters(*pair) for pair in zip(phases, outcomes, strict=True)]
            totals = np.sum([_shares(crowd, studies, place, round_, weights) for crowd in crowds], axis=0)
            outcomes = [
                advance(study, phase, round_, outcome, block_sums(study, phase, total, len(parties), 0))
                for study, phase, outcome, total in zip(studies, phases, outcomes, totals, strict=True)
            ]
    return outcomes


def _shares(
    crowd: _Crowd, studies: Sequence[Study], place: int, round_: int, weights: Sequence[Weights]
) -> NDArray[np.int64]:
    """One supplier's shares of a round of every study, on the blocks' grids, shape (studies, numbers of a round)."""
    slopes = {
        name: crowd.slopes(name, weights)
        for block in studies[0].phases[place].blocks
        if _linear(studies[0], block)
        for name in block.models
    }
    shares = []
    for number, study in enumerate(studies):
        phase = study.phases[place]
        request = RoundRequest(study=crowd.digests[number], phase=phase.name, round=round_, weights={})
        named = label(share_request(request))
        sampler = sampler_for(study, phase)
        first = msgspec.structs.replace(request, round=round_ - round_ % sampler.epoch)
        secret = crowd.party.randomness.stream("sample", *label(share_request(first))).read(KEY_BYTES)
        sample = sampler.members(secret, crowd.party.homes.pseudonyms, round_)
        blocks = {}
        for block in phase.blocks:
            stream = crowd.party.randomness.stream("noise", *named, block.name)
            if _linear(study, block):
                rows = crowd.trainers(number, sample)
                vectors = [slopes[name][rows, number, None] * crowd.inputs[name][rows] for name in block.models]
                blocks[block.name] = _gradient(study, block, np.concatenate(vectors, axis=1), stream)
            else:
                chosen = crowd.homes[number].take(sample)
                blocks[block.name] = noised(study, block, chosen, weights[number], stream)
        shares.append(joined(study, phase, blocks))
    return np.stack(shares)


def _linear(study: Study, block: Block) -> bool:
    """Whether a block is the gradient of models without hidden layers, at the round's weights."""
    return block.source == "gradient" and not study.model(block.model).hidden and block.local_steps == 1


def _gradient(study: Study, block: Block, vectors: Array, stream: ByteStream) -> bytes:
    """What `noised` makes of gradients."""
    weighted = vectors * column_weights(study, block)
    exact = grouped_sum(weighted, np.zeros(len(vectors), dtype=np.int64), 1, share_block(study, block))
    return encode_integers(add_noise(exact, stream))
