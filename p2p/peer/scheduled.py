"""Admission by the scheduler: a request waits for a place on one of several ML nodes, or is told when to come again.

Law: quotas and room for records are held or refused before anything is awaited; the place, and the count of what runs,
are one step of the scheduler. No request asks an engine whether it is well.

Checks and answers of the sprint ask the same scheduler, with their own classes (`check_job`, `sprint_job`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from p2p.base.errors import Overloaded
from p2p.base.types import AGENT_CAUSED, NO_SESSION, Request
from p2p.peer.admission import RECORDS_OF_AN_ANSWER, Admission, Admitted, NotAdmitted
from p2p.peer.gate import Gate, Place
from p2p.scheduling.jobs import Job, Kind

HoldPlace = Callable[[Job], AbstractAsyncContextManager[Place]]  # Gate.hold, for validator and sprint

if TYPE_CHECKING:
    from p2p.peer.ready_engine import ReadyEngine
    from p2p.wire.frames import Forward


@dataclass(slots=True)
class Scheduled(Admission):
    """One per peer."""

    gate: Gate = field(default_factory=Gate)
    engine_at: Callable[[str], ReadyEngine | None] = lambda name: None  # of the ML node of that name
    own: frozenset[bytes] = frozenset()  # accounts whose requests go before those of others
    _held: set[bytes] = field(default_factory=set)  # inferences that run or wait

    @property
    def running(self) -> int:
        """Jobs on all ML nodes, checks and answers of the sprint included."""
        return self.gate.scheduler.running

    def is_running(self, inference_id: bytes) -> bool:
        """Whether the request runs or waits here."""
        return inference_id in self._held

    @asynccontextmanager
    async def admit(self, forward: Forward) -> AsyncIterator[Admitted]:
        """A share of the agent's quota, room in the outbox and a place on an ML node, while the block runs; it may
        wait for the place up to QUEUE_AGE_S. Raises NotAdmitted."""
        signed, request = forward.signed_request, forward.signed_request.request
        inference_id = signed.inference_id
        if inference_id in self._held:
            raise NotAdmitted("this peer answers this request already")
        with ExitStack() as held:
            try:
                most = request.prompt_tokens_max + request.max_tokens
                usage = held.enter_context(self.quotas.hold(forward.agent, most, self.chain.height()))
                room = held.enter_context(self.outbox.hold(RECORDS_OF_AN_ANSWER))
            except Overloaded as error:
                of_quota = error.field in (self.quotas.who, "max_tokens")
                raise NotAdmitted((AGENT_CAUSED if of_quota else "") + error.message) from error
            self._held.add(inference_id)
            held.callback(self._held.discard, inference_id)
            began = False
            try:
                async with self.gate.hold(self.job(request)) as place:
                    began = True
                    try:
                        yield Admitted(usage, room, self.engine_at(place.node))
                    finally:
                        place.tokens = usage.used
            except Overloaded as error:
                if began:  # the work itself met it
                    raise
                raise NotAdmitted(error.message) from error

    def job(self, request: Request) -> Job:
        """What the scheduler is asked for."""
        kind = Kind.OWN if bytes(request.account) in self.own else Kind.PAID
        session = b"" if request.session == NO_SESSION else bytes(request.session)
        return Job(
            kind, request.model, request.prompt_tokens_max, request.max_tokens, bytes(request.account), session,
        )


def check_job(model: str, tokens: int, begin_by: float | None = None) -> Job:
    """The prefill of a check. tokens: prompt and answer; begin_by: on the event loop's clock."""
    return Job(Kind.VALIDATION, model, tokens, 1, begin_by=begin_by)


def sprint_job(model: str, prompt_tokens: int, max_tokens: int) -> Job:
    """One answer of the sprint."""
    return Job(Kind.SPRINT, model, prompt_tokens, max_tokens)
