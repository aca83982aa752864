"""Runs this peer's part of the sprint: it answers as many questions as it can, commits to them, and opens those drawn.

Law: requests of clients go first. Answers are on disk before their commitment is queued, so after a restart this peer
opens the same answers or none.

The executor's own engine makes the answers, and they are kept with its payloads, so validators fetch them as any
others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
import trio

from p2p.base import merkle
from p2p.base.body import Body
from p2p.base.codec import Message, encode, load
from p2p.base.errors import FolkmootError, StorageError
from p2p.base.keys import Key
from p2p.base.serving_limits import MAX_SPRINT_ANSWERS, SPRINT_COMMIT_LEAD
from p2p.base.types import RecordKind, SignedFinish, SignedRequest, SprintCommit, SprintOpen
from p2p.chain.stores import payload_keys
from p2p.ledger.participants.sprint import question
from p2p.machine.tasks import once
from p2p.peer.job import Assignment
from p2p.peer.ready_engine import ReadyEngine
from p2p.peer.scheduled import HoldPlace, sprint_job
from p2p.wire.answers.status import SprintStatus

if TYPE_CHECKING:
    from p2p.chain.chain import Chain
    from p2p.chain.views.sprint import SprintView
    from p2p.peer.executor import Executor
    from p2p.peer.outbox import Outbox

log = structlog.get_logger()

ROOM_S = 0.05  # between two looks whether clients leave a place free
RETRY_S = 1.0  # after an answer that failed
COMMITMENT = -1  # in place of an answer's index


class Kept(Message, frozen=True):
    """What this peer committed to in one epoch's sprint."""

    commit: SprintCommit
    finishes: tuple[SignedFinish, ...]  # the answers under the commitment's root, in order


@dataclass(slots=True)
class Attempt:
    """One epoch's answers while they are made."""

    view: SprintView
    made: dict[int, SignedFinish] = field(default_factory=dict)  # by the answer's index
    begun: int = 0
    running: int = 0  # being made now
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)  # no more answers are being made

    def in_order(self) -> tuple[SignedFinish, ...]:
        """The answers from index 0 up to the first that is not finished."""
        count = next(at for at in range(len(self.made) + 1) if at not in self.made)
        return tuple(self.made[at] for at in range(count))


@dataclass(slots=True)
class SprintRunner:
    """One per peer."""

    key: Key
    chain: Chain
    outbox: Outbox
    executor: Executor
    model: str  # that this peer's engine serves
    places: int  # answers made, or waiting for a place, at once
    place: HoldPlace | None = None  # the scheduler's; None: places that clients leave free, on one ML node
    engine_at: Callable[[str], ReadyEngine | None] = lambda name: None  # of the ML node of that name
    _attempt: Attempt | None = None
    # (epoch, index of the answer or COMMITMENT) of records put into the outbox by this process
    _queued: set[tuple[int, int]] = field(default_factory=set)
    _memory: Kept | None = None  # what is on disk
    _pruned: int = -1  # epoch whose answers were pruned last

    async def on_height(self, nursery: trio.Nursery) -> None:
        """Do what the sprint asks of this peer at the present height. Raises StorageError."""
        view = self.chain.reader.sprint_view(self.key.public, self.model)
        if view is None:
            return
        height, times = self.chain.height(), view.heights
        last, attempt = times.close - SPRINT_COMMIT_LEAD, self._attempt
        if attempt is not None and (height >= last or attempt.view.sprint.epoch != view.sprint.epoch):
            await self._close(attempt)
        try:
            if height < last:
                self._begin(nursery, view)
            elif height < times.close:
                self._commit(view)
            elif view.run is None:
                await self._prune(view)
            elif view.drawn and height < times.end:
                await self._open(view)
        except StorageError:
            raise
        except FolkmootError as error:  # the outbox is full: tried again next height
            log.warning("the sprint's records wait", reason=error.message)

    def status(self) -> SprintStatus:
        kept, made = self._latest(), len(self._attempt.made) if self._attempt else 0
        return SprintStatus(made, kept.commit.epoch if kept else -1, kept.commit.count if kept else 0)

    # -- before the commitment ------------------------------------------------------------------------------------

    def _begin(self, nursery: trio.Nursery, view: SprintView) -> None:
        if self._attempt is None and view.may_commit and self.executor.ready is not None:
            self._attempt = Attempt(view)
            nursery.start_soon(once, "sprint", self._run, self._attempt)

    async def _run(self, attempt: Attempt) -> None:
        try:
            with attempt.scope:
                async with trio.open_nursery() as nursery:
                    for _ in range(self.places):
                        nursery.start_soon(self._answer_all, attempt)
        finally:
            attempt.ended.set()  # in any case: _close waits for it

    async def _answer_all(self, attempt: Attempt) -> None:
        owed = -1  # index of the answer that this task has begun and not made; -1: none
        while owed >= 0 or attempt.begun < MAX_SPRINT_ANSWERS:
            if self.place is None and owed < 0 and self.executor.jobs + attempt.running >= self.places:
                await trio.sleep(ROOM_S)
                continue
            try:
                async with self._place(attempt.view) as node:
                    if owed < 0:
                        owed, attempt.begun = attempt.begun, attempt.begun + 1
                    attempt.running += 1
                    try:
                        attempt.made[owed] = await self._answer(attempt.view, owed, node)
                    finally:
                        attempt.running -= 1
                owed = -1
            except FolkmootError as error:  # no place, the engine is down, or the context too short
                log.warning("no answer for the sprint", index=owed, reason=error.message)
                await trio.sleep(RETRY_S)

    @asynccontextmanager
    async def _place(self, view: SprintView) -> AsyncIterator[str]:
        """A place for one answer: the ML node's name, '' without a scheduler. Raises Overloaded."""
        if self.place is None:
            yield ""
            return
        request = self._question(view, 0)[1].request  # all are as long
        async with self.place(sprint_job(self.model, request.prompt_tokens_max, request.max_tokens)) as place:
            yield place.node
            place.tokens = request.prompt_tokens_max + request.max_tokens

    def _question(self, view: SprintView, index: int) -> tuple[Body, SignedRequest]:
        return question(self.chain.genesis, view.sprint, self.key.public, self.model, index)

    async def _answer(self, view: SprintView, index: int, node: str) -> SignedFinish:
        body, signed = self._question(view, index)
        assignment = Assignment(signed, body, view.spec, view.sprint.beacon)
        return await self.executor.answer(assignment, self.engine_at(node))

    async def _close(self, attempt: Attempt) -> None:
        """Stop, and keep what this peer will commit to."""
        attempt.scope.cancel()
        await attempt.ended.wait()
        self._attempt = None
        finishes = attempt.in_order()
        await self._drop(finish for at, finish in attempt.made.items() if at >= len(finishes))
        if finishes:
            self._memory = await trio.to_thread.run_sync(self._bind, attempt.view.sprint.epoch, finishes)

    def _bind(self, epoch: int, finishes: tuple[SignedFinish, ...]) -> Kept:
        root = merkle.root([encode(finish) for finish in finishes])
        kept = Kept(SprintCommit(self.key.public, epoch, self.model, root, len(finishes)), finishes)
        self.chain.payloads.put(payload_keys.sprint(self.model), encode(kept))
        return kept

    def _commit(self, view: SprintView) -> None:
        kept = self._kept(view)
        if kept is not None and view.run is None and view.may_commit:
            self._put(view, COMMITMENT, RecordKind.SPRINT_COMMIT, kept.commit)

    # -- the drawn answers ----------------------------------------------------------------------------------------

    async def _open(self, view: SprintView) -> None:
        epoch, kept = view.sprint.epoch, self._kept(view)
        assert view.run is not None  # else nothing is drawn
        if kept is None or (kept.commit.root, kept.commit.count) != (view.run.root, view.run.count):
            log.warning("the answers this peer committed to are not on disk", epoch=epoch)
            return
        opened = {one.index for one in view.run.opened}
        wanted = [index for index in view.drawn if index not in opened and (epoch, index) not in self._queued]
        if wanted:
            for index, proof in zip(wanted, await trio.to_thread.run_sync(_proofs, kept.finishes, wanted), strict=True):
                self._put(
                    view, index, RecordKind.SPRINT_OPEN,
                    SprintOpen(epoch, self.model, index, kept.finishes[index], proof)
                )
        await self._prune(view)

    async def _prune(self, view: SprintView) -> None:
        """Delete the answers that were not drawn, or not committed to in time."""
        kept = self._kept(view)
        if kept is not None and self._pruned != kept.commit.epoch:
            self._pruned = kept.commit.epoch
            await self._drop(finish for at, finish in enumerate(kept.finishes) if at not in view.drawn)

    def _put(self, view: SprintView, index: int, kind: RecordKind, body: Message) -> None:
        """Queue a record once in this process: the outbox repeats it until a block has it."""
        if (view.sprint.epoch, index) in self._queued:
            return
        self.outbox.put(kind, body)
        self._queued = {one for one in self._queued if one[0] == view.sprint.epoch} | {(view.sprint.epoch, index)}

    async def _drop(self, finishes: Iterable[SignedFinish]) -> None:
        """Delete answers that nobody will ask for."""
        await trio.to_thread.run_sync(self.chain.payloads.drop, [finish.record.inference_id for finish in finishes])

    def _kept(self, view: SprintView) -> Kept | None:
        """What is on disk, if it is of this epoch."""
        kept = self._latest()
        return kept if kept and kept.commit.epoch == view.sprint.epoch else None

    def _latest(self) -> Kept | None:
        if self._memory is None and (raw := self.chain.payloads.read(payload_keys.sprint(self.model))) is not None:
            self._memory = load(Kept, raw)
        return self._memory


def _proofs(finishes: tuple[SignedFinish, ...], indices: list[int]) -> list[tuple[bytes, ...]]:
    leaves = [encode(finish) for finish in finishes]
    return [tuple(merkle.prove(leaves, index)) for index in indices]
