"""Dials a peer back where it asks for it: the only way to learn whether others can dial it.

Law: nobody can make us dial anything but the machine that asks, and nobody makes us dial often.

- BACK-1: what is dialled is the address from which the asker is connected, at the one port that it names. A relayed
  connection shows no address, so it is not dialled back.
- BACK-2: questions draw on the budget 'dial backs' of peer, address group and all; DIAL_BACKS_AT_ONCE run at once, each
  for DIAL_BACK_S at most. Above that the answer is 'busy'.
- BACK-3: only who proves the asker's key there was reached. The connection ends then: it is no connection to keep.

The answer also says what the witness's clock shows. py-libp2p's AutoNAT does not answer, and trusts any address that it
is given.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

import trio
from libp2p.peer.id import ID
from msgspec import Meta
from multiaddr import Multiaddr

from p2p.base.codec import Message, convert, decode, encode
from p2p.base.errors import RemoteProtocolError, unsupported_version
from p2p.base.limits import DIAL_BACK_S, DIAL_BACKS_AT_ONCE, KIB, MAX_NAME
from p2p.base.types import U32, U64, VERSION, Short
from p2p.gossip.connections.door import Door
from p2p.gossip.connections.failures import explain
from p2p.gossip.connections.guards import group_at, host_of
from p2p.gossip.connections.reach import NOWHERE, DialPolicy, scope_at
from p2p.gossip.connections.streams import Stream
from p2p.gossip.relays.reachability import REACHED, Finding
from p2p.machine.deadlines import fail_after

PROTOCOL = "dialback"  # short name
_MAX_MESSAGE = KIB
_MAX_ADDRESS = 256  # characters


class Ask(Message, frozen=True):
    """Dial me back."""

    version: U32
    kind: Literal["ask"]
    port: Annotated[int, Meta(ge=1, le=65535)]  # at the address that you see


class Answer(Message, frozen=True):
    """What came of it."""

    version: U32
    kind: Literal["answer"]
    code: Short  # 'reached', 'busy', 'relayed', or the code of a failed dial (connections/failures.py)
    address: Annotated[str, Meta(max_length=_MAX_ADDRESS)]  # that was dialled; empty: none
    asked_ms: U64  # the witness's clock when it was asked
    answered_ms: U64  # and when it answered


def _parse(data: bytes, kind: type[Any]) -> Any:
    value = decode(data, limit=_MAX_MESSAGE)
    if isinstance(value, list) and value and value[0] != VERSION:
        raise RemoteProtocolError(
            unsupported_version("protocol", value[0], VERSION), field="version", code="version", penalty=0,
        )
    return convert(kind, value)


def clock_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


async def ask(stream: Stream, port: int, clock: Callable[[], int] = clock_ms) -> Finding:
    """Ask the peer at the other end to dial us back at `port`. Raises RemoteProtocolError, Unavailable."""
    begun_ms = clock()
    await stream.send(encode(Ask(VERSION, "ask", port)))
    answer = _parse(await stream.receive(limit=_MAX_MESSAGE, timeout_s=2 * DIAL_BACK_S), Answer)
    ahead = least_ahead(begun_ms, answer.asked_ms, answer.answered_ms, clock())
    if answer.address and (scope_at(answer.address) == NOWHERE or not answer.address.endswith(f"/tcp/{port}")):
        raise RemoteProtocolError("another address than we asked for", field="address", code="dialback")
    group = group_at(stream.connection)
    return Finding(stream.peer, group, answer.code, answer.address, ahead, trio.current_time())


def least_ahead(begun_ms: int, asked_ms: int, answered_ms: int, ended_ms: int) -> int:
    """How far the other clock is ahead of ours at least: 0 where the time that the messages took explains all of it.

    As in NTP: the question took between nothing and the whole way there and back, and so did the answer.
    """
    most, least = asked_ms - begun_ms, answered_ms - ended_ms
    if least > most:
        return 0  # the other clock jumped meanwhile, or says nonsense
    return least if least > 0 else min(most, 0)


class DialBacks:
    """Answers the questions of others."""

    def __init__(self, swarm: Any, door: Door, policy: DialPolicy) -> None:
        self._swarm, self._door, self._policy = swarm, door, policy
        self._running = 0
        self.made = 0  # since the start

    async def serve(self, stream: Stream) -> None:
        """One question. Raises RemoteProtocolError, Unavailable."""
        port, asked_ms = _parse(await stream.receive(limit=_MAX_MESSAGE), Ask).port, clock_ms()
        code, address = await self._look(stream, port)
        await stream.send(encode(Answer(VERSION, "answer", code[:MAX_NAME], address, asked_ms, clock_ms())))

    async def _look(self, stream: Stream, port: int) -> tuple[str, str]:
        """(code, address dialled)."""
        host, group, peer = host_of(stream.connection), group_at(stream.connection), stream.peer
        if host is None:
            return "relayed", ""
        budget, now, valued = self._door.budgets.dial_backs, trio.current_time(), self._door.valued(peer)
        if self._running >= DIAL_BACKS_AT_ONCE or not budget.allows(peer, group, now, valued=valued):
            return "busy", ""
        budget.spend(peer, group, 1, now, valued=valued)
        address = f"/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/{port}"
        self._running += 1
        self.made += 1
        try:
            with fail_after(DIAL_BACK_S):
                await self._dial(peer, address)
        except Exception as error:  # the library's dial raises many types; explain has a code for each
            return explain(error, peer, (address,)).code, address
        finally:
            self._running -= 1
        return REACHED, address

    async def _dial(self, peer: str, address: str) -> None:
        """BACK-3. Raises what the library raises."""
        target = Multiaddr(address)
        with self._policy.meaning([address]):
            raw = await self._swarm.transport_manager.transport_for_dialing(target).dial(target)
        try:
            await self._swarm.upgrader.upgrade_security(raw, True, ID.from_string(peer))
        finally:
            with trio.CancelScope(shield=True):
                await raw.close()
