"""The one thread that owns the torch model. Law: the queue is bounded; a cancelled ticket costs at most one more step;
every ticket gets an end.

Between two steps of the batch the thread drops cancelled rows, lets waiting jobs join, and scores at most one
sequence; a check only when it is the turn of checks (scheduling/turns.py). It has no event loop.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from p2p.base.errors import InvalidRequest, Overloaded, Unavailable
from p2p.base.limits import TOKEN_TIMEOUT_S
from p2p.inference.torch.decode import Decoder, Event, admit
from p2p.scheduling import turns
from p2p.verification.engine import Job, Row, Tokens, TokenStep

if TYPE_CHECKING:
    from p2p.inference.torch.model import TorchModel

Delivery = TokenStep | tuple[Row, ...] | Exception | None  # None: a job's end


@dataclass(frozen=True, slots=True)
class Score:
    """One sequence to score."""

    prompt_tokens: Tokens
    output_tokens: Tokens
    top: int  # candidates per output position
    due: int = turns.ANSWER  # it lets answers pass until then, seconds since 1970
    job: Job | None = None  # its answer is replayed too: rows are marked


@dataclass(slots=True, eq=False)
class Ticket:
    """One piece of work and the way to its owner."""

    work: Job | Score
    deliver: Callable[[Delivery], None]  # called in the worker's thread; must not block
    cancelled: bool = False  # set by the owner: nothing is delivered after that
    since: float = field(default_factory=time.time)

    def give(self, item: Delivery) -> None:
        if self.cancelled:
            return
        try:
            self.deliver(item)
        except RuntimeError:  # the owner's event loop has ended
            self.cancelled = True


class Worker:
    """rows: sequences in the batch at most. limit: tickets of both kinds together that may wait. decoder: makes the
    batch."""

    def __init__(
        self, model: TorchModel, rows: int, limit: int, decoder: Callable[[TorchModel, int], Decoder] = Decoder
    ) -> None:
        self._model, self._limit = model, limit
        self._decoder = decoder(model, rows)
        self._waiting: deque[Ticket] = deque()
        self._change = threading.Condition()
        self._closing = False
        self._turns = turns.Turns()
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="torch-engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, ticket: Ticket) -> None:
        """Raises Overloaded when too many wait, Unavailable when the thread is gone."""
        with self._change:
            if self._closing or not self._thread.is_alive():
                raise Unavailable("the torch engine has ended", field="ml_node")
            if len(self._waiting) >= self._limit:
                self._waiting = deque(t for t in self._waiting if not t.cancelled)
            if len(self._waiting) >= self._limit:
                raise Overloaded(
                    f"{self._limit} jobs are waiting for the torch engine; try again later", field="ml_node"
                )
            self._waiting.append(ticket)
            self._change.notify()

    def healthy(self) -> bool:
        """Whether the thread is alive and its current pass has not taken longer than TOKEN_TIMEOUT_S."""
        since = self._busy_since
        return self._thread.is_alive() and not self._closing and (
            since is None or time.monotonic() - since < TOKEN_TIMEOUT_S
        )

    def close(self, timeout_s: float) -> None:
        """End the thread after its current step. All tickets that are left get Unavailable."""
        with self._change:
            self._closing = True
            self._change.notify()
        self._thread.join(timeout_s)

    # -- in the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._pause():
                self._busy_since = time.monotonic()
                self._turn()
                self._busy_since = None
        finally:
            with self._change:
                self._closing = True
                left = [*self._waiting]
                self._waiting.clear()
            for ticket in (*left, *self._decoder.clear()):
                _fail(ticket, Unavailable("the torch engine has ended", field="ml_node"))

    def _pause(self) -> bool:
        """Wait for work; False when the thread is to end."""
        with self._change:
            while not (self._closing or self._waiting or self._decoder.tags):
                self._change.wait(TOKEN_TIMEOUT_S)
            return not self._closing

    def _turn(self) -> None:
        for ticket in self._decoder.tags:
            if isinstance(ticket, Ticket) and ticket.cancelled:
                self._decoder.drop(ticket)
        try:
            self._give(self._decoder.step())
        except Exception as error:  # out of memory, or a kernel refused: this batch is lost, the next may succeed
            for lost in self._decoder.clear():
                _fail(lost, error)
        jobs, score = self._take()
        self._join(jobs)
        if score is not None:
            self._score(score)

    def _take(self) -> tuple[list[Ticket], Ticket | None]:
        """The jobs that may join now, and a score: one that is part of an answer, else the check that is due first.
        Jobs keep their order, and so do scores that are due together."""
        with self._change:
            live = [ticket for ticket in self._waiting if not ticket.cancelled]
            jobs = [ticket for ticket in live if isinstance(ticket.work, Job)]
            jobs = jobs[: admit([t.work for t in jobs if isinstance(t.work, Job)], self._decoder.free)]
            score = self._first_score(live)
            taken = {id(ticket) for ticket in (*jobs, score)}
            self._waiting = deque(ticket for ticket in live if id(ticket) not in taken)
        return jobs, score

    def _first_score(self, live: list[Ticket]) -> Ticket | None:
        scores = [(ticket.work.due, at, ticket) for at, ticket in enumerate(live) if isinstance(ticket.work, Score)]
        if not scores:
            return None
        due, _, first = min(scores)
        if not turns.is_check(due):
            return first
        alone = not self._decoder.tags and not any(isinstance(ticket.work, Job) for ticket in live)
        share = 1.0 if alone else turns.share(due, first.since, time.time())
        return first if self._turns.tokens(time.monotonic(), share) else None

    def _join(self, tickets: list[Ticket]) -> None:
        """Prefill new jobs together; when that fails, one by one, so that only the job that caused it fails."""
        ready: list[tuple[Ticket, Job]] = []
        for ticket in tickets:
            assert isinstance(ticket.work, Job)
            try:
                self._decoder.check(ticket.work)
            except Exception as error:
                _fail(ticket, error)
                continue
            ready.append((ticket, ticket.work))
        if not ready:
            return
        try:
            self._give(self._decoder.add(ready))
        except Exception as error:
            if len(ready) == 1:
                self._decoder.drop(ready[0][0])
                _fail(ready[0][0], error)
                return
            for ticket, _ in ready:
                self._decoder.drop(ticket)
                self._join([ticket])

    def _score(self, ticket: Ticket) -> None:
        work, began = ticket.work, time.monotonic()
        assert isinstance(work, Score)
        self._turns.begun()
        try:
            if work.job is not None:
                ticket.give(self._model.replayed_rows(work.job, work.top))
            else:
                ticket.give(self._model.prefill_rows(work.prompt_tokens, work.output_tokens, work.top))
        except Exception as error:
            _fail(ticket, error)
        now = time.monotonic()
        self._turns.ended(now, now - began, len(work.prompt_tokens) + len(work.output_tokens))

    @staticmethod
    def _give(events: list[Event]) -> None:
        for event in events:
            ticket = event.tag
            assert isinstance(ticket, Ticket)
            if event.error is not None:
                _fail(ticket, event.error)
                continue
            ticket.give(event.step)
            if event.last:
                ticket.give(None)


def _fail(ticket: object, error: Exception) -> None:
    """End a ticket: whatever went wrong, its owner gets Unavailable, but for tokens that the model does not have."""
    assert isinstance(ticket, Ticket)
    refused = isinstance(ticket.work, Score) and isinstance(error, InvalidRequest) and error.field == "tokens"
    if not (isinstance(error, Unavailable) or refused):
        error = Unavailable(f"the torch engine failed: {type(error).__name__}: {error}"[:300], field="ml_node")
    ticket.give(error)
