"""Nobody makes us dial anything but itself, nor often; and an answer is believed only where it fits the question."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import hypothesis.strategies as st
import pytest
import trio
import trio.testing
from hypothesis import given

from p2p.base.codec import decode, encode
from p2p.base.errors import RemoteProtocolError
from p2p.base.limits import BUDGETS, DIAL_BACK_S, DIAL_BACKS_AT_ONCE
from p2p.base.types import VERSION
from p2p.gossip.connections.budget import Budgets, relayed_group
from p2p.gossip.connections.door import Door
from p2p.gossip.connections.guards import RELAYED
from p2p.gossip.connections.reach import DialPolicy
from p2p.gossip.relays.dial_back import Answer, Ask, DialBacks, ask, least_ahead
from p2p.gossip.relays.reachability import REACHED
from tests.gossip.discovery.test_places import name


class Wire:
    """One question of a peer at an address, and what is answered."""

    def __init__(self, peer: str, host: str | None, frame: bytes) -> None:
        self.peer, self._frame, self.sent = peer, frame, list[bytes]()
        self.connection = SimpleNamespace(get_remote_address=lambda: (host, 5555) if host else None)

    async def receive(self, **_: Any) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._frame

    async def send(self, frame: bytes) -> None:
        self.sent.append(frame)
        await trio.lowlevel.checkpoint()

    @property
    def code(self) -> str:
        return str(decode(self.sent[0])[2])


def question(peer: str = name(1), host: str | None = "9.9.9.9", port: int = 7470) -> Wire:
    return Wire(peer, host, encode(Ask(VERSION, "ask", port)))


class Library:
    """What dial-back uses of the library."""

    def __init__(self, dial: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint) -> None:
        self.dialled, self.proved, self.closed = list[str](), list[str](), 0
        self.transport_manager = self.upgrader = self
        self._dial = dial

    def transport_for_dialing(self, address: Any) -> Library:
        return self

    async def dial(self, address: Any) -> Library:
        self.dialled.append(str(address))
        await self._dial()
        return self

    async def upgrade_security(self, raw: Any, initiator: bool, peer: Any) -> None:
        self.proved.append(str(peer))
        await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        self.closed += 1


def made(library: Library) -> DialBacks:
    return DialBacks(library, Door(Budgets()), DialPolicy())


async def test_only_the_askers_own_address_is_dialled_and_its_key_proved() -> None:
    """BACK-1, BACK-3."""
    library = Library()
    wire = question(name(1), "9.9.9.9", 7471)
    await made(library).serve(wire)  # type: ignore[arg-type]
    assert (wire.code, library.dialled, library.proved, library.closed) == (
        REACHED, ["/ip4/9.9.9.9/tcp/7471"], [name(1)], 1,
    )
    six = question(name(1), "2001:db8::7")
    await made(library).serve(six)  # type: ignore[arg-type]
    assert library.dialled[-1] == "/ip6/2001:db8::7/tcp/7470"


async def test_a_relayed_connection_is_not_dialled_back() -> None:
    library, wire = Library(), question(host=None)
    setattr(wire.connection, RELAYED, relayed_group(name(5), "9.1.0.1"))
    await made(library).serve(wire)  # type: ignore[arg-type]
    assert (wire.code, library.dialled) == ("relayed", [])


async def test_questions_have_a_rate_by_peer_group_and_in_all(autojump_clock: trio.testing.MockClock) -> None:
    """BACK-2: a bucket holds two seconds' worth."""
    library, budget = Library(), BUDGETS["dial backs"]
    backs = made(library)

    async def answered(peers: int, hosts: str) -> int:
        before = len(library.dialled)
        for number in range(peers):
            await backs.serve(question(name(number + 1), hosts.format(number)))  # type: ignore[arg-type]
        return len(library.dialled) - before

    assert await answered(20, "9.9.9.{}") == 2 * budget.group, "one network"
    await trio.sleep(10)
    assert await answered(20, "9.{}.0.1") == 2 * budget.total, "many networks"
    await trio.sleep(10)
    wires = [question() for _ in range(9)]
    for wire in wires:
        await backs.serve(wire)  # type: ignore[arg-type]
    assert [wire.code for wire in wires] == [REACHED] * 2 * budget.peer + ["busy"] * (9 - 2 * budget.peer)


async def test_few_run_at_once_and_each_ends(autojump_clock: trio.testing.MockClock) -> None:
    library = Library(trio.sleep_forever)
    backs, wires = made(library), list[Wire]()
    async with trio.open_nursery() as nursery:
        for number in range(3 * DIAL_BACKS_AT_ONCE):
            wires.append(question(name(number + 1), f"9.{number}.0.1"))
            nursery.start_soon(backs.serve, wires[-1])  # type: ignore[arg-type]
            await trio.sleep(DIAL_BACK_S / (2 * DIAL_BACKS_AT_ONCE))
    codes = [wire.code for wire in wires]
    assert set(codes) == {"timeout", "busy"}
    assert backs._running == 0
    assert max(codes.index("busy"), 1) == DIAL_BACKS_AT_ONCE


@pytest.mark.parametrize("frame", [
    b"", b"\xff" * 50, encode([VERSION, "ask", 0]), encode([VERSION, "ask", 70000]), encode([VERSION + 1, "ask", 7470]),
    encode([VERSION, "ask", "7470"]), encode([VERSION, "tell", 7470]),
])
async def test_what_is_no_question_is_the_peers_fault(frame: bytes) -> None:
    library = Library()
    with pytest.raises(RemoteProtocolError):
        await made(library).serve(Wire(name(1), "9.9.9.9", frame))  # type: ignore[arg-type]
    assert library.dialled == []


def answer(code: str, address: str) -> Wire:
    return Wire(name(2), "9.1.0.1", encode(Answer(VERSION, "answer", code, address, 5_000, 5_500)))


async def test_an_answer_says_what_the_witness_found_and_what_its_clock_shows() -> None:
    clock = iter((1_000, 1_700))
    finding = await ask(answer(REACHED, "/ip4/9.9.9.9/tcp/7470"), 7470, lambda: next(clock))  # type: ignore[arg-type]
    assert (finding.witness, finding.group, finding.code, finding.clock_ms) == (name(2), "9.1.0.0/24", REACHED, 3_800)


@given(st.integers(-10**7, 10**7), st.integers(0, 9000), st.integers(0, 9000), st.integers(0, 9000))
def test_a_late_message_is_not_a_wrong_clock(offset: int, there: int, took: int, back: int) -> None:
    """offset: how far the witness's clock is ahead. Whatever the messages took, no more than that is said."""
    begun = 10**9
    asked = begun + there + offset
    found = least_ahead(begun, asked, asked + took, begun + there + took + back)
    assert 0 <= found <= offset or offset <= found <= 0
    assert abs(offset) - abs(found) <= max(there, back)


def test_a_clock_that_jumps_meanwhile_says_nothing() -> None:
    assert least_ahead(1_000, 2_000, 9_000, 1_100) == 0


@pytest.mark.parametrize("address", ["/ip4/9.9.9.9/tcp/22", "/ip4/224.0.0.1/tcp/7470", "/dns4/x.example/tcp/7470", "x"])
async def test_an_answer_about_another_address_is_refused(address: str) -> None:
    """Else one witness could have us name any machine's address as ours."""
    with pytest.raises(RemoteProtocolError):
        await ask(answer(REACHED, address), 7470)  # type: ignore[arg-type]
