"""Every parameter of the router and of the score, with the values of the gossipsub specification where it has one.

Law: what a network may tune is here; what bounds a stranger's use of memory is in base/limits.py.

Sources: libp2p specifications, gossipsub v1.0 (mesh, cache), v1.1 (back-off, exchange, score), v1.2 (IDONTWANT).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from p2p.base.limits import KIB


class Priority(IntEnum):
    """The class of a topic: what is shed first has the greatest number."""

    VOTES = 0  # never shed, and neither are control messages
    PROPOSALS = 1
    TRANSACTIONS = 2
    ADVERTS = 3  # with gossip about messages (IHAVE) the first to go


def decay_over(seconds: float, *, interval_s: float = 1.0, to_zero: float = 0.01) -> float:
    """The factor per decay interval that brings a counter of 1 to `to_zero` in so many seconds."""
    return float(to_zero ** (interval_s / seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicScoreParams:
    """How conduct on one topic counts, by the names of the specification (v1.1, "Overview of New Parameters").

    Times are in seconds; a decay is the factor of one decay interval."""

    topic_weight: float = 1.0  # of the topic's sum in the score
    # P1, time in the mesh: quanta spent there, at most so many
    time_in_mesh_weight: float = 0.01
    time_in_mesh_quantum: float = 1.0
    time_in_mesh_cap: float = 10.0  # over all topics less than thresholds.opportunistic_graft: silence earns no place
    # P2, messages brought first
    first_message_deliveries_weight: float = 1.0
    first_message_deliveries_decay: float = decay_over(60)
    first_message_deliveries_cap: float = 20.0
    # P3, messages brought first or nearly so by a member of the mesh; below the threshold the squared deficit counts.
    # Off unless a topic says otherwise: its rate must be known, and a chain that stands still has none.
    mesh_message_deliveries_weight: float = 0.0
    mesh_message_deliveries_decay: float = decay_over(60)
    mesh_message_deliveries_cap: float = 20.0
    mesh_message_deliveries_threshold: float = 1.0
    mesh_message_deliveries_share: float = 0.0  # ours, 0 for none: the threshold is at most this share of all accepted
    mesh_message_deliveries_window: float = 0.5  # after the first copy: batching adds up to 20 ms a hop
    mesh_message_deliveries_activation: float = 30.0
    # P3b, the deficits at which a peer was pruned
    mesh_failure_penalty_weight: float = 0.0
    mesh_failure_penalty_decay: float = decay_over(120)
    # P4, invalid messages, squared: the ninth brings a peer with nothing else below the graylist threshold
    invalid_message_deliveries_weight: float = -1.0
    invalid_message_deliveries_decay: float = decay_over(600)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreParams:
    """How conduct counts over all topics. Topics that are not listed count nothing. Times are in seconds."""

    topics: Mapping[str, TopicScoreParams] = field(default_factory=dict)
    topic_score_cap: float = 50.0  # most that all topics together add; 0: no cap
    app_specific_weight: float = 1.0  # P5, points that the application gives
    # P6, peers in one address group: the squared surplus over the threshold. Group "" is none (this machine).
    ip_colocation_factor_weight: float = -1.0
    ip_colocation_factor_threshold: int = 16
    ip_colocation_factor_whitelist: frozenset[str] = frozenset()
    # P7, breaches of the protocol: the squared surplus over the threshold, because honest peers lose messages too
    behaviour_penalty_weight: float = -5.0
    behaviour_penalty_threshold: float = 6.0
    behaviour_penalty_decay: float = decay_over(300)
    decay_interval: float = 1.0
    decay_to_zero: float = 0.01  # a counter below it is zero
    retain_score: float = 3600.0  # for which the score of a peer that left is remembered


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Scores at which a peer is treated otherwise. Below 0 it is in no mesh."""

    gossip: float = -10.0  # below: no gossip to it or from it
    publish: float = -50.0  # below: it does not get our own messages
    graylist: float = -80.0  # below: whatever it sends is ignored
    accept_exchange: float = 10.0  # from here on its PRUNEs may name peers to dial
    opportunistic_graft: float = 1.0  # a mesh whose median is below takes in better peers


@dataclass(frozen=True, slots=True)
class Params:
    """The parameters of one router."""

    degree: int = 6  # D: members of a topic's mesh
    degree_low: int = 4  # D_lo: fewer, and it grafts
    degree_high: int = 12  # D_hi: more, and it prunes
    degree_score: int = 4  # D_score: of those that are kept when it prunes, the best by score
    degree_out: int = 2  # D_out: members that this peer dialled itself; below D_lo, at most D/2
    degree_lazy: int = 6  # D_lazy: peers outside the mesh that hear of messages, at least
    gossip_factor: float = 0.25  # and at least this share of them
    heartbeat_s: float = 1.0  # between two heartbeats
    history_length: int = 5  # heartbeats for which a message can be asked for
    history_gossip: int = 3  # of these, heartbeats in which others are told of it
    seen_ttl_s: float = 120.0  # for which a judged message's id is remembered, at least
    fanout_ttl_s: float = 60.0  # for which peers are kept for a topic that we publish to and have not joined
    prune_backoff_s: float = 60.0
    unsubscribe_backoff_s: float = 10.0
    refusal_backoff_s: float = 15.0  # ours, for one that finds a full mesh: it may be needed soon
    backoff_slack: int = 1  # heartbeats added to our own patience: clocks and heartbeats differ
    graft_flood_s: float = 10.0  # a GRAFT so soon after a PRUNE costs twice
    flood_publish: bool = True  # our own messages go to every peer of the topic above the publish threshold
    iwant_followup_s: float = 3.0  # by when what was offered and asked for must have come
    max_ihave_messages: int = 10  # IHAVEs heard from one peer between two heartbeats
    max_ihave_length: int = 5000  # ids asked of one peer between two heartbeats
    iwant_repeats: int = 3  # how often one message is sent to one peer that asks for it
    opportunistic_graft_ticks: int = 15  # heartbeats between two looks at the median
    opportunistic_graft_peers: int = 2
    exchange_peers: int = 16  # peers named in one PRUNE: more than D_hi, so that a mesh can be made of them
    idontwant_threshold: int = KIB  # bytes of data from which on IDONTWANT is sent: below, it costs more than it saves
    idontwant_ttl: int = 3  # heartbeats for which one that came is remembered
    max_idontwant_messages: int = 1000  # of one peer between two heartbeats
    thresholds: Thresholds = Thresholds()
    score: ScoreParams = field(default_factory=ScoreParams)
    priorities: Mapping[str, Priority] = field(default_factory=dict)  # of topics; TRANSACTIONS where not listed

    def __post_init__(self) -> None:
        assert 0 <= self.degree_low <= self.degree <= self.degree_high, "D_lo <= D <= D_hi"
        assert 0 <= self.degree_score <= self.degree
        assert self.degree_out < max(1, self.degree_low), "D_out is below D_lo"
        assert self.degree_out <= self.degree / 2, "D_out is at most D/2"
        assert 1 <= self.history_gossip <= self.history_length
        t = self.thresholds
        assert t.graylist < t.publish <= t.gossip < 0 <= t.accept_exchange
        assert t.opportunistic_graft >= 0


def params_for(
    size: int, *, priorities: Mapping[str, Priority], scores: Mapping[str, TopicScoreParams] | None = None,
) -> Params:
    """The parameters for a network of about `size` peers. In a small one everybody is in every mesh, and a pruned peer
    comes back soon: with a mesh of three in four, one that waits out a back-off of a minute hears nothing."""
    degree = max(3, min(6, size - 1))
    return Params(
        degree=degree, degree_low=min(4, degree), degree_score=min(4, degree), degree_out=min(2, degree // 2),
        prune_backoff_s=10.0 if size <= 12 else 60.0, priorities=priorities,
        score=ScoreParams(topics=scores if scores is not None else {topic: TopicScoreParams() for topic in priorities}),
    )
