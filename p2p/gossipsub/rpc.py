"""What two gossipsub routers say to each other, as values.

Law: these are the fields of libp2p's RPC that this router uses, and nothing else; bytes become these values elsewhere.

Topics are StrictNoSign: a message has a topic and data, no author, sequence number or signature (libp2p specification,
pubsub/README.md, "Signature Policy Options"). What is sent here signs itself.
"""

from __future__ import annotations

from enum import IntEnum
from hashlib import sha256

import msgspec

ID_BYTES = 20  # of a message id: collisions cost 2**80 hashes, and ids are most of what gossip about messages weighs


class Version(IntEnum):
    """The newest protocol that both sides speak: `/meshsub/1.0.0`, `/meshsub/1.1.0` or `/meshsub/1.2.0`."""

    V1_0 = 10
    V1_1 = 11  # PRUNE may say a back-off and other peers
    V1_2 = 12  # IDONTWANT


class Subscription(msgspec.Struct, frozen=True, gc=False):
    """The sender joined a topic, or left it."""

    topic: str
    subscribe: bool


class Message(msgspec.Struct, frozen=True, gc=False):
    """A published message as it travels."""

    topic: str
    data: bytes


class IHave(msgspec.Struct, frozen=True):
    """The sender has messages with these ids."""

    topic: str
    ids: tuple[bytes, ...]


class IWant(msgspec.Struct, frozen=True):
    """The sender asks for messages with these ids."""

    ids: tuple[bytes, ...]


class Graft(msgspec.Struct, frozen=True, gc=False):
    """The sender has put the receiver into its mesh."""

    topic: str


class PeerInfo(msgspec.Struct, frozen=True, gc=False):
    """A peer that a pruned one may dial instead."""

    peer: bytes  # its id, a multihash
    record: bytes = b""  # its signed peer record; empty where the sender has none


class Prune(msgspec.Struct, frozen=True):
    """The sender has taken the receiver out of its mesh."""

    topic: str
    peers: tuple[PeerInfo, ...] = ()
    backoff_s: int = 0  # for which the receiver must not graft; 0: not said, as in version 1.0


class IDontWant(msgspec.Struct, frozen=True):
    """The sender has these messages already."""

    ids: tuple[bytes, ...]


class Rpc(msgspec.Struct, frozen=True):
    """What one router sends another in one piece."""

    subscriptions: tuple[Subscription, ...] = ()
    messages: tuple[Message, ...] = ()
    ihave: tuple[IHave, ...] = ()
    iwant: tuple[IWant, ...] = ()
    graft: tuple[Graft, ...] = ()
    prune: tuple[Prune, ...] = ()
    idontwant: tuple[IDontWant, ...] = ()


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """A new message of a joined topic, to be judged: `router.judge(delivery.id, outcome, now)`."""

    id: bytes
    topic: str
    data: bytes
    peer: str  # who brought it first


def message_id(topic: str, data: bytes) -> bytes:
    """The id of a message: the first ID_BYTES bytes of SHA-256 over topic (with its length) and data."""
    return sha256(id_prefix(topic) + data).digest()[:ID_BYTES]


def id_prefix(topic: str) -> bytes:
    """What is hashed before a message's data: the length of the topic's UTF-8 in 8 bytes little endian, and the
    topic. The length keeps (topic, data) apart from (a longer topic, less data)."""
    name = topic.encode()
    return len(name).to_bytes(8, "little") + name
