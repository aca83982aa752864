"""Sends every gossip message to some peers outside the mesh as well.

Law: these are the peers that we want (validators, and peers that we dialled on purpose), if they are on the topic.

G-17: the mesh has six peers, of those that ask for a place in it. Twenty strangers that read nothing filled it while
honest peers pruned each other. No vote arrived any more, and a chain of five peers stood still for as long, and for
some time after the strangers had left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from p2p.base.limits import MAX_WANTED_PEERS


def send_to_wanted(gossip: Any, wants: Callable[[str], bool]) -> None:
    """Patch one router: what it publishes or forwards also goes to up to MAX_WANTED_PEERS peers for which `wants` is
    true."""
    stock = gossip._get_peers_to_send

    def peers(topic_ids: Iterable[str], msg_forwarder: Any, origin: Any, msg_id: bytes | None = None) -> set[Any]:
        topics = list(topic_ids)
        chosen = set(stock(topics, msg_forwarder, origin, msg_id))
        on_topic = {peer for topic in topics for peer in gossip.pubsub.peer_topics.get(topic, ())}
        others = on_topic - chosen - {msg_forwarder, origin}
        return chosen | set(sorted((peer for peer in others if wants(str(peer))), key=str)[:MAX_WANTED_PEERS])

    gossip._get_peers_to_send = peers
