"""Which peers get every message in addition to the mesh."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from p2p.base.limits import MAX_WANTED_PEERS
from p2p.gossip.wanted import send_to_wanted

PEERS = st.integers(0, 60)


@given(st.sets(PEERS), st.sets(PEERS), st.sets(PEERS), PEERS, PEERS)
def test_wanted_peers_on_the_topic_get_it_whoever_is_in_the_mesh(
    there: set[int], mesh: set[int], wanted: set[int], giver: int, origin: int,
) -> None:
    mesh &= there
    gossip: Any = SimpleNamespace(
        pubsub=SimpleNamespace(peer_topics={"t": there}),
        _get_peers_to_send=lambda topics, f, o, m: iter(mesh - {giver, origin}),
    )
    send_to_wanted(gossip, lambda peer: int(peer) in wanted)
    got = gossip._get_peers_to_send(iter(["t"]), giver, origin)
    assert mesh - {giver, origin} <= got <= there - {giver, origin}
    more = got - mesh
    assert more <= wanted
    assert len(more) == min(MAX_WANTED_PEERS, len((there & wanted) - mesh - {giver, origin}))
