"""How many bytes an RPC has on the wire: libp2p's protobuf and its length prefix, computed without encoding it."""

from __future__ import annotations

from functools import cache

from p2p.gossipsub.rpc import ID_BYTES, Rpc


@cache
def field_size(size: int) -> int:
    """A length-delimited field with a tag of one byte around `size` bytes."""
    return 1 + varint_size(size) + size


def varint_size(number: int) -> int:
    return (max(number, 1).bit_length() + 6) // 7


@cache
def _message_size(topic: int, data: int) -> int:
    return field_size(field_size(data) + field_size(topic))


def sizes_of(rpc: Rpc) -> tuple[int, int]:
    """(everything but messages, with the varint in front; messages). Ids have the length that they should have."""
    messages = 0
    for one in rpc.messages:
        messages += _message_size(len(one.topic), len(one.data))
    control, id_size = 0, field_size(ID_BYTES)
    for offer in rpc.ihave:
        control += field_size(field_size(len(offer.topic)) + id_size * len(offer.ids))
    for wanted in rpc.iwant:
        control += field_size(id_size * len(wanted.ids))
    for unwanted in rpc.idontwant:
        control += field_size(id_size * len(unwanted.ids))
    for graft in rpc.graft:
        control += field_size(field_size(len(graft.topic)))
    for prune in rpc.prune:
        peers = sum(field_size(field_size(len(one.peer)) + field_size(len(one.record))) for one in prune.peers)
        control += field_size(field_size(len(prune.topic)) + peers + 1 + varint_size(prune.backoff_s))
    if control:
        control = field_size(control)
    for said in rpc.subscriptions:
        control += field_size(2 + field_size(len(said.topic)))
    return control + varint_size(control + messages), messages
