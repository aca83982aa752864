"""Asks others whether they can dial this peer, and keeps places at relays while they cannot.

Law: a peer learns by itself, within seconds of its first connection, whether and how others reach it.

- OUT-1: connected peers are asked in turn, from different address groups first; the first one after DIAL_BACK_FIRST_S.
  Once all answers that decide are there, the next one is asked every DIAL_BACK_EVERY_S. Where we dialled peers
  ourselves only those are asked: whoever dials us must not become our witness by that.
- OUT-2: peers on this machine are no witnesses, and a peer that listens nowhere asks nobody.
- OUT-3: when what others should be told changes, all connected peers are greeted anew; whom that does not reach
  is greeted again TELL_AGAIN_S later, TELLS times at most. Else it would know us at relays that we left. All are
  greeted at once, so that those who never answer do not keep us from our relays.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import trio

from p2p.base.errors import FolkmootError
from p2p.base.limits import (
    CIRCUIT_SETUP_S,
    DIAL_BACK_EVERY_S,
    DIAL_BACK_FIRST_S,
    MAX_CIRCUIT_MESSAGE,
    TELL_AGAIN_S,
    TELLS,
    WITNESSES,
)
from p2p.gossip.connections.guards import group_at, host_of
from p2p.gossip.connections.pace import Backoff
from p2p.gossip.connections.reach import PUBLIC, scope_of
from p2p.gossip.connections.topics import protocol_name
from p2p.gossip.discovery.discovery import Discovery
from p2p.gossip.relays import dial_back
from p2p.gossip.relays.holding import Near
from p2p.gossip.relays.messages import HOP, Hop, HopType, Status, decode_hop, encode_hop, said
from p2p.gossip.relays.places import Places
from p2p.gossip.relays.reachability import Verdict, may_witness
from p2p.machine.deadlines import own_time

log = logging.getLogger(__name__)
_LOOK_S = 0.5  # between two looks at our relays
_LOOK_AROUND_S = 1.0  # between two looks at who could be a witness
_HERE = ("127.0.0.1", "::1")  # most peers of a laboratory: looked at no further


@dataclass(frozen=True, slots=True)
class _Witness:
    """A connected peer that sees us from another machine."""

    peer: str
    host: str
    key: str  # its address group, or itself
    is_dialled: bool  # by us

    @property
    def is_six(self) -> bool:
        """Whether it is connected over IPv6."""
        return ":" in self.host


def _is_dialled(connection: Any) -> bool:
    """Whether we made this connection."""
    return "OUTBOUND" in str(connection.direction).upper()


class Asking:
    """The questions of one host."""

    def __init__(self, net: Discovery, places: Places) -> None:
        """places: those that this host gives as a relay."""
        self._net, self._places = net, places
        self._told: object = net.outside.told(trio.current_time())
        self._untold: dict[str, int] = {}  # connected peers that have not heard it: how often they may still be told
        self._tell_at = 0.0  # not before this time, in own time
        self._asked: dict[str, float] = {}  # when each connected peer was asked
        self._said = ""  # the newest verdict in the log

    # -- witnesses

    async def witnesses(self) -> None:
        """OUT-1, for ever."""
        wait = Backoff(DIAL_BACK_FIRST_S, DIAL_BACK_EVERY_S)
        if self._net.outside.known is not None or not self._net.bound():
            await trio.sleep_forever()
        while True:
            seen = self._look_around()
            due = own_time() + self._pause_s(wait, seen)
            while own_time() < due:
                await trio.sleep(_LOOK_AROUND_S)
                if (now_seen := self._look_around()) != seen:
                    seen = now_seen
                    due = min(due, own_time() + self._pause_s(wait, seen))
            await self._ask_one()

    def _look_around(self) -> tuple[Verdict, int, int]:
        """Note what needs no question (REACHED-5). Returns what the next one depends on: the verdict, the answers that
        decide, and how many address groups could answer anew."""
        now, reach, candidates = trio.current_time(), self._net.outside.reach, self._candidates()
        if not self._net.linked():
            reach.forget()
        elif any(not one.is_dialled for one in candidates):
            reach.proved(now)
        fresh = {one.key for one in candidates} - reach.witnessed(now)
        return reach.verdict(now), len(reach.decisive(now)), len(fresh)

    def _pause_s(self, wait: Backoff, seen: tuple[Verdict, int, int]) -> float:
        verdict, decisive, fresh = seen
        is_sure = verdict is not Verdict.UNKNOWN and (decisive >= WITNESSES or not fresh)
        return DIAL_BACK_EVERY_S if is_sure else wait.next_s(seen)

    def _candidates(self) -> list[_Witness]:
        """Those who may be asked (OUT-2, REACHED-3), one connection of each."""
        net, found = self._net, dict[str, _Witness]()
        for peer, one in net.table():
            host = host_of(one.muxed_conn)
            if host is None or host in _HERE or peer in found or peer not in net.verified:
                continue
            found[peer] = _Witness(peer, host, group_at(one.muxed_conn) or peer, _is_dialled(one))
        widest = PUBLIC if any(scope_of(one.host) == PUBLIC for one in found.values()) else ""
        return [one for one in found.values() if may_witness(scope_of(one.host), widest)]

    async def _ask_one(self) -> None:
        net, ports = self._net, self._net.ports()
        free = [one for one in self._candidates() if one.is_six in ports]
        free = [one for one in free if one.is_dialled] or free
        if not free:
            return
        now, witnessed = trio.current_time(), net.outside.reach.witnessed(trio.current_time())
        # in turn by when each was asked, not by when it answered: one that never does would be asked for ever
        self._asked = {peer: self._asked.get(peer, 0.0) for peer in net.connected()}
        random.shuffle(free)  # not security-relevant
        one = min(free, key=lambda one: (self._asked.get(one.peer, 0.0), one.key in witnessed))
        self._asked[one.peer] = now
        try:
            stream = await net.open_raw(one.peer, protocol_name(dial_back.PROTOCOL))
            try:
                finding = await dial_back.ask(stream, ports[one.is_six])
            finally:
                await stream.close()
        except FolkmootError as error:
            log.debug("no answer whether %s can dial us: %s", one.peer, error)
            return
        now = trio.current_time()
        net.outside.reach.heard(finding)
        verdict = net.outside.verdict(now)
        if verdict != self._said:
            self._said = verdict
            level = logging.WARNING if verdict is Verdict.CLOSED else logging.INFO
            log.log(level, "others find this peer %s: %s", verdict.value, net.outside.reason(now))

    # -- relays

    async def relays(self) -> None:
        """HOLD-1 to HOLD-4, and OUT-3; for ever."""
        net = self._net
        while True:
            await trio.sleep(_LOOK_S)
            now, linked, holding = trio.current_time(), net.linked(), net.outside.holding
            self._places.sweep(linked, now)
            holding.look(linked, now)
            verdict = net.outside.verdict(now)
            if verdict is Verdict.CLOSED and net.bound():
                relay = holding.to_ask(self._near(), now)
                if relay is not None:
                    await self._reserve(relay)
            elif verdict is Verdict.OPEN:
                holding.release()
            if (told := net.outside.told(trio.current_time())) != self._told:
                self._told, self._untold, self._tell_at = told, dict.fromkeys(net.connected(), TELLS), 0.0
            if self._untold and own_time() >= self._tell_at:
                await self._tell()

    def _near(self) -> Iterator[Near]:
        """HOLD-3."""
        for peer, one in self._net.table():
            remote = one.muxed_conn.get_remote_address()
            if remote is not None and _is_dialled(one) and peer in self._net.verified:
                yield Near(peer, str(host_of(one.muxed_conn)), int(remote[1]))

    async def _reserve(self, relay: Near) -> None:
        net, holding = self._net, self._net.outside.holding
        try:
            stream = await net.open_raw(relay.peer, HOP)
            try:
                await stream.send(encode_hop(Hop(HopType.RESERVE)))
                raw = await stream.receive(limit=MAX_CIRCUIT_MESSAGE, timeout_s=CIRCUIT_SETUP_S)
                answer = decode_hop(raw)
            finally:
                await stream.close()
        except FolkmootError as error:
            holding.refused(relay.peer, trio.current_time(), error.message)
            return
        now = trio.current_time()
        if answer.kind is HopType.STATUS and answer.status == Status.OK:
            if relay.peer not in holding.places:
                log.info("this peer can be reached through relay %s at %s", relay.peer, relay.address)
            holding.granted(relay, answer.expires - time.time(), now)
        else:
            holding.refused(relay.peer, now, f"relay {relay.peer} gives no place: {said(answer.status)}")

    async def _tell(self) -> None:
        """OUT-3."""
        linked = set(self._net.connected())
        self._untold = {peer: left for peer, left in self._untold.items() if left and peer in linked}
        async with trio.open_nursery() as nursery:
            for peer in self._untold:
                nursery.start_soon(self._tell_one, peer)
        self._tell_at = own_time() + TELL_AGAIN_S

    async def _tell_one(self, peer: str) -> None:
        self._untold[peer] -= 1
        try:
            await self._net.greet(peer)
        except FolkmootError as error:
            log.debug("telling %s our addresses: %s", peer, error)
        else:
            self._untold[peer] = 0
