"""Gossipsub RPCs to bytes and back, in the protobuf format of the libp2p specifications (gossipsub v1.2).

Law: what an RPC holds is counted before it becomes objects, and a message has a topic and data and nothing else.

- RPC-1: an RPC has at most MAX_RPC_ITEMS parts: messages, subscriptions, control messages and what they list.
- RPC-2: a message has one topic, and no author, sequence number, signature or key (StrictNoSign): whoever signs, signs
  in the data. One that has any of these is refused, with its whole RPC.
- RPC-3: lists are cut to their limits, and each topic and id is heard once; what a peer says beyond that is not heard.
- RPC-4: unknown fields are skipped, as protobuf asks, so other libraries may send what they like in them.

The protobuf library reads one level at a time (rpc_schema.py): a part is bytes until it was counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from google.protobuf.message import DecodeError

from p2p.base.errors import RemoteProtocolError
from p2p.base.limits import (
    MAX_CONTROL_TOPICS,
    MAX_GOSSIP,
    MAX_MESSAGE_ID,
    MAX_MESSAGE_IDS,
    MAX_PEER_ID,
    MAX_PEER_RECORD,
    MAX_PRUNE_BACKOFF_S,
    MAX_PRUNE_PEERS,
    MAX_RPC_ITEMS,
    MAX_TOPIC_NAME,
)
from p2p.gossip import rpc_schema as schema
from p2p.gossipsub.rpc import ID_BYTES, Graft, IDontWant, IHave, IWant, Message, PeerInfo, Prune, Rpc, Subscription

_NAMES: Final = 256  # encoded topics that are remembered


# -- reading

def decode(raw: bytes) -> Rpc:
    """Raises RemoteProtocolError for bytes that are no RPC, for one with too many parts (RPC-1), and for a message that
    is signed, too large or without a topic (RPC-2)."""
    try:
        return _Reader().rpc(raw)
    except (DecodeError, UnicodeDecodeError) as error:
        raise RemoteProtocolError("these bytes are not an RPC of gossipsub", field="rpc", code="rpc") from error


class _Reader:
    """Reads one RPC, and counts its parts."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_RPC_ITEMS

    def rpc(self, raw: bytes) -> Rpc:
        outer = schema.Rpc.FromString(raw)
        subscriptions, messages = self._counted(outer.subscriptions), self._counted(outer.publish)
        if not outer.control:
            return Rpc(
                subscriptions=tuple([_subscription(part) for part in subscriptions[:MAX_CONTROL_TOPICS]]),
                messages=tuple([_message(part) for part in messages]),
            )
        control = schema.Control.FromString(b"".join(self._counted(outer.control)))  # protobuf merges them so
        haves, left = [], MAX_MESSAGE_IDS
        for have in (schema.IHave.FromString(part) for part in self._counted(control.ihave)[:MAX_CONTROL_TOPICS]):
            haves.append(IHave(_name(have.topic), self._ids(have.ids, left)))
            left -= len(haves[-1].ids)
        grafts = dict.fromkeys(_name(schema.Graft.FromString(part).topic) for part in self._topics(control.graft))
        prunes = {prune.topic: prune for prune in (self._prune(part) for part in self._topics(control.prune))}
        wanted, unwanted = self._listed(control.iwant), self._listed(control.idontwant)
        return Rpc(
            subscriptions=tuple([_subscription(part) for part in subscriptions[:MAX_CONTROL_TOPICS]]),
            messages=tuple([_message(part) for part in messages]),
            ihave=tuple(haves), iwant=(IWant(wanted),) if wanted else (), graft=tuple(map(Graft, grafts)),
            prune=tuple(prunes.values()), idontwant=(IDontWant(unwanted),) if unwanted else (),
        )

    def _counted(self, parts: Sequence[bytes]) -> Sequence[bytes]:
        self._left -= len(parts)
        if self._left < 0:
            raise RemoteProtocolError(f"an RPC of more than {MAX_RPC_ITEMS} parts", field="rpc", code="too_large")
        return parts

    def _topics(self, parts: Sequence[bytes]) -> Sequence[bytes]:
        return self._counted(parts)[:MAX_CONTROL_TOPICS]

    def _listed(self, parts: Sequence[bytes]) -> tuple[bytes, ...]:
        """The ids of all IWANT, or all IDONTWANT."""
        ids: dict[bytes, None] = {}
        for part in self._counted(parts):
            ids |= dict.fromkeys(self._ids(schema.IWant.FromString(part).ids, MAX_MESSAGE_IDS - len(ids)))
        return tuple(ids)

    def _ids(self, ids: Sequence[bytes], most: int) -> tuple[bytes, ...]:
        found = tuple(dict.fromkeys(self._counted(ids)[:most]))
        for one in found:
            _within(one, MAX_MESSAGE_ID, "message id")
        return found

    def _prune(self, part: bytes) -> Prune:
        prune = schema.Prune.FromString(part)
        peers = [schema.PeerInfo.FromString(one) for one in self._counted(prune.peers)[:MAX_PRUNE_PEERS]]
        named = tuple(
            PeerInfo(_within(one.peer, MAX_PEER_ID, "peer"), _within(one.record, MAX_PEER_RECORD, "record"))
            for one in peers
        )
        return Prune(_name(prune.topic), named, min(prune.backoff, MAX_PRUNE_BACKOFF_S))


def _message(part: bytes) -> Message:
    message = schema.Message.FromString(part)
    has = message.HasField
    if has("author") or has("seqno") or has("signature") or has("key"):
        raise RemoteProtocolError(
            "a message has an author or a signature; these topics have none (StrictNoSign)", field="rpc", code="signed",
        )
    if len(message.topic) != 1:
        raise RemoteProtocolError(f"a message has {len(message.topic)} topics", field="topic", code="topic")
    return Message(_name(message.topic[0]), _within(message.data, MAX_GOSSIP, "data"))


def _subscription(part: bytes) -> Subscription:
    found = schema.Subscription.FromString(part)
    return Subscription(_name(found.topic), found.subscribe)


def _name(raw: bytes) -> str:
    return _within(raw, MAX_TOPIC_NAME, "topic").decode()


def _within(raw: bytes, most: int, field: str) -> bytes:
    if len(raw) > most:
        raise RemoteProtocolError(f"{len(raw)} bytes where at most {most} are allowed", field=field, code="too_large")
    return raw


# -- writing

def encode(rpc: Rpc) -> bytes:
    """The bytes of `rpc`, as the protobuf library writes them and sooner: fields in the order of their numbers."""
    out = [_part(1, bytes((8, one.subscribe)) + _named(2, one.topic)) for one in rpc.subscriptions]
    for message in rpc.messages:
        body = b"".join((b"\x12", varint(len(message.data)), message.data, _named(4, message.topic)))
        out += (b"\x12", varint(len(body)), body)
    control = [_part(1, _named(1, one.topic) + _ids(2, one.ids)) for one in rpc.ihave]
    control += [_part(2, _ids(1, one.ids)) for one in rpc.iwant]
    control += [_part(3, _named(1, one.topic)) for one in rpc.graft]
    control += [_part(4, _pruned(one)) for one in rpc.prune]
    control += [_part(5, _ids(1, one.ids)) for one in rpc.idontwant]
    if control:
        out.append(_part(3, b"".join(control)))
    return b"".join(out)


def _pruned(prune: Prune) -> bytes:
    peers = (_part(2, _part(1, one.peer) + (_part(2, one.record) if one.record else b"")) for one in prune.peers)
    return _named(1, prune.topic) + b"".join(peers) + (b"\x18" + varint(prune.backoff_s) if prune.backoff_s else b"")


def _ids(number: int, ids: Sequence[bytes]) -> bytes:
    if ids and all(len(one) == ID_BYTES for one in ids):
        head = bytes((number << 3 | 2, ID_BYTES))
        return head + head.join(ids)
    return b"".join([_part(number, one) for one in ids])


@lru_cache(maxsize=_NAMES)
def _named(number: int, topic: str) -> bytes:
    return _part(number, topic.encode())


def _part(number: int, body: bytes) -> bytes:
    return b"".join((bytes((number << 3 | 2,)), varint(len(body)), body))


def varint(value: int) -> bytes:
    """An unsigned number of at most 64 bits, as protobuf writes it."""
    if value < 128:
        return bytes((value,))
    if value < 16384:
        return bytes((value & 127 | 128, value >> 7))
    return bytes((value & 127 | 128,)) + varint(value >> 7)
