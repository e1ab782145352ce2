# SPDX-License-Identifier: Apache-2.0
"""One way in and out: a whole study through a supplier, and what it says when it says no."""

import numpy as np
import pytest

from skyglow_shared.layout import block_shape
from skyglow_shared.messages import Approval, Refusal, Share, decode_integers
from skyglow_shared.study import digest


def test_a_whole_study_from_proposal_to_release(town):
    study = town.study()
    with town.open() as supplier:
        refusal = town.ask(supplier, town.proposal(study))
        assert isinstance(refusal, Refusal) and (refusal.code, refusal.rule) == (33, "approval")
        supplier.approve(digest(study))
        assert isinstance(town.ask(supplier, town.proposal(study)), Approval)
        for phase in study.phases:
            for round_ in range(phase.rounds):
                share = town.ask(supplier, town.request(study, phase.name, round_))
                assert isinstance(share, Share), share
                assert list(share.blocks) == [block.name for block in phase.blocks]
                for block in phase.blocks:
                    numbers = decode_integers(share.blocks[block.name], block_shape(study, block))
                    assert np.abs(numbers).max() > 0
        assert supplier.gate.ledger.spent(study.delta).epsilon_upper == pytest.approx(
            supplier.gate.check(study).requested.epsilon_upper
        )
