"""Remember what signatures verified to. Law: same answers, only sooner: in one process n peers check the same
n-times-sent bytes.

Nothing is faked: a signature is verified by the real verifier the first time, and the answer belongs to exactly those
bytes.
"""

from __future__ import annotations

import functools

from p2p.base import keys, vrf
from p2p.consensus import wire
from p2p.consensus.messages import SignedVote

_done = False


def install() -> None:
    """Once per process."""
    global _done
    if _done:
        return
    _done = True
    keys.verify_raw = functools.lru_cache(maxsize=65_536)(keys.verify_raw)
    vrf.verify = functools.lru_cache(maxsize=4096)(vrf.verify)
    SignedVote.verify = functools.lru_cache(maxsize=65_536)(SignedVote.verify)  # type: ignore[method-assign]
    wire.parse = functools.lru_cache(maxsize=4096)(wire.parse)
