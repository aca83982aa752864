"""Opening a stream: what is said at once, what is believed, and what an answer that is wrong, late or missing does."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from p2p.base.errors import Unavailable
from p2p.gossip.connections import opening
from p2p.gossip.connections.opening import Opening, accept, begin, proposal, word
from p2p.gossip.connections.streams import Stream

ECHO = "/folkmoot/echo/1"
ANSWER = proposal(ECHO)
HEADER = word("/multistream/1.0.0")
TIMEOUT_S = 8.0
FRAMES = (b"first", b"x" * 200, b"")


def framed(*frames: bytes) -> bytes:
    return b"".join((bytes((len(one),)) if len(one) < 128 else bytes((len(one) & 127 | 128, len(one) >> 7))) + one
                    for one in frames)


class Raw:
    """The library's stream: it gives `chunks`, one for each read, then an end; None is silence."""

    def __init__(self, *chunks: bytes | None) -> None:
        self.chunks, self.writes, self.ended = list(chunks), list[bytes](), ""

    async def read(self, most: int) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self.chunks:
            return b""
        chunk = self.chunks[0]
        if chunk is None:
            await trio.sleep_forever()
            raise AssertionError
        part, self.chunks[0] = chunk[:most], chunk[most:]
        if not self.chunks[0]:
            self.chunks.pop(0)
        return part

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.writes.append(data)

    async def close(self) -> None:
        self.ended = "closed"

    async def reset(self) -> None:
        self.ended = "reset"


def opened(raw: Any, spoken: dict[str, bool] | None = None) -> Stream:
    return Stream(raw, "peer", opening=Opening(ECHO, TIMEOUT_S, {} if spoken is None else spoken))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % len(data) for place in places)})
    return [data[a:b] for a, b in pairwise(edges)]


# -- what is said


async def test_all_is_said_in_one_write_and_once() -> None:
    raw = Raw(ANSWER + framed(b"hi", b"ho"))
    stream = opened(raw)
    await stream.send(b"hello")
    assert raw.writes == [ANSWER + framed(b"hello")]
    assert (await stream.receive(), await stream.receive()) == (b"hi", b"ho")
    await stream.send(b"more")
    assert raw.writes[1:] == [framed(b"more")]


async def test_who_receives_first_has_said_what_is_wanted() -> None:
    raw = Raw(ANSWER + framed(b"hi"))
    assert await opened(raw).receive() == b"hi"
    assert raw.writes == [ANSWER]


async def test_who_never_receives_may_wait_for_the_answer() -> None:
    raw = Raw(ANSWER)
    stream = opened(raw)
    await stream.agreed()
    await stream.agreed()
    await stream.send(b"vote")
    assert raw.writes == [ANSWER, framed(b"vote")]


async def test_a_stream_on_which_nothing_was_said_is_reset() -> None:
    raw, used = Raw(), Raw()
    await opened(raw).close()
    stream = opened(used)
    await stream.send(b"goodbye")
    await stream.close()
    assert (raw.ended, raw.writes, used.ended) == ("reset", [], "closed")


# -- what is believed


@given(st.lists(st.integers(0, 1 << 20), max_size=20))
async def test_the_answer_may_come_in_any_pieces(places: list[int]) -> None:
    spoken: dict[str, bool] = {}
    stream = opened(Raw(*cut(ANSWER + framed(*FRAMES), places)), spoken)
    await stream.send(b"hello")
    assert tuple([await stream.receive() for _ in FRAMES]) == FRAMES
    assert spoken == {ECHO: True}


@given(st.binary(max_size=80), st.lists(st.integers(0, 1 << 20), max_size=5))
async def test_any_other_answer_is_refused(said: bytes, places: list[int]) -> None:
    """Also one that begins as the right one does, and one that ends in the middle."""
    for begins in (b"", HEADER, ANSWER[:-1]):
        data = begins + said
        if data.startswith(ANSWER):
            continue
        spoken = {ECHO: True}
        with pytest.raises(Unavailable):
            await opened(Raw(*cut(data, places) if data else ()), spoken).receive()
        assert ANSWER.startswith(data) or (HEADER + word("na")).startswith(data) or not spoken[ECHO]


@pytest.mark.parametrize("said", [HEADER + word("na"), HEADER + word("na") + b"more", HEADER + word(ECHO + "0")])
async def test_a_refusal_has_the_code_of_a_stream_that_cannot_be_opened(said: bytes) -> None:
    spoken = {ECHO: True}
    stream = opened(Raw(said), spoken)
    await stream.send(b"hello")
    with pytest.raises(Unavailable) as refused:
        await stream.receive()
    assert (refused.value.code, refused.value.field) == ("stream", "stream")
    assert ECHO in refused.value.message
    assert spoken == {ECHO: False}, "the next stream waits for the answer"


async def test_a_refusal_in_one_byte_pieces_is_seen_at_its_last_byte() -> None:
    refusal = HEADER + word("na")
    raw = Raw(*cut(refusal, list(range(len(refusal)))), b"\x05never")
    with pytest.raises(Unavailable):
        await opened(raw).receive()
    assert raw.chunks == [b"\x05never"]


async def test_silence_ends_after_the_time_that_opening_may_take(autojump_clock: trio.testing.MockClock) -> None:
    for said in ((), (HEADER,), (ANSWER[:-1],)):
        begun = trio.current_time()
        with pytest.raises(Unavailable) as silent:
            await opened(Raw(*said, None)).receive(timeout_s=1000.0)
        assert trio.current_time() - begun == pytest.approx(TIMEOUT_S)
        assert silent.value.code == "timeout"


async def test_an_answer_that_comes_late_but_in_time_is_taken(autojump_clock: trio.testing.MockClock) -> None:
    """And it takes nothing from the time for the first frame."""
    class Late(Raw):
        async def read(self, most: int) -> bytes:
            await trio.sleep(TIMEOUT_S - 0.5)
            return await super().read(most)

    stream = opened(Late(ANSWER, framed(b"hi")))
    await stream.send(b"hello")
    await trio.sleep(100)  # nobody waited for it
    assert await stream.receive(timeout_s=TIMEOUT_S) == b"hi"


async def test_an_end_before_the_answer() -> None:
    with pytest.raises(Unavailable) as ended:
        await opened(Raw(HEADER)).receive()
    assert ended.value.code == "closed"


# -- who is known


class Store:
    def __init__(self, named: list[str]) -> None:
        self.named = named

    def get_protocols(self, peer: Any) -> list[str]:
        if not self.named:
            raise KeyError("the library raises for a peer that it does not know")
        return self.named


def host_of(named: list[str]) -> Any:
    connection = SimpleNamespace()

    async def new_stream(peer: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return SimpleNamespace(muxed_conn=connection, set_protocol=lambda name: None)

    network = SimpleNamespace(new_stream=new_stream)
    return SimpleNamespace(get_network=lambda: network, get_peerstore=lambda: Store(named))


async def known(host: Any, protocol: str = ECHO) -> Opening:
    return (await begin(host, host, protocol, TIMEOUT_S))[1]


async def test_known_is_who_named_the_protocol_or_agreed_on_it_here() -> None:
    host = host_of([])
    one = await known(host)
    assert not one.is_known
    assert not one.hear(bytearray(HEADER))
    assert one.hear(bytearray(ANSWER))
    assert (await known(host)).is_known
    assert not (await known(host, "/folkmoot/other/1")).is_known
    assert (await known(host_of([ECHO]))).is_known


async def test_who_refused_is_not_known_whatever_it_named() -> None:
    host = host_of([ECHO])
    with pytest.raises(Unavailable):
        (await known(host)).hear(bytearray(HEADER + word("na")))
    assert not (await known(host)).is_known


# -- who answers


class Inbound(Raw):
    """A stream that the other side opened; `come` lies in the multiplexer's buffer."""

    def __init__(self, come: bytes) -> None:
        super().__init__(come)
        self.muxed_stream = SimpleNamespace(stream_id=2)
        self.muxed_conn = SimpleNamespace(stream_buffers={2: bytearray(come)})
        self.protocol = ""

    def set_protocol(self, name: str) -> None:
        self.protocol = name


async def answered(raw: Any, handlers: dict[str, Any] | None = None) -> str:
    """Who took the stream: the handler, or the library."""
    took: list[str] = []

    def taker(name: str) -> Callable[[Any], Any]:
        async def take(stream: Any) -> None:
            await trio.lowlevel.checkpoint()
            took.append(name)
        return take

    handlers = {ECHO: taker("handler"), "/none": None} if handlers is None else handlers
    await accept(SimpleNamespace(multiselect=SimpleNamespace(handlers=handlers)), raw, taker("library"))
    assert len(took) == 1
    return took[0]


async def test_a_proposal_is_answered_in_one_write_and_what_follows_is_left() -> None:
    raw = Inbound(ANSWER + framed(b"hello"))
    assert await answered(raw) == "handler"
    assert (raw.writes, raw.protocol) == ([ANSWER], ECHO)
    assert await Stream(raw, "peer", ours=False).receive() == b"hello"


@given(st.binary(max_size=200), st.integers(0, len(ANSWER)))
async def test_whatever_is_no_proposal_of_a_protocol_of_ours_goes_to_the_library(said: bytes, begins: int) -> None:
    data = ANSWER[:begins] + said
    raw = Inbound(data)
    assert await answered(raw) == ("handler" if data.startswith(ANSWER) else "library")
    assert data.startswith(ANSWER) or (b"".join(c or b"" for c in raw.chunks), raw.writes) == (data, [])


@pytest.mark.parametrize("said", [proposal("/none"), proposal("/folkmoot/unknown/1"), HEADER, HEADER + b"\x01\n", b""])
async def test_the_library_answers_the_rest(said: bytes) -> None:
    assert await answered(Inbound(said)) == "library"
    raw = Raw(said)  # of a multiplexer without such buffers
    raw.muxed_conn = SimpleNamespace()  # type: ignore[attr-defined]
    assert await answered(raw) == "library"


def test_a_name_is_bounded() -> None:
    assert len(word("x" * 126)) == 128
    with pytest.raises(ValueError, match="126 bytes"):
        word("x" * 127)
    assert opening.proposal("x" * 126).endswith(b"\n")
