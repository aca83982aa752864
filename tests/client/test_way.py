"""The client follows its agent down the list of drawn candidates: no candidate is passed over unnoticed, and none
answers out of turn."""

from __future__ import annotations

from typing import Any

import pytest

from p2p.base.codec import encode
from p2p.base.errors import RemoteProtocolError
from p2p.base.keys import Domain, Key
from p2p.base.types import BusyRecord, SignedBusy
from p2p.client import events
from p2p.client.receipt import Receipt
from p2p.wire.frames import Accepted, Declined, Trying
from tests.client.one_answer import AGENT, EXECUTOR, NETWORK, SIGNED, finished, followed, frame

OTHERS = [Key(bytes([number]) * 32) for number in (0x51, 0x52, 0x53)]
DRAWN = (*(key.public for key in OTHERS), EXECUTOR.public)
ANSWER = [frame([7], "a"), frame([8], "b", before=[7]), finished([7, 8], "ab")]


def busy(key: Key, about: bytes = SIGNED.inference_id, by: Key | None = None) -> SignedBusy:
    record = BusyRecord(about, key.public, "full")
    return SignedBusy(record, (by or key).sign(Domain.BUSY, NETWORK, encode(record)))


async def receipt_of(frames: list[Any], answer: list[Any] = ANSWER) -> Receipt:
    """The receipt of a client to whose request an agent sent these frames and an answer."""
    done = (await followed([Accepted(SIGNED.inference_id, AGENT.public, bytes(32), DRAWN), *frames, *answer]))[-1]
    assert isinstance(done, events.Done)
    return done.receipt


ON_ITS_WORD = [frame for key in OTHERS for frame in (Trying(key.public), Declined(key.public, "unreachable", None))]
REFUSED = [frame for key in OTHERS for frame in (Trying(key.public), Declined(key.public, "full", busy(key)))]
LAST = Trying(EXECUTOR.public)
WORD = "the executor is not the one that was tried last"


@pytest.mark.parametrize("frames", [
    [LAST], [*REFUSED[2:], LAST], [*REFUSED[:2], LAST],
    [*[frame for frame in REFUSED if isinstance(frame, Trying)], LAST],
    [REFUSED[0], REFUSED[3], *REFUSED[2:], LAST], [*REFUSED[:2], *REFUSED[:2], LAST],
], ids=["the friend alone", "without the first", "after the first", "nobody passed", "another passed", "one twice"])
async def test_an_agent_that_does_not_go_down_the_list_has_no_answer_taken(frames: list[Any]) -> None:
    """The agent asked its friend, fifth of the eight candidates, and the receipt alone looked right."""
    with pytest.raises(RemoteProtocolError) as caught:
        await receipt_of(frames)
    assert caught.value.field == "frame"


async def test_who_was_passed_over_on_the_agents_word_stands_in_the_receipt() -> None:
    assert (await receipt_of([*REFUSED, LAST])).passed_over == ()
    receipt = await receipt_of([*ON_ITS_WORD, LAST])
    assert receipt.passed_over == tuple(key.public for key in OTHERS)
    assert WORD not in receipt.problems, "the agent's word may be true"


@pytest.mark.parametrize("word", [
    busy(OTHERS[1]), busy(OTHERS[0], bytes(32)), busy(OTHERS[0], by=AGENT),
], ids=["another's", "about another request", "signed by the agent"])
async def test_a_busy_counts_only_where_it_is_its_own_word(word: SignedBusy) -> None:
    receipt = await receipt_of([REFUSED[0], Declined(OTHERS[0].public, "full", word), *REFUSED[2:], LAST])
    assert receipt.passed_over == (OTHERS[0].public,)


@pytest.mark.parametrize("frames", [[], REFUSED[:1], [*REFUSED, LAST, Declined(EXECUTOR.public, "full", None)]])
async def test_the_answer_is_of_the_one_that_was_tried_last(frames: list[Any]) -> None:
    assert WORD in (await receipt_of(frames, ANSWER[-1:])).problems


@pytest.mark.parametrize("frames", [[], REFUSED[:2], [*REFUSED, LAST, Declined(EXECUTOR.public, "full", None)]])
async def test_no_tokens_come_while_nobody_is_asked(frames: list[Any]) -> None:
    with pytest.raises(RemoteProtocolError, match="no executor was asked"):
        await receipt_of(frames)
