"""Who gets every message, besides the mesh. Law: peers that we want (validators, those that we dialled for ourselves) and that are on the topic.

G-17: the mesh is six peers of those that ask for a place in it. Twenty strangers that read nothing filled it, honest ones had pruned each other,
and no vote arrived: the chain of five peers stood still, and for some time after the strangers had left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from p2p.base.limits import MAX_WANTED_PEERS


def send_to_wanted(gossip: Any, wants: Callable[[str], bool]) -> None:
    """What is published or passed on goes to the peers that `wants` names as well."""
    stock = gossip._get_peers_to_send

    def peers(topic_ids: Iterable[str], msg_forwarder: Any, origin: Any, msg_id: bytes | None = None) -> set[Any]:
        topics = list(topic_ids)
        chosen = set(stock(topics, msg_forwarder, origin, msg_id))
        there = {peer for topic in topics for peer in gossip.pubsub.peer_topics.get(topic, ())} - chosen - {msg_forwarder, origin}
        return chosen | set(sorted((peer for peer in there if wants(str(peer))), key=str)[:MAX_WANTED_PEERS])

    gossip._get_peers_to_send = peers
