"""Score parameters that count nothing but what a test sets, so that its figures do not depend on the defaults."""

from __future__ import annotations

from typing import Any

from p2p.gossipsub.params import ScoreParams, TopicScoreParams

_TOPIC: dict[str, Any] = {
    "topic_weight": 1.0, "time_in_mesh_weight": 0.0, "time_in_mesh_quantum": 1.0, "time_in_mesh_cap": 0.0,
    "first_message_deliveries_weight": 0.0, "first_message_deliveries_decay": 0.5, "first_message_deliveries_cap": 0.0,
    "mesh_message_deliveries_weight": 0.0, "mesh_message_deliveries_decay": 0.5, "mesh_message_deliveries_cap": 0.0,
    "mesh_message_deliveries_threshold": 0.0, "mesh_message_deliveries_share": 0.0,
    "mesh_message_deliveries_window": 0.0, "mesh_message_deliveries_activation": 0.0,
    "mesh_failure_penalty_weight": 0.0, "mesh_failure_penalty_decay": 0.5,
    "invalid_message_deliveries_weight": 0.0, "invalid_message_deliveries_decay": 0.5,
}
_ALL: dict[str, Any] = {
    "topic_score_cap": 0.0, "app_specific_weight": 1.0, "ip_colocation_factor_weight": 0.0,
    "ip_colocation_factor_threshold": 1, "behaviour_penalty_weight": 0.0, "behaviour_penalty_threshold": 0.0,
    "behaviour_penalty_decay": 0.5, "decay_interval": 1.0, "decay_to_zero": 0.01, "retain_score": 3600.0,
}


def topic_params(**set_here: Any) -> TopicScoreParams:
    """A topic that counts only what is set here; decays are 0.5."""
    return TopicScoreParams(**{**_TOPIC, **set_here})


def score_params(**set_here: Any) -> ScoreParams:
    """A score that counts only what is set here, with decays of 0.5 each second."""
    return ScoreParams(**{**_ALL, **set_here})
