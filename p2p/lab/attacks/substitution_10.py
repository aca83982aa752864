"""Cheats in one request of ten, at random, with laundered int4: below what a check of one answer notices."""

from collections.abc import AsyncIterator

from p2p.base.keys import digest
from p2p.lab.attacks.base import Attack
from p2p.lab.attacks.launder import Laundered
from p2p.verification.engine import Job, TokenStep

SHARE = 0.10


def cheated(seed: bytes) -> bool:
    """Whether the request with this tape seed is one of the cheated ones: the host's own draw, the same when asked
    again.
    """
    return int.from_bytes(digest(b"substitute", seed)[:4], "big") < SHARE * 2**32


class Substituted(Laundered):
    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        source = super().generate(job) if cheated(job.seed) else self.honest.generate(job)
        async for step in source:
            yield step


ATTACK = Attack(
    "substitution_10", "Answers one request of ten with laundered int4, the others honestly.",
    "stage 1 over an epoch (sequential test)", weights="int4", wrap=Substituted,
)
