"""A client that asks often signs on a tip that it has: proved like every other, seconds old, and renewed while it is
used."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from p2p.base.errors import FolkmootError, InvalidRequest, Unavailable
from p2p.base.serving_limits import MAX_KEPT_TIPS, TIP_ASK_S, TIP_GOOD_S, TIP_USED_S
from p2p.base.types import SignedRequest
from p2p.client.ask import Asking
from p2p.client.question import Payer
from p2p.client.recent_tips import RecentTips
from p2p.client.tip_proof import Prover
from tests.client.liar import PEER, Liar
from tests.client.test_ask import ENOUGH, OLD, QUESTION, Agent
from tests.sim.traffic import CLIENT, MODEL


async def asked(
    peer: Liar, tips: RecentTips, *script: FolkmootError, payer: Payer | None = None
) -> tuple[list[SignedRequest], FolkmootError]:
    """What was sent for one question, and the error in the end."""
    async with trio.open_nursery() as nursery:
        agent: Any = Agent(peer, nursery, script, 1)
        asking = Asking(agent, peer.to, QUESTION, payer or peer.payer, patience=0, tips=tips)
        try:
            async for _ in asking.events():
                pass
        except FolkmootError as error:
            return agent.asked, error
    raise AssertionError("every script ends with a refusal")


def prover(peer: Liar) -> Prover:
    return Prover(peer.to.genesis, peer.question, PEER.peer_id)


async def test_the_second_question_needs_no_answer_about_the_tip(peer: Liar, autojump_clock: MockClock) -> None:
    tips = RecentTips()
    sent = [(await asked(peer, tips))[0][0].request for _ in range(3)]
    assert peer.asked == ["tip"]
    assert [one.draw_height for one in sent] == [5, 5, 5]
    assert [one.client_nonce for one in sent] == [1, 2, 3], "the nonce is not the tip's"
    await trio.sleep(TIP_GOOD_S)
    (last,), _ = await asked(peer, tips)
    assert (last.request.draw_height, peer.asked) == (8, ["tip", "tip"])


async def test_without_a_memory_of_nonces_every_question_asks(peer: Liar, autojump_clock: MockClock) -> None:
    tips = RecentTips()
    for _ in range(2):
        await asked(peer, tips, payer=Payer(CLIENT, None, peer.prices))
    assert peer.asked == ["tip", "tip"]


async def test_a_tip_that_the_agent_calls_old_is_asked_for_and_signed_again(
    peer: Liar, autojump_clock: MockClock
) -> None:
    tips = RecentTips()
    await asked(peer, tips)
    sent, error = await asked(peer, tips, OLD)
    assert error.field == ENOUGH.field
    assert [one.request.draw_height for one in sent] == [5, 7]
    assert {one.request.client_nonce for one in sent} == {2}, "so it is paid once"


async def test_an_agent_that_calls_every_tip_old_is_believed_once(peer: Liar, autojump_clock: MockClock) -> None:
    tips = RecentTips()
    first, _ = await asked(peer, tips, *[OLD] * 9)
    assert len(first) == 1, "it was the newest tip"
    await asked(peer, tips)
    sent, error = await asked(peer, tips, *[OLD] * 9)
    assert (len(sent), error.field) == (2, "draw_height")
    assert isinstance(error, InvalidRequest)


async def test_tips_are_renewed_while_they_are_used_and_no_longer(peer: Liar, autojump_clock: MockClock) -> None:
    tips, one = RecentTips(), prover(peer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tips.run)
        await tips.ground(one, CLIENT.public, MODEL)
        await trio.sleep(TIP_USED_S / 2)
        peer.grow(1)
        await trio.sleep(2 * TIP_ASK_S)
        before = len(peer.asked)
        assert before > TIP_USED_S / 2 / TIP_ASK_S
        assert (await tips.ground(one, CLIENT.public, MODEL)).height == peer.chain.height()
        assert len(peer.asked) == before, "it was fresh"
        await trio.sleep(TIP_USED_S + 2 * TIP_ASK_S)
        count = len(peer.asked)
        assert count > before
        await trio.sleep(10 * TIP_USED_S)
        assert len(peer.asked) == count
        nursery.cancel_scope.cancel()


async def test_a_peer_that_fails_in_between_is_told_of_by_the_next_question(
    peer: Liar, autojump_clock: MockClock
) -> None:
    tips, one = RecentTips(), prover(peer)

    def silent(answer: Any) -> Any:
        raise Unavailable("it does not answer", field="peer")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tips.run)
        await tips.ground(one, CLIENT.public, MODEL)
        peer.lies["tip"] = silent
        await trio.sleep(TIP_GOOD_S + TIP_ASK_S)
        with pytest.raises(Unavailable):
            await tips.ground(one, CLIENT.public, MODEL)
        nursery.cancel_scope.cancel()


async def test_as_many_tips_are_kept_as_are_allowed(peer: Liar, autojump_clock: MockClock) -> None:
    tips, one = RecentTips(), prover(peer)
    for number in range(3 * MAX_KEPT_TIPS):
        await tips.ground(one, number.to_bytes(32, "big"), MODEL)
    peer.asked.clear()
    for number in reversed(range(3 * MAX_KEPT_TIPS)):
        await tips.ground(one, number.to_bytes(32, "big"), MODEL)
    assert len(peer.asked) == 2 * MAX_KEPT_TIPS


async def test_a_tip_is_for_one_account_and_one_model(peer: Liar) -> None:
    tips, one = RecentTips(), prover(peer)
    for account, model in ((bytes(32), MODEL), (bytes(32), "another"), (bytes([1] * 32), MODEL)):
        await tips.ground(one, account, model)
    assert peer.asked == ["tip"] * 3
