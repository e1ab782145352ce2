# SPDX-License-Identifier: Apache-2.0
"""What a round would send, for the supplier's eyes: exactly what the gate would make, and it leaves no trace."""

import hashlib

import msgspec
import numpy as np
import pytest

from skyglow_client.gate.preview import preview
from skyglow_shared import command
from skyglow_shared.errors import SignatureError
from skyglow_shared.layout import block_shape, column_weights
from skyglow_shared.messages import Share, decode_integers, open_reply
from skyglow_shared.privacy.randomness import ByteStream
from skyglow_shared.privacy.release import step_size
from skyglow_shared.study import Aggregation, Supplier, digest


class One:
    """The same stream for every preview and round of one phase, block and kind: so that both can be compared."""

    def stream(self, *label):
        kind = "sample" if "sample" in str(label[0]) else "noise"
        return ByteStream(hashlib.sha256(f"{kind} {label[-1] if kind == 'noise' else ''}".encode()).digest())


@pytest.fixture
def study(town):
    return town.study()


@pytest.fixture
def run(town, capsys):
    def type_in(*words):
        code = command.main(["supplier", *words, "--folder", str(town.folder)])
        return code, *capsys.readouterr()

    return type_in


def test_a_preview_is_what_the_gate_would_send(town, study):
    """With the same randomness, block by block, the very numbers; and a message of the very size."""
    with town.open(randomness=One()) as supplier:
        made = preview(study, supplier.homes(study), town.name, randomness=One())
        town.approve(supplier, study)
        for one in made:
            for round_ in range(one.phase.rounds):
                reply = supplier.handle(town.request(study, one.phase.name, round_))
                if round_ == 0:
                    share = town.read(reply)
                    assert isinstance(share, Share)
                    assert one.sent == len(reply) == len(one.message)
                    for block in one.blocks:
                        sent = decode_integers(share.blocks[block.block.name], block_shape(study, block.block))
                        np.testing.assert_array_equal(block.integers, sent)


def test_numbers_are_shown_in_real_units(town, study):
    with town.open() as supplier:
        made = preview(study, supplier.homes(study), town.name)
    for one in made:
        for block in one.blocks:
            weighted = block.values * column_weights(study, block.block)
            np.testing.assert_allclose(weighted, block.integers * step_size(block.block))


def test_a_preview_draws_its_own_randomness(town, study):
    with town.open() as supplier:
        homes = supplier.homes(study)
        first, second = (preview(study, homes, town.name) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        for block, again in zip(one.blocks, other.blocks, strict=True):
            assert (block.integers != again.integers).all()


def test_a_preview_can_never_pass_for_a_reply(town, study):
    with town.open() as supplier:
        for one in preview(study, supplier.homes(study), town.name):
            with pytest.raises(SignatureError):
                open_reply(one.message, town.name, town.identity.public_key)


def test_a_masked_rounds_share_has_its_part_of_the_noise_and_its_own_size(town, study):
    suppliers = (*study.suppliers, *(Supplier(name=f"s{n}", public_key=f"{n:02x}" * 32) for n in range(1, 4)))
    parts = {"trust_mode": "aggregate", "aggregation": Aggregation(dropouts=1, colluders=1), "suppliers": suppliers}
    together = msgspec.structs.replace(study, **parts)
    with town.open() as supplier:
        homes = supplier.homes(together)
        alone, masked = (preview(one, homes, town.name) for one in (study, together))
    for one, other in zip(alone, masked, strict=True):
        assert other.sent < one.sent
        for block, part in zip(one.blocks, other.blocks, strict=True):
            ratio = block.block.noise_multiplier / part.block.noise_multiplier
            assert ratio == pytest.approx(2)  # of five suppliers four are honest; for dropouts noise is spare beside it


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "sqlite-" not in path.name}


def test_nothing_is_charged_stored_or_sent(town, study, run):
    with town.open() as supplier:
        town.ask(supplier, town.proposal(study))
        supplier.homes(study)  # reads the store, and keeps its features there
    before = files(town.folder)
    code, out, _ = run("study", "preview", digest(study)[:12])
    assert code == 0
    assert files(town.folder) == before
    for words in (
        "PREVIEW, for your eyes only",
        "do not forward it",
        "training: one of 3 rounds sends ",
        "release: its one round sends ",
        "area_scores: 3 × 2 numbers",
        "gradient: 1 × 23 numbers",
        "row 1 ",
        "sent as ",
    ):
        assert words in out
    with town.open() as supplier:
        assert not supplier.gate.ledger.entries("charge", "seal")


def test_a_preview_of_no_study(run):
    assert run("study", "preview", "ffff")[0] == 33
