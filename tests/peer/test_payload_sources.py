"""Looking for a payload: any source will do, nobody can leave one validator out, and a wrong payload is not taken."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio

from p2p.base.body import one_message
from p2p.base.codec import encode
from p2p.base.errors import InvalidRequest, Unavailable
from p2p.base.keys import Key
from p2p.chain.views.inferences import Claim, Duty
from p2p.peer.payload_sources import HEDGE_S, PayloadSearch, open_payload
from p2p.wire.failures import failure
from p2p.wire.frames import Payload, pack_frame
from tests.peer.test_validator import IID, PROMPT, FakeStream, answer

ME, EXECUTOR, AGENT, *FELLOWS = (Key(bytes([at]) * 32).public for at in range(0x41, 0x46))
CLAIM, PAYLOAD = answer()
CLAIM = Claim(CLAIM.request, CLAIM.finish, CLAIM.beacon, CLAIM.spec, EXECUTOR, (AGENT, *FELLOWS, ME))


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that jumps does not wait for threads."""
    async def at_once(call: Any, *args: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return call(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)


class Silent(FakeStream):
    async def receive(self, **_: Any) -> bytes:
        await trio.sleep_forever()
        raise AssertionError


class Refusing(FakeStream):
    async def receive(self, **_: Any) -> bytes:
        return pack_frame(failure(InvalidRequest("no such payload here", field="inference_id", code="not_found")))


class Lab:
    """streams: node -> what it does; others are gone."""

    def __init__(self, streams: dict[bytes, Any], top: int = 8) -> None:
        self.asked: list[bytes] = []
        self.top = top
        by_peer = {Key(bytes([at]) * 32).peer_id: Key(bytes([at]) * 32).public for at in range(0x41, 0x46)}

        async def open_stream(peer: str, protocol: str) -> Any:
            assert protocol == "payload"
            self.asked.append(by_peer[peer])
            if by_peer[peer] not in streams:
                raise Unavailable("gone", field="peer")
            return streams[by_peer[peer]]

        self.search = PayloadSearch(
            ME, Duty(IID, 7, b"\x0b" * 32, None, closes=67), CLAIM, open_stream, lambda: self.top
        )


async def test_the_executor_is_asked_first_and_alone_where_it_answers(autojump_clock: Any) -> None:
    lab = Lab({EXECUTOR: FakeStream(PAYLOAD)})
    assert (await lab.search.run()).payload == PAYLOAD
    assert lab.asked == [EXECUTOR]


@pytest.mark.parametrize("who", [AGENT, *FELLOWS], ids=["agent", "fellow", "another"])
@pytest.mark.parametrize("executor", ["gone", "silent", "refuses", "lies"])
async def test_who_the_executor_leaves_out_has_it_from_another(who: bytes, executor: str, autojump_clock: Any) -> None:
    streams: dict[bytes, Any] = {who: FakeStream(PAYLOAD)}
    if executor != "gone":
        other = Payload(encode(one_message(PROMPT)), answer(41)[1].artifact)
        streams[EXECUTOR] = {
            "silent": Silent(PAYLOAD), "refuses": Refusing(PAYLOAD), "lies": FakeStream(other)
        }[executor]
    lab = Lab(streams)
    assert (await lab.search.run()).payload == PAYLOAD
    assert lab.asked[0] == EXECUTOR
    assert ME not in lab.asked


async def test_it_ends_when_it_must_speak_and_says_why(autojump_clock: Any) -> None:
    lab = Lab({EXECUTOR: Refusing(PAYLOAD)})
    assert lab.search.give_up_height() == 67 - 15

    async def later() -> None:
        await trio.sleep(20 * HEDGE_S)
        assert set(lab.asked) == {EXECUTOR, AGENT, *FELLOWS}
        lab.top = lab.search.give_up_height()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(later)
        with pytest.raises(Unavailable, match="the executor: no such payload here"):
            await lab.search.run()


def test_the_order_is_drawn_for_each_validator_and_begins_with_the_executor() -> None:
    orders = set()
    for at in range(64):
        duty, nobody = Duty(IID, 7, b"\x0b" * 32, None, closes=67), cast(Any, None)
        search = PayloadSearch(bytes([at]) * 32, duty, CLAIM, nobody, lambda: 8)
        first, *rest = search.sources_in_turn()
        assert first == EXECUTOR
        assert sorted(rest) == sorted((AGENT, *FELLOWS, ME))
        orders.add(tuple(rest))
    assert len(orders) > 10


def test_only_what_was_signed_for_is_taken() -> None:
    assert open_payload(PAYLOAD, CLAIM) is not None
    assert open_payload(Payload(encode(one_message("another prompt")), PAYLOAD.artifact), CLAIM) is None
    assert open_payload(Payload(encode(one_message(PROMPT)), b"\x80"), CLAIM) is None
    assert open_payload(Payload(encode(one_message(PROMPT)), answer(41)[1].artifact), CLAIM) is None
