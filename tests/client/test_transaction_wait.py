"""Waiting for an account transaction: each way in which it can end is told apart, and the wait ends whatever a peer
answers."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from p2p.base.errors import FolkmootError, InvalidRequest, Overloaded, RemoteProtocolError, Unavailable
from p2p.client.transaction_wait import wait_for_transaction

WAITING = {"state": "waiting", "height": 3}
UNKNOWN = {"state": "unknown", "height": 3}


class Peer:
    """Gives these answers in turn, the last one for ever; an error is raised. again: the answer to the same transaction
    submitted once more."""

    def __init__(self, *answers: Any, again: FolkmootError | None = None) -> None:
        self.answers, self.refusal, self.again_asked = list(answers), again, 0

    async def query(self, about: dict[str, Any]) -> dict[str, Any]:
        assert about == {"op": "transaction", "id": bytes(32).hex()}
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, FolkmootError):
            raise found
        return {"op_id": "00" * 32, "code": "", "field": "", "reason": "", **found}

    async def again(self) -> None:
        self.again_asked += 1
        if self.refusal:
            raise self.refusal

    async def wait(self) -> dict[str, Any]:
        return await wait_for_transaction(bytes(32), self.query, self.again, 60.0)


async def test_it_waits_over_silence_until_the_chain_has_it(autojump_clock: trio.testing.MockClock) -> None:
    peer = Peer(WAITING, Unavailable("gone for a moment"), WAITING, {"state": "done", "height": 7})
    assert await peer.wait() == {"state": "done", "height": 7}


@pytest.mark.parametrize(("answer", "kind", "words"), [
    (
        {"state": "refused", "height": 5, "field": "amount_micro", "reason": "the account has 3"}, InvalidRequest,
        "amount_micro: .*has 3"
    ),
    (
        {"state": "dropped", "height": 5, "field": "", "reason": "no block took it"}, Unavailable,
        "no block took it.*free"
    ),
    (
        {"state": "used", "code": "used_by_another", "height": 5, "field": "nonce", "reason": "another used it"},
        InvalidRequest, "another used it"
    ),
    (WAITING, Unavailable, "not have it after 60 s .it waits for a block"),
    (Unavailable("it is gone"), Unavailable, "it is gone"),
    ({"state": "blessed", "height": 5}, RemoteProtocolError, "state"),
    ({"state": "done", "height": "5"}, RemoteProtocolError, "height"),
    ({"state": "done", "height": 2**64}, RemoteProtocolError, "height"), ({}, RemoteProtocolError, "state"),
])
async def test_every_other_end_is_told(
    answer: Any, kind: type[FolkmootError], words: str, autojump_clock: trio.testing.MockClock
) -> None:
    with pytest.raises(kind, match=f"(?s){words}"):
        await Peer(WAITING, answer).wait()


async def test_a_peer_that_forgot_it_gets_it_again(autojump_clock: trio.testing.MockClock) -> None:
    peer = Peer(UNKNOWN, WAITING, {"state": "done", "height": 7})
    assert (await peer.wait(), peer.again_asked) == ({"state": "done", "height": 7}, 1)
    peer = Peer(UNKNOWN, again=InvalidRequest("nonce 4 was used", field="nonce", code="nonce_used"))
    assert (await peer.wait())["state"] == "used"
    peer = Peer(UNKNOWN, UNKNOWN, {"state": "done", "height": 9}, again=Overloaded("no room"))
    assert (await peer.wait(), peer.again_asked) == ({"state": "done", "height": 9}, 2)
    with pytest.raises(InvalidRequest, match="amount"):
        await Peer(UNKNOWN, again=InvalidRequest("too much", field="amount")).wait()


async def test_a_number_that_is_used_by_what_the_peer_has_not_seen_is_no_reason_to_give_it_again(
    autojump_clock: trio.testing.MockClock
) -> None:
    peer = Peer(
        WAITING, {"state": "used", "code": "not_seen", "height": 7, "field": "nonce", "reason": "most likely by itself"}
    )
    assert await peer.wait() == {"state": "used", "height": 7}


@pytest.mark.parametrize("code", ["nonce_waits", "nonce_ahead"])
async def test_a_number_that_nothing_on_chain_has_used_is_not_called_used(
    code: str, autojump_clock: trio.testing.MockClock
) -> None:
    with pytest.raises(InvalidRequest, match="on its way"):
        await Peer(UNKNOWN, again=InvalidRequest("nonce 4 is on its way to the chain", field="nonce", code=code)).wait()
