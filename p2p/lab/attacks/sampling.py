"""Shared by the attacks that ask the right model to sample in another way.

Law: one function Job -> Job is the whole lie.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from p2p.lab.attacks.base import Wrapped
from p2p.peer.roles import Fault
from p2p.verification.engine import Engine, Job, TokenStep


class _Altered(Wrapped):
    change: Callable[[Job], Job]

    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        async for step in self.inner.generate(self.change(job)):
            yield step


def altered(change: Callable[[Job], Job]) -> Fault:
    """A wrap that asks the engine for `change(job)` and publishes what comes as the answer to `job`."""

    def wrap(inner: Engine, honest: Engine) -> Engine:
        engine = _Altered(inner, honest)
        engine.change = change
        return engine

    return wrap
