"""py-libp2p's pubsub service with its input bounded.

Law: an RPC is counted before it is parsed, cleaned before the router sees it, and its work is charged to its sender.

- PUBSUB-1: a message is judged in this order: whether its sender owes work, whether it was seen before, whether it was
  ignored a moment ago from this sender, its shape, its signature, its author's rate, its handler. Only accepted
  messages count in the author's rate, because anybody may repeat one.
- PUBSUB-2: of control messages only those for our topics pass, each once, without peers to dial.
- PUBSUB-3: a message goes to one peer at most twice for an IWANT, and only so many bytes in a second.
- PUBSUB-4: nobody can make another's message heavier: a message has the four fields that its author signed, the
  signature, and at most the author's own key; it is forwarded with the first five.
- PUBSUB-5: the CPU for an ignored message counts several times: a sender of useful messages needs little of it.

Its repairs are G-5 and G-7 to G-9 (see guards.py). A router of our own will replace this file.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, Final

import trio
from libp2p.exceptions import ParseError
from libp2p.io.exceptions import IncompleteReadError, IOException, MessageTooLarge
from libp2p.network.connection.exceptions import RawConnError
from libp2p.network.stream.exceptions import StreamEOF, StreamError
from libp2p.pubsub import pubsub as pubsub_module
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.utils import safe_bytes_from_hex
from libp2p.pubsub.validators import signature_validator

from p2p.base.errors import RemoteProtocolError
from p2p.base.limits import (
    FRAME_TIMEOUT_S,
    IGNORED_COSTS,
    IWANT_REPEATS,
    MAX_CONTROL_TOPICS,
    MAX_GOSSIP,
    MAX_MESSAGE_IDS,
    MAX_PRUNE_BACKOFF_S,
    MAX_PUBSUB_STREAMS_PER_PEER,
    MAX_RPC_ITEMS,
    MAX_SCORED_PEERS,
)
from p2p.base.outcome import Outcome
from p2p.gossip.budget import group_of
from p2p.gossip.door import Door, Intake, Waiting
from p2p.gossip.guards import Report, count_queue, host_of, reset_quietly
from p2p.gossip.score import Ignored

log = logging.getLogger(__name__)
Judge = Callable[[str, Any], Outcome]  # (forwarder, message), the signature is good

_WAIT_FOR_ROOM_S: Final = 0.05  # between two looks for room
_OWING_S: Final = 0.25  # pause before the next RPC of a peer that owes work
_SEQNO_BYTES: Final = 8  # as all libraries make it
_MAX_PEER_ID: Final = 64  # bytes; ours have 38: two, then the public key as the library writes it
_MAX_VARINT: Final = 10  # bytes of a length; protobuf's varints have 64 bits
_CHUNK: Final = 65536  # bytes of one read
# The fields of an RPC that have fields of their own, by number: subscriptions, publish, control (with its parts).
_Fields = dict[int, "_Fields"]
_LIST: Final[_Fields] = {}
_RPC: Final[_Fields] = {1: _LIST, 2: _LIST, 3: {1: _LIST, 2: _LIST, 3: _LIST, 4: {2: _LIST}, 5: _LIST}}


def count_fields(raw: bytes, most: int) -> int:
    """The number of fields in a protobuf RPC, including those of its parts, counted before any becomes an object.

    Raises MessageTooLarge above `most`, ParseError for bytes that are not protobuf.
    """
    todo: list[tuple[int, int, _Fields]] = [(0, len(raw), _RPC)]
    count = 0
    while todo:
        at, end, known = todo.pop()
        while at < end:
            count += 1
            if count > most:
                raise MessageTooLarge(f"an RPC of more than {most} fields")
            key, at = _varint(raw, at, end)
            match key & 7:
                case 0:
                    _, at = _varint(raw, at, end)
                case 1:
                    at += 8
                case 5:
                    at += 4
                case 2:
                    size, at = _varint(raw, at, end)
                    inside = known.get(key >> 3)
                    if inside is not None:
                        todo.append((at, at + size, inside))
                    at += size
                case _:
                    raise ParseError("an unknown wire type")
            if at > end:
                raise ParseError("a field is longer than the message that contains it")
    return count


def _varint(raw: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = raw[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ParseError("a length is not a varint")


class GuardedPubsub(Pubsub):  # type: ignore[misc]  # the library publishes no types
    """The pubsub service of one host.

    G-7: stock, undecodable keys and ids, garbage protobuf and validators that raise ended the service and the host.
    """

    def __init__(
        self, host: Any, router: Any, report: Report, admit: Callable[[str], bool], door: Door, **options: Any,
    ) -> None:
        """report: told of each error that a peer's bytes caused. admit: False for a peer that is banned."""
        super().__init__(host, router, **options)
        self.judges: dict[str, Judge] = {}  # by topic
        self._report, self._admit, self._door = report, admit, door
        self._readers: Counter[str] = Counter()  # streams that are read, by peer
        self._given: OrderedDict[tuple[str, bytes], int] = OrderedDict()  # (peer, message id) -> sent for IWANTs
        self._ignored = Ignored()
        # The stock counter starts at whole seconds. A restarted peer that had sent more than one message a second would
        # use its old sequence numbers again, and its messages would be ignored as seen.
        self.counter = time.time_ns()

    # -- reading

    async def stream_handler(self, stream: Any) -> None:
        peer = stream.muxed_conn.peer_id
        name = str(peer)
        if self._readers[name] >= MAX_PUBSUB_STREAMS_PER_PEER:
            await reset_quietly(stream)
            return
        self._readers[name] += 1
        try:
            await self._read_all(stream, peer)
        except (StreamEOF, StreamError, IOException, RawConnError) as error:
            if isinstance(error, IncompleteReadError | MessageTooLarge | ParseError):
                await self._break_off(stream, peer, error)
        except Exception as error:  # remote bytes: a decoder may raise anything
            await self._break_off(stream, peer, error)
        finally:
            self._readers[name] -= 1
            if not self._readers[name]:
                del self._readers[name]

    async def _break_off(self, stream: Any, peer: Any, error: Exception) -> None:
        self._report(str(peer), error)
        await reset_quietly(stream)
        self._handle_dead_peer(peer)

    async def _read_all(self, stream: Any, peer: Any) -> None:
        intake = self._door.intake(stream.muxed_conn, host_of(stream.muxed_conn))
        buffer = bytearray()
        while self.manager.is_running:
            raw = await read_rpc(stream, buffer, intake, self.max_inbound_rpc_size)
            if self._admit(str(peer)):
                await self._take(peer, raw, intake.group)

    async def _take(self, peer: Any, raw: bytes, group: str) -> None:
        """Handle one RPC, its messages one after another: a peer that sends much waits for us."""
        work, name = self._door.budgets.work, str(peer)
        valued = self._door.valued(name)
        if not work.allows(name, group, trio.current_time(), valued=valued):
            await trio.sleep(_OWING_S)  # nothing is read meanwhile: a peer that owes work is heard four times a second
        begun = time.thread_time()
        count_fields(raw, MAX_RPC_ITEMS)
        rpc = rpc_pb2.RPC()
        rpc.ParseFromString(raw)
        fine = pubsub_module.maybe_consume_signed_record(rpc, self.host, peer)
        work.spend(name, group, (time.thread_time() - begun) * 1000, trio.current_time(), valued=valued)
        if not fine:
            raise RemoteProtocolError("the sender's record is of another peer, or not signed", field="senderRecord")
        for message in rpc.publish:
            begun, now = time.thread_time(), trio.current_time()
            if not work.allows(name, group, now, valued=valued):
                break
            outcome = self._judged(name, message)
            times = IGNORED_COSTS if outcome is Outcome.IGNORE else 1
            work.spend(name, group, (time.thread_time() - begun) * 1000 * times, now, valued=valued)
            if outcome is Outcome.ACCEPT:
                await self.router.publish(peer, bare_message(message))
        begun = time.thread_time()
        for subscription in rpc.subscriptions[:MAX_CONTROL_TOPICS]:
            self.handle_subscription(peer, subscription)
        work.spend(name, group, (time.thread_time() - begun) * 1000, trio.current_time(), valued=valued)
        if rpc.HasField("control") and work.allows(name, group, trio.current_time(), valued=valued):
            await self.router.handle_rpc(self._cleaned(name, group, rpc.control), peer)

    def _judged(self, forwarder: str, message: Any) -> Outcome:
        """The outcome of one message (PUBSUB-1). An ignored message is remembered for seconds, and for this forwarder
        only: from another one it is judged at once."""
        judge = self.judges.get(message.topicIDs[0]) if len(message.topicIDs) == 1 else None
        if judge is None or message.from_id == self.my_id.to_bytes() or self._is_msg_seen(message):
            return Outcome.IGNORE
        name, now = self.get_message_id(message), trio.current_time()
        if self._ignored.has(forwarder, name, now):
            return Outcome.IGNORE
        if len(message.data) > MAX_GOSSIP:
            problem = f"{len(message.data)} bytes are too many for gossip"
            self._report(forwarder, RemoteProtocolError(problem, field="data", code="too_large"))
            return Outcome.REJECT
        if not plain(message):
            problem = "it has more than its author signed"
            self._report(forwarder, RemoteProtocolError(problem, field="message", code="padded"))
            return Outcome.REJECT
        try:
            signed = signature_validator(message)
        except Exception as error:  # remote bytes: keys and ids of any kind
            log.debug("a signature that cannot be checked: %r", error)
            signed = False
        if not signed:  # not remembered: another message with this id may be good
            self._report(forwarder, RemoteProtocolError("not signed by the author it names", field="signature"))
            return Outcome.REJECT
        outcome = judge(forwarder, message)
        if outcome is Outcome.IGNORE:
            self._ignored.add(forwarder, name, now)
        else:
            self._mark_msg_seen(message)
        return outcome

    async def push_msg(self, forwarder: Any, message: Any) -> None:
        """The library calls this for our own messages; those of others come through _take."""
        assert forwarder == self.my_id
        await super().push_msg(forwarder, message)

    async def _handle_new_peer(self, peer_id: Any) -> None:
        await super()._handle_new_peer(peer_id)
        queue = self.peer_queues.get(peer_id)
        connections = self.host.get_network().get_connections(peer_id)
        if queue is not None:
            host = host_of(connections[0].muxed_conn) if connections else None
            count_queue(queue, Waiting(
                self._door.budgets.outgoing, str(peer_id), group_of(host), lambda: self._door.is_stuck(str(peer_id)),
            ))

    # -- control messages

    def _cleaned(self, peer: str, group: str, control: Any) -> Any:
        """The part of a control message that may pass (PUBSUB-2, PUBSUB-3)."""
        out = rpc_pb2.RPC()
        out.control.SetInParent()
        topics = set(self.topic_ids)
        for graft in {g.topicID: g for g in control.graft[:MAX_CONTROL_TOPICS] if g.topicID in topics}.values():
            out.control.graft.append(graft)
        for prune in {p.topicID: p for p in control.prune[:MAX_CONTROL_TOPICS] if p.topicID in topics}.values():
            out.control.prune.add(topicID=prune.topicID, backoff=min(prune.backoff, MAX_PRUNE_BACKOFF_S))
            self._bound_back_off(prune.topicID)
        left = MAX_MESSAGE_IDS
        for have in control.ihave[:MAX_CONTROL_TOPICS]:
            ids = list(dict.fromkeys(have.messageIDs[:left])) if have.topicID in topics else []
            left -= len(ids)
            if ids:
                out.control.ihave.add(topicID=have.topicID, messageIDs=ids)
        wanted = self._affordable(peer, group, [name for want in control.iwant for name in want.messageIDs])
        if wanted:
            out.control.iwant.add(messageIDs=wanted)
        return out

    def _affordable(self, peer: str, group: str, names: list[Any]) -> list[Any]:
        """The message ids of an IWANT that are answered: those we have, each once, at most twice in all, and only so
        many bytes in a second (PUBSUB-3)."""
        flow, now, out = self._door.budgets.wanted, trio.current_time(), []
        valued = self._door.valued(peer)
        for name in list(dict.fromkeys(names))[:MAX_MESSAGE_IDS]:
            id_ = safe_bytes_from_hex(name)
            message = self.router.mcache.get(id_) if id_ is not None else None
            if message is None or id_ is None or self._given.get((peer, id_), 0) >= IWANT_REPEATS:
                continue
            if not flow.allows(peer, group, now, valued=valued):
                break
            flow.spend(peer, group, message.ByteSize(), now, valued=valued)
            self._given[peer, id_] = self._given.pop((peer, id_), 0) + 1
            out.append(name)
        while len(self._given) > MAX_SCORED_PEERS:
            self._given.popitem(last=False)
        return out

    async def _replay_recent_messages(self, peer_id: Any, topic: str) -> None:
        """A subscription pulls recent messages as an IWANT does, so it has the same budget."""
        flow, now, peer = self._door.budgets.wanted, trio.current_time(), str(peer_id)
        if peer_id not in self.peers or not flow.allows(peer, "", now):
            return
        window = [self.router.mcache.get(id_) for id_ in self.router.mcache.window(topic)]
        flow.spend(peer, "", sum(message.ByteSize() for message in window if message is not None), now)
        await super()._replay_recent_messages(peer_id, topic)

    def _bound_back_off(self, topic: str) -> None:
        table = self.router.back_off.get(topic, {})
        while len(table) >= MAX_SCORED_PEERS:
            del table[next(iter(table))]

    def notify_subscriptions(self, publish_message: Any) -> None:
        """G-8: stock, 32 messages wait for a subscriber and later ones are lost. Our judges consume messages
        themselves, so nothing waits."""


def bare_message(message: Any) -> Any:
    """The part of a message that is forwarded. The key is left out: an Ed25519 key is in the peer id."""
    return rpc_pb2.Message(
        data=message.data, topicIDs=message.topicIDs, from_id=message.from_id, seqno=message.seqno,
        signature=message.signature,
    )


def plain(message: Any) -> bool:
    """PUBSUB-4: whether a message has nothing but what its author made. The sizes are compared, because they include
    fields that the library does not know."""
    if len(message.seqno) != _SEQNO_BYTES or len(message.from_id) > _MAX_PEER_ID:
        return False
    bare = bare_message(message)
    if message.key:
        if not message.from_id.endswith(message.key):
            return False
        bare.key = message.key
    return bool(message.ByteSize() == bare.ByteSize())


async def read_rpc(stream: Any, buffer: bytearray, intake: Intake, limit: int) -> bytes:
    """The next RPC of a stream. Raises MessageTooLarge above `limit` bytes, ParseError, TooSlowError, StreamEOF.

    G-5: stock, lengths were read a byte at a time through four locks; here one reader owns each stream and its buffer.
    An RPC that has begun must end within FRAME_TIMEOUT_S and takes its announced size from the peer's unparsed bytes;
    where there is no room, it waits unread.
    """
    size = await _announced(stream, buffer, limit)
    if len(buffer) >= size:
        return _cut(buffer, size)
    with trio.fail_after(FRAME_TIMEOUT_S):
        while not intake.reserve(size, ours=False):
            await trio.sleep(_WAIT_FOR_ROOM_S)
        try:
            while len(buffer) < size:
                buffer += await _chunk(stream)
        finally:
            intake.release(size)
    return _cut(buffer, size)


async def _announced(stream: Any, buffer: bytearray, limit: int) -> int:
    """Bytes up to the end of the next RPC; reads until its length is there."""
    while True:
        size = shift = 0
        for at, byte in enumerate(buffer[:_MAX_VARINT]):
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                if size > limit:
                    raise MessageTooLarge(f"{size} bytes where at most {limit} are allowed")
                return at + 1 + size
        if len(buffer) >= _MAX_VARINT:
            raise ParseError("a length is not a varint")
        buffer += await _chunk(stream)


async def _chunk(stream: Any) -> bytes:
    chunk: bytes = await stream.read(_CHUNK)
    if not chunk:
        raise StreamEOF("the stream ended")
    return chunk


def _cut(buffer: bytearray, size: int) -> bytes:
    start = 1 + next(at for at, byte in enumerate(buffer) if byte < 128)
    frame = bytes(buffer[start:size])
    del buffer[:size]
    return frame


class _NothingKept(dict[Any, list[Any]]):
    """A defaultdict(list) that forgets what is appended to its lists."""

    def __missing__(self, key: Any) -> list[Any]:
        return []


def trim_gossip(gossip: Any) -> None:
    """G-9: stock, up to 1,000 whole messages were kept to find equivocation (signatures rule it out), 100 more for each
    peer, and a time for each delivery."""
    gossip._check_equivocation = lambda message: True
    gossip._pending_messages = _NothingKept()
    gossip.recent_message_deliveries = _NothingKept()
