"""Requests of one conversation name one draw, as long as it lasts; then another one begins."""

from __future__ import annotations

from msgspec.structs import replace

from p2p.base.executor_draw import draw_id, session_lots
from p2p.base.serving_limits import MAX_CANDIDATES, SESSION_HEIGHTS
from p2p.base.types import NO_SESSION
from p2p.base.weighted_draw import WeightedDraw, draw_executors
from p2p.client.draw_check import Known
from p2p.client.receipt import draw_problems
from p2p.client.session import Session
from p2p.wire.frames import Accepted
from tests.client.liar import PEER, Liar
from tests.sim.traffic import CLIENT


def test_a_session_begins_with_its_first_request_and_lasts_its_heights() -> None:
    session = Session()
    assert session.is_over(7), "nothing has begun"
    first = session.at("m", 7, b"\x01" * 32)
    assert (first.height, first.beacon, len(first.id)) == (7, b"\x01" * 32, 32)
    for height in (7, 8, 7 + SESSION_HEIGHTS):
        assert not session.is_over(height)
        assert session.at("m", height, b"\x02" * 32) is first
    for height in (6, 8 + SESSION_HEIGHTS):
        assert session.is_over(height)
    assert session.is_over(8, "another model")
    later = session.at("m", 8 + SESSION_HEIGHTS, b"\x02" * 32)
    assert later.id != first.id
    session.forget(first)
    assert not session.is_over(later.height), "an answer about the old draw does not end the new one"
    session.forget(later)
    assert session.is_over(later.height)


async def test_two_requests_of_a_session_are_drawn_alike(peer: Liar) -> None:
    session = Session()
    one, drawn = await peer.signed(session=session)
    peer.grow(3)
    two, later = await peer.signed(session=session)
    assert one.request.session == two.request.session != NO_SESSION
    assert one.request.session_height == two.request.session_height == one.request.draw_height
    assert two.request.draw_height == one.request.draw_height + 3
    assert draw_id(one) == draw_id(two)
    assert drawn.drawn_by == later.drawn_by == drawn.beacon != later.beacon
    await drawn.look(peer.question)
    peer.grow(1)
    await drawn.settle(peer.question)
    assert (drawn.known, session.draw and session.draw.is_proved) == (Known.PROVED, True)
    peer.asked.clear()
    await later.look(peer.question)
    assert peer.asked == ["serving"], "who served when it began is known"
    assert drawn.lots is not None
    assert later.lots is not None
    assert later.lots.pairs() == drawn.lots.pairs()


async def test_the_chain_draws_a_session_as_the_client_does(peer: Liar) -> None:
    session = Session()
    await peer.signed(session=session)
    peer.grow(3)
    signed, drawn = await peer.signed(session=session)
    await drawn.look(peer.question)
    draw = peer.chain.reader.draw_for(signed)
    assert draw is not None
    accepted = Accepted(signed.inference_id, PEER.public, draw.beacon, draw.executors(signed, PEER.public))
    assert draw_problems(drawn, accepted, signed) == []
    assert draw_problems(drawn, replace(accepted, candidates=accepted.candidates[1:]), signed)
    without = (await peer.signed())[0]
    assert "the session is not the one that was signed" in draw_problems(drawn, accepted, without)


async def test_who_is_drawn_depends_on_the_session_and_not_on_the_inference(peer: Liar) -> None:
    """Twelve sessions: by chance all of them would draw as their inferences do once in 24^12."""
    sessions, by_inference = [], []
    for _ in range(12):
        session = Session()
        signed = (await peer.signed(session=session))[0]
        draw = peer.chain.reader.draw_for(signed)
        assert draw is not None
        sessions.append(draw.executors(signed, PEER.public))
        by_inference.append(
            draw_executors(draw.beacon, signed.inference_id, draw.lots, PEER.public, MAX_CANDIDATES)
        )
    assert sessions != by_inference
    assert len(set(sessions)) > 1, "another session draws others"


async def test_a_set_that_is_not_known_any_more_is_asked_for_and_not_invented(peer: Liar) -> None:
    session = Session()
    await peer.signed(session=session)
    peer.grow(3)
    _, drawn = await peer.signed(session=session)
    await drawn.look(peer.question)
    assert drawn.lots is not None, "it was asked for with the second request"
    peer.lies["serving"] = lambda answer: {}
    unknown = (await peer.signed(session=Session()))[1]
    await unknown.look(peer.question)
    assert (unknown.lots, unknown.known) == (None, Known.UNKNOWN)


def test_a_sessions_set_has_the_weights_of_then_and_the_nodes_of_now() -> None:
    then, now = WeightedDraw([(b"a", 1), (b"b", 2), (b"c", 3)]), WeightedDraw([(b"a", 9), (b"c", 9), (b"d", 9)])
    assert session_lots(then, now).pairs() == [(b"a", 1), (b"c", 3)]


async def test_a_hot_keys_session_is_its_accounts(peer: Liar) -> None:
    signed, _ = await peer.signed(session=Session())
    assert signed.request.account == CLIENT.public
    other = replace(signed, request=replace(signed.request, account=bytes(32)))
    assert draw_id(other) != draw_id(signed), "nobody else's session is drawn the same"
