"""How tokens are framed: fast ones share a frame and a signature; what is shown and signed is the same however they
come."""

from __future__ import annotations

from typing import Any

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from p2p.base.codec import encode
from p2p.base.keys import Domain, Key, verify
from p2p.base.serving_limits import MAX_HELD_TOKENS, SHOW_EVERY_S
from p2p.base.types import Streamed
from p2p.peer.showing import Showing
from p2p.peer.telling import Telling
from p2p.text.vocabulary import TextStream
from p2p.verification.engine import TokenStep
from p2p.verification.streamed import chain_after
from p2p.wire.frames import Tokens, parse_frame
from tests.peer.test_executor import WORDS, request

KEY = Key.generate()


class Kept:
    """A stream that keeps what is sent, as frames."""

    def __init__(self) -> None:
        self.frames: list[Tokens] = []

    async def send(self, raw: bytes) -> None:
        frame = parse_frame(raw)
        assert isinstance(frame, Tokens)
        await trio.lowlevel.checkpoint()
        self.frames.append(frame)


async def shown(pauses: list[float], late: list[bool]) -> list[Tokens]:
    """The frames of one token after each pause."""
    signed, stream = request(), Kept()
    showing = Showing(Telling(stream), KEY, signed, TextStream(WORDS))  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(showing.flush_late)
        for at, pause in enumerate(pauses):
            await trio.sleep(pause)
            await showing.send(TokenStep(200 + at % 50, showing.text_of(200 + at % 50), -1.0, ()), late=late[at])
        await showing.flush()
        nursery.cancel_scope.cancel()
    chain, at = bytes(signed.inference_id), 0
    for frame in stream.frames:
        assert (frame.position, bool(frame.tokens)) == (at, True)
        assert len(frame.tokens) <= MAX_HELD_TOKENS
        at, chain = at + len(frame.tokens), chain_after(chain, frame.tokens)
        record = Streamed(signed.inference_id, KEY.public, 0, at, chain)
        assert verify(KEY.public, Domain.STREAMED, signed.request.network, encode(record), frame.signature)
    assert [token for frame in stream.frames for token in frame.tokens] == [200 + at % 50 for at in range(len(pauses))]
    return stream.frames


async def test_slow_tokens_have_frames_of_their_own(autojump_clock: MockClock) -> None:
    assert len(await shown([2 * SHOW_EVERY_S] * 10, [False] * 10)) == 10


async def test_fast_tokens_share_frames(autojump_clock: MockClock) -> None:
    frames = await shown([SHOW_EVERY_S / 5] * 50, [False] * 50)
    assert 8 <= len(frames) <= 20
    assert len(frames[0].tokens) == 1, "the first one at once"


async def test_a_late_peer_sends_the_first_token_and_signs_once_for_many_others(autojump_clock: MockClock) -> None:
    count = 1 + 3 * MAX_HELD_TOKENS
    frames = await shown([0.0] * count, [True] * count)
    assert [len(frame.tokens) for frame in frames] == [1, *[MAX_HELD_TOKENS] * 3]


async def test_a_held_token_does_not_wait_for_the_next_one(autojump_clock: MockClock) -> None:
    signed, stream = request(), Kept()
    showing = Showing(Telling(stream), KEY, signed, TextStream(WORDS))  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(showing.flush_late)
        for token in (200, 201):
            await showing.send(TokenStep(token, "", -1.0, ()))
        assert [frame.tokens for frame in stream.frames] == [(200,)]
        await trio.sleep(1.5 * SHOW_EVERY_S)
        assert [frame.tokens for frame in stream.frames] == [(200,), (201,)]
        nursery.cancel_scope.cancel()


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.01, 0.05, 0.2]), st.booleans()), max_size=80))
def test_however_tokens_come_the_same_is_shown_and_signed(steps: list[tuple[float, bool]]) -> None:
    async def main() -> Any:
        return await shown([pause for pause, _ in steps], [late for _, late in steps])

    trio.run(main, clock=MockClock(autojump_threshold=0))
