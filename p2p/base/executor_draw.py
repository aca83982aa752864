"""Who executes a request: the draw by its inference, or by its session.

Law: the chain, the agent, the executor and the client call the same functions (decision 057).
"""

from __future__ import annotations

from functools import lru_cache

from p2p.base.keys import digest
from p2p.base.types import NO_SESSION, SignedRequest
from p2p.base.weighted_draw import WeightedDraw


def draw_id(signed: SignedRequest) -> bytes:
    """What executors are drawn for, 32 bytes: the inference, or the session of its account."""
    request = signed.request
    if request.session == NO_SESSION:
        return signed.inference_id
    return digest(b"session", request.account, request.session)


@lru_cache(maxsize=64)
def session_lots(then: WeightedDraw, now: WeightedDraw) -> WeightedDraw:
    """Whom a request of a session is drawn from: the nodes of the set of the session's height that still serve at the
    request's own, with the weights of then."""
    still = {node for node, _ in now.pairs()}
    return WeightedDraw((node, weight) for node, weight in then.pairs() if node in still)
