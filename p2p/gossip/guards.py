"""Every repair to py-libp2p 0.8.1, in one place. Law: another release is refused loudly; each repair has a test.

Stock, any connected peer ends the process with a few bytes, and a listener stops accepting after 250 connections in its
life. Labels G-1 ... G-9 are named by tests/gossip. Patches of classes are made once per process by `install`; the rest
are given to one host. When libp2p changes, read this file against it, run the tests, then move VERSION.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final

import trio
from libp2p.exceptions import ParseError
from libp2p.io.exceptions import IncompleteReadError, MessageTooLarge
from libp2p.network.swarm import Swarm
from libp2p.pubsub import gossipsub as gossipsub_module
from libp2p.pubsub import pubsub as pubsub_module
from libp2p.pubsub import rpc_queue
from libp2p.pubsub.pubsub import Pubsub
from libp2p.stream_muxer.yamux.yamux import YamuxStream

from p2p.errors import ConfigError
from p2p.limits import DISCONNECT_TIMEOUT_S, MAX_INBOUND_STREAMS_PER_PEER, OUTBOUND_QUEUE

VERSION: Final = "0.8.1"
_RECORD_CHECK_S: Final = 600.0  # a signed record that was good is good again this long
_RECORD_SEND_S: Final = 5.0  # our own record is not renewed more often
_MAX_CACHED: Final = 1024
_MARK: Final = "_folkmoot_guarded"
log = logging.getLogger(__name__)

Report = Callable[[str, BaseException], None]


def check_version(found: str | None = None) -> None:
    """Raise ConfigError unless libp2p is the release these repairs were made for."""
    found = version("libp2p") if found is None else found
    if found != VERSION:
        raise ConfigError(
            f"libp2p {found} is installed, the guards are for {VERSION}: install libp2p=={VERSION}, or check"
            " p2p/gossip/guards.py against the new release",
            field="libp2p",
        )


def install() -> None:
    """Patch the library's classes; once per process."""
    check_version()
    if getattr(Swarm, _MARK, False):
        return
    setattr(Swarm, _MARK, True)
    # Its warnings and tracebacks are written by whoever sends bad bytes: a full disk is one more remote fault.
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)
    _release_inbound_slots()
    _enlarge_outbound_queues()
    _batch_window_updates()
    _cache_signed_records()
    _read_rpcs_in_chunks()


def _release_inbound_slots() -> None:
    """G-1: an inbound connection kept its limiter token for ever; give it back when the connection closes."""
    stock = Swarm.upgrade_inbound_raw_conn

    async def upgrade(self: Any, raw_conn: Any, address: Any) -> Any:
        muxed = await stock(self, raw_conn, address)
        closed = getattr(muxed, "event_closed", None)
        if closed is None:
            return muxed
        await closed.wait()
        # The caller's own error path frees the token, the task and the socket.
        raise ConnectionAbortedError("the inbound connection ended")

    Swarm.upgrade_inbound_raw_conn = upgrade


def _enlarge_outbound_queues() -> None:
    """G-2: 32 waiting RPCs for a peer; the rest of a burst vanished without a word."""
    rpc_queue.PriorityQueue.__init__.__defaults__ = (OUTBOUND_QUEUE,)
    rpc_queue.RpcQueue.__init__.__defaults__ = (OUTBOUND_QUEUE, rpc_queue.DefaultMaxMessageSize)


def _batch_window_updates() -> None:
    """G-3: each one-byte read sent an encrypted WINDOW_UPDATE; send one for each half window."""

    async def update(self: Any, *, bytes_read: int = 0) -> None:
        self._pending_recv_release += bytes_read
        half = self.target_recv_window // 2
        if self._pending_recv_release < half:
            return
        async with self.window_lock:
            credit = self._pending_recv_release
            if credit < half:
                return
            self._pending_recv_release = 0
            self.recv_window += credit
            credit += self._apply_autotune_epoch(len(self.conn.stream_buffers.get(self.stream_id, b"")))
        await self.send_window_update(credit)

    YamuxStream._auto_tune_and_send_window_update = update


def _cache_signed_records() -> None:
    """G-4: the sender's signed record was verified, and our own signed anew, for every RPC."""
    stock_check, stock_make = pubsub_module.maybe_consume_signed_record, pubsub_module.env_to_send_in_RPC
    checked: OrderedDict[tuple[int, bytes], tuple[bytes, float]] = OrderedDict()
    made: OrderedDict[int, tuple[bytes, float]] = OrderedDict()

    def check(message: Any, host: Any, peer: Any) -> bool:
        if not message.HasField("senderRecord"):
            return True
        place, record, now = (id(host), peer.to_bytes()), message.senderRecord, time.monotonic()
        held = checked.get(place)
        if held is not None and held[0] == record and now < held[1]:
            return True
        good = bool(stock_check(message, host, peer))
        if good:
            checked[place] = (record, now + _RECORD_CHECK_S)
            _bound(checked)
        return good

    def make(host: Any) -> tuple[bytes, bool]:
        now = time.monotonic()
        held = made.get(id(host))
        if held is not None and now < held[1]:
            return held[0], False
        envelope, fresh = stock_make(host)
        made[id(host)] = (envelope, now + _RECORD_SEND_S)
        _bound(made)
        return envelope, fresh

    for module in (pubsub_module, gossipsub_module):
        module.maybe_consume_signed_record = check
        module.env_to_send_in_RPC = make


def _bound(table: OrderedDict[Any, Any]) -> None:
    while len(table) > _MAX_CACHED:
        table.popitem(last=False)


def _read_rpcs_in_chunks() -> None:
    """G-5: lengths were read a byte at a time through four locks. One reader owns each pubsub stream."""

    async def read(stream: Any, limit: int) -> bytes:
        buffer: bytearray = stream.__dict__.setdefault(_MARK, bytearray())
        while True:
            size = shift = 0
            for at, byte in enumerate(buffer[:10]):
                size |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    if size > limit:
                        raise MessageTooLarge(f"{size} bytes where {limit} are allowed")
                    end = at + 1 + size
                    if len(buffer) >= end:
                        frame = bytes(buffer[at + 1 : end])
                        del buffer[:end]
                        return frame
                    break
            else:
                if len(buffer) >= 10:
                    raise ParseError("a length is not a varint")
            chunk = await stream.read(65536)
            if not chunk:
                raise IncompleteReadError("the stream ended", expected_bytes=1, received_bytes=0)
            buffer += chunk

    pubsub_module.read_varint_prefixed_bytes_limited = read


def guard_streams(host: Any, admit: Callable[[str], bool], report: Report) -> None:
    """G-6: an exception from any inbound stream (negotiation, identify, DHT, our handlers) ended the host.

    admit(peer): False resets the stream unread (banned). More than the allowed number of streams of one peer are reset.
    """
    inner = host._swarm_stream_handler
    open_streams: Counter[str] = Counter()

    async def guarded(stream: Any) -> None:
        peer = str(stream.muxed_conn.peer_id)
        if not admit(peer) or open_streams[peer] >= MAX_INBOUND_STREAMS_PER_PEER:
            report(peer, StreamLimit("refused stream"))
            await reset_quietly(stream)
            return
        open_streams[peer] += 1
        try:
            await inner(stream)
        except Exception as error:  # the boundary this file exists for; trio.Cancelled passes
            report(peer, error)
            await reset_quietly(stream)
        finally:
            open_streams[peer] -= 1
            if open_streams[peer] <= 0:
                del open_streams[peer]

    host.get_network().set_stream_handler(guarded)


class StreamLimit(Exception):
    """A stream that was refused: the peer is banned or has too many open."""


async def reset_quietly(stream: Any) -> None:
    """Reset a stream that may already be broken. A stream left open makes its connection a zombie."""
    with trio.CancelScope(shield=True), trio.move_on_after(DISCONNECT_TIMEOUT_S):
        try:
            await stream.reset()
        except Exception:  # resetting a broken stream may fail in any way; there is nothing left to lose
            return


async def drop_connection(host: Any, peer: Any) -> None:
    """Disconnect even a peer that takes no bytes: the table must not list it for ever."""
    with trio.CancelScope(shield=True), trio.move_on_after(DISCONNECT_TIMEOUT_S):
        try:
            await host.disconnect(peer)
        except Exception as error:  # the library's close paths raise anything; what counts is the table below
            log.debug("disconnecting %s: %r", peer, error)
    for connection in host.get_network().get_connections(peer):
        muxed = getattr(connection, "muxed_conn", None)
        if muxed is not None and hasattr(muxed, "event_closed"):
            muxed.event_closed.set()
    host.get_network().connections.pop(peer, None)


class GuardedPubsub(Pubsub):  # type: ignore[misc]  # the library publishes no types
    """G-7: undecodable keys and ids, garbage protobuf and raising validators ended the pubsub service and the host."""

    def __init__(self, host: Any, router: Any, report: Report, admit: Callable[[str], bool], **options: Any) -> None:
        super().__init__(host, router, **options)
        self._report = report
        self._admit = admit
        # The stock counter starts at whole seconds: a restarted peer that had sent more than one message a second
        # would use its old sequence numbers again and be taken for its own echo.
        self.counter = time.time_ns()

    def set_sync_validator(self, topic: str, validator: Callable[[str, Any], bool]) -> None:
        """Synchronous only: asynchronous validators let a message in twice."""

        def guarded(forwarder: Any, message: Any) -> bool:
            try:
                return bool(validator(str(forwarder), message))
            except Exception as error:  # a validator's bug must not end the host
                log.exception("validator of %s", topic)
                self._report(str(forwarder), error)
                return False

        self.set_topic_validator(topic, guarded, False)

    async def push_msg(self, forwarder: Any, message: Any) -> None:
        if forwarder == self.my_id:
            await super().push_msg(forwarder, message)
            return
        if not self._admit(str(forwarder)):
            return
        try:
            await super().push_msg(forwarder, message)
        except Exception as error:  # remote bytes: any decoder below may raise anything
            self._report(str(forwarder), error)

    async def stream_handler(self, stream: Any) -> None:
        peer = stream.muxed_conn.peer_id
        try:
            await super().stream_handler(stream)
        except Exception as error:  # as above
            self._report(str(peer), error)
            await reset_quietly(stream)
            self._handle_dead_peer(peer)

    def notify_subscriptions(self, publish_message: Any) -> None:
        """G-8: 32 messages wait for a subscriber, later ones are lost. Our validators consume; nothing has to wait."""


class _NothingKept(dict[Any, list[Any]]):
    def __missing__(self, key: Any) -> list[Any]:
        return []  # what is appended goes with it


def trim_gossip(gossip: Any) -> None:
    """G-9: up to 1,000 whole messages were kept for equivocation (signatures forbid it), 100 more for each peer."""
    gossip._check_equivocation = lambda message: True
    gossip._pending_messages = _NothingKept()
