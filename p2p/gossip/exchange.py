"""Gossip of one host: reads what neighbours send, judges it, and lets the router say what is sent on.

Law: the work that a peer's bytes make is charged to it, whatever comes of it, and nothing it sends ends the host.

- PUBSUB-1: a message is judged in this order: whether its forwarder owes work, whether it was seen before, whether it
  was ignored a moment ago from this forwarder (both are the router's), its forwarder's rate, its handler.
- PUBSUB-4: nobody can make another's message heavier: it has topic and data, and its id is the hash of both.
- PUBSUB-5: the CPU for an ignored message counts several times, and so does one that no honest peer sends (of another
  topic, or a copy that comes late). A copy in time is what every neighbour in a mesh brings, and counts once.
- PUBSUB-6: after SLICE_S of CPU with one neighbour's messages all other tasks have a turn.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import trio

from p2p.base.limits import IGNORED_COSTS, MAX_PUBSUB_STREAMS_PER_PEER, SLICE_S
from p2p.base.outcome import Outcome
from p2p.gossip.connections.door import Door
from p2p.gossip.connections.guards import LOST, Report, group_at, reset_quietly
from p2p.gossip.neighbours import Neighbours
from p2p.gossip.rpc_codec import decode
from p2p.gossip.rpc_reader import RpcReader
from p2p.gossipsub.router import Delivery, Router

log = logging.getLogger(__name__)
Judge = Callable[[str, bytes], Outcome]  # (forwarder, data)

_OWING_S: Final = 0.25  # pause before the next RPC of a peer that owes work


class Exchange:
    """The gossip of one host. `judges` are asked about each new message of their topic."""

    def __init__(
        self, router: Router, neighbours: Neighbours, door: Door, report: Report, admit: Callable[[str], bool],
        heartbeat_s: float,
    ) -> None:
        """report: told of each error that a peer's bytes caused. admit: False for a peer that is banned."""
        self.judges: dict[str, Judge] = {}  # by topic
        self._router, self._neighbours, self._door = router, neighbours, door
        self._report, self._admit, self._heartbeat_s = report, admit, heartbeat_s
        self._readers: Counter[str] = Counter()  # streams that are read, by peer

    async def run(self) -> None:
        """Run until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._neighbours.run)
            while True:
                await trio.sleep(self._heartbeat_s)
                self._beat()

    def publish(self, topic: str, data: bytes) -> None:
        """Send a message of our own to a topic."""
        self._router.publish(topic, data, trio.current_time())
        self._neighbours.stir()

    def status(self) -> dict[str, Any]:
        """For `folkmoot status`."""
        return self._router.status()

    def _beat(self) -> None:
        try:
            self._neighbours.look()
            self._router.heartbeat(trio.current_time())
            for peer in self._router.stalled():
                self._door.is_stuck(peer)
            self._neighbours.stir()
        except Exception:  # a fault of the router must not end the host
            log.exception("a heartbeat of the gossip router")

    # -- reading

    async def serve(self, stream: Any) -> None:
        """Read one inbound gossip stream until it ends. A fault resets it, and costs its peer points by its kind."""
        peer = str(stream.muxed_conn.peer_id)
        if self._readers[peer] >= MAX_PUBSUB_STREAMS_PER_PEER:
            await reset_quietly(stream)
            return
        self._readers[peer] += 1
        try:
            await self._read_all(stream, peer)
        except Exception as error:  # remote bytes: a decoder or the library may raise anything
            if not isinstance(error, LOST):
                self._report(peer, error)
        finally:
            self._readers[peer] -= 1
            if not self._readers[peer]:
                del self._readers[peer]
            await reset_quietly(stream)

    async def _read_all(self, stream: Any, peer: str) -> None:
        intake = self._door.intake(stream.muxed_conn, group_at(stream.muxed_conn))
        reader = RpcReader(stream, intake)
        while self._neighbours.listens(peer):
            raw = await reader.next()
            if self._admit(peer):
                await self._take(peer, raw, intake.group)

    async def _take(self, peer: str, raw: bytes, group: str) -> None:
        """Handle one RPC: a peer that sends much waits for us."""
        work, valued = self._door.budgets.work, self._door.valued(peer)
        if not work.allows(peer, group, trio.current_time(), valued=valued):
            await trio.sleep(_OWING_S)  # nothing is read meanwhile: a peer that owes work is heard four times a second
        times, begun = 1.0, time.thread_time()
        turn = begun
        try:
            news, times, hurry = self._received(peer, raw)
        finally:
            now, ended = trio.current_time(), time.thread_time()
            work.spend(peer, group, (ended - begun) * 1000 * times, now, valued=valued)
        for delivery in news:
            begun = ended
            owes = not work.allows(peer, group, now, valued=valued)
            outcome = Outcome.IGNORE if owes else self._judged(peer, delivery)
            self._router.judge(delivery.id, outcome, now)
            hurry |= self._router.hurries(delivery.topic)
            times, ended = IGNORED_COSTS if outcome is Outcome.IGNORE else 1, time.thread_time()
            work.spend(peer, group, (ended - begun) * 1000 * times, now, valued=valued)
            if ended - turn > SLICE_S:
                self._neighbours.stir(soon=not hurry)
                await trio.lowlevel.checkpoint()
                now, turn = trio.current_time(), time.thread_time()
                ended = turn
        self._neighbours.stir(soon=not hurry)

    def _received(self, peer: str, raw: bytes) -> tuple[list[Delivery], float, bool]:
        """(what is new in an RPC, how often the CPU for reading it counts, whether its sender waits for an answer)."""
        rpc, before = decode(raw), self._router.useless
        news = self._router.receive(peer, rpc, trio.current_time())
        useless = self._router.useless - before
        asks = bool(rpc.ihave or rpc.iwant or rpc.graft or rpc.subscriptions)
        return news, 1 + (IGNORED_COSTS - 1) * useless / max(1, len(rpc.messages)), asks

    def _judged(self, forwarder: str, delivery: Delivery) -> Outcome:
        judge = self.judges.get(delivery.topic)
        return judge(forwarder, delivery.data) if judge is not None else Outcome.IGNORE
