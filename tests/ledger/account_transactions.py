"""Account transactions for tests on the ledger: signed by the key that a test names, put by any peer. Law: only real
records."""

from __future__ import annotations

from typing import Any

import pytest

from p2p.base.errors import FolkmootError
from p2p.base.genesis import EconomyRules
from p2p.base.keys import Domain, Key
from p2p.base.types import RecordKind
from p2p.ledger.rules.ops import Body, Register, Rotate, SignedOp, consent, consent_to_rotate, sign_op
from p2p.ledger.state.records import Participant
from tests.ledger.lab import NO_CAP, Lab

WAIT, VOTING = 6, 4
# prices do not move
ECONOMY = EconomyRules(withdraw_wait=WAIT, gov_window=VOTING, price_step_milli=0, emission_cap_milli=NO_CAP)


def lab_of(**change: Any) -> Lab:
    return Lab(**{"economy": ECONOMY, "epoch_blocks": 20, **change})


def signed(lab: Lab, key: Key, body: Body, nonce: int | None = None) -> SignedOp:
    return sign_op(key, lab.network, nonce or lab.view.account(key.public).nonce_high + 1, body)


def submit(lab: Lab, key: Key, body: Body, nonce: int | None = None) -> None:
    lab.put(lab.nodes[0], RecordKind.OP, signed(lab, key, body, nonce))
    lab.nonces[key.public] = lab.view.account(key.public).nonce_high


def refused(lab: Lab, op: SignedOp, field: str) -> None:
    """The transaction is refused and names this field; the state's bytes stay as they are."""
    before = dict(lab.view.changes)
    with pytest.raises(FolkmootError) as caught:
        lab.put(lab.nodes[0], RecordKind.OP, op)
    assert caught.value.field == field, caught.value
    assert lab.view.changes == before, "a refused transaction changes nothing"


def registration(lab: Lab, account: Key, node: Key, models: tuple[str, ...] = ("toy",), floor: int = 0) -> Register:
    proof = node.sign(Domain.NODE, lab.network, consent(account.public))
    return Register(node.public, models, ("vllm-cpu-bf16",), floor, "somewhere", proof)


def rotation(lab: Lab, account: Key, node: Key, new: Key) -> Rotate:
    words = consent_to_rotate(account.public, node.public, new.public)
    return Rotate(
        node.public, new.public, node.sign(Domain.NODE, lab.network, words), new.sign(Domain.NODE, lab.network, words)
    )


def part(lab: Lab, node: bytes) -> Participant:
    found = lab.view.participant(node)
    assert found is not None
    return found


def balance(lab: Lab, account: bytes) -> int:
    return lab.view.account(account).balance_micro
