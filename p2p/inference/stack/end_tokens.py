"""Which tokens end an answer. Law: the engine says; of one that does not say it is token 2."""

from __future__ import annotations

from p2p.verification.engine import Engine

EOS_FALLBACK = frozenset({2})


async def end_tokens(engine: Engine) -> frozenset[int]:
    """The token ids that end an answer, as the engine says."""
    ends = getattr(engine, "eos_ids", EOS_FALLBACK)
    return frozenset(await ends() if callable(ends) else ends)
