"""Runs this peer's part of the sprint: answers, one commitment, the drawn answers. Law: requests of clients go first; what is committed to is on
disk before the commitment leaves, so a restart says the same again or nothing.

Answers are made by the executor's own engine and kept where its payloads are, so validators fetch them as any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
import trio

from p2p.base import merkle
from p2p.base.codec import Message, encode, load
from p2p.base.errors import FolkmootError, StorageError
from p2p.base.keys import Key, digest
from p2p.base.limits import MAX_SPRINT_ANSWERS, SPRINT_COMMIT_LEAD
from p2p.base.types import RecordKind, SignedFinish, SprintCommit, SprintOpen
from p2p.ledger.participants.sprint import question
from p2p.machine.tasks import once

if TYPE_CHECKING:
    from p2p.chain.chain import Chain
    from p2p.chain.views.sprint import Race
    from p2p.peer.executor import Executor
    from p2p.peer.outbox import Outbox

log = structlog.get_logger()

ROOM_S = 0.05  # between looks whether clients leave room
RETRY_S = 1.0


class Kept(Message, frozen=True):
    """What this peer said in a race: the commitment and the answers under its root, in order."""

    commit: SprintCommit
    finishes: tuple[SignedFinish, ...]


@dataclass(slots=True)
class Attempt:
    """The answers of one race while they are made. ended: no more are being made."""

    race: Race
    made: dict[int, SignedFinish] = field(default_factory=dict)
    begun: int = 0
    running: int = 0
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)

    def in_order(self) -> tuple[SignedFinish, ...]:
        """From number 0 on, up to the first that is not finished."""
        count = next(at for at in range(len(self.made) + 1) if at not in self.made)
        return tuple(self.made[at] for at in range(count))


@dataclass(slots=True)
class SprintRunner:
    """One per peer. model: the one its engine serves. places: answers made at once, clients' requests included."""

    key: Key
    chain: Chain
    outbox: Outbox
    executor: Executor
    model: str
    places: int
    _heat: Attempt | None = None
    _said: set[tuple[int, int]] = field(default_factory=set)  # (epoch, index of the answer; -1: the commitment) since this process began
    _memory: Kept | None = None
    _pruned: int = -1

    async def on_height(self, nursery: trio.Nursery) -> None:
        """Whatever the running sprint asks for at this height."""
        race = self.chain.reader.race(self.key.public, self.model)
        if race is None:
            return
        height, times = self.chain.height(), race.heights
        if self._heat is not None and (height >= times.close - SPRINT_COMMIT_LEAD or self._heat.race.sprint.epoch != race.sprint.epoch):
            await self._close(self._heat)
        try:
            if height < times.close - SPRINT_COMMIT_LEAD:
                self._begin(nursery, race)
            elif height < times.close:
                self._commit(race)
            elif race.run is None:
                await self._prune(race)
            elif race.drawn and height < times.end:
                await self._open(race)
        except StorageError:
            raise
        except FolkmootError as error:  # the outbox is full: tried again next height
            log.warning("the sprint waits", reason=error.message)

    def status(self) -> dict[str, Any]:
        """answers: made in the running race; epoch, committed: of the last one it took part in, -1 and 0 before the first."""
        kept = self._latest()
        return {
            "answers": len(self._heat.made) if self._heat else 0, "epoch": kept.commit.epoch if kept else -1,
            "committed": kept.commit.count if kept else 0,
        }

    # -- the race -----------------------------------------------------------------------------------------------------

    def _begin(self, nursery: trio.Nursery, race: Race) -> None:
        if self._heat is None and race.may and self.executor.engine is not None:
            self._heat = Attempt(race)
            nursery.start_soon(once, "sprint", self._run, self._heat)

    async def _run(self, heat: Attempt) -> None:
        try:
            with heat.scope:
                async with trio.open_nursery() as nursery:
                    for _ in range(self.places):
                        nursery.start_soon(self._answer_all, heat)
        finally:
            heat.ended.set()  # whatever happened: the commitment waits for it

    async def _answer_all(self, heat: Attempt) -> None:
        while heat.begun < MAX_SPRINT_ANSWERS:
            if self.executor.jobs + heat.running >= self.places:
                await trio.sleep(ROOM_S)
                continue
            index, heat.begun = heat.begun, heat.begun + 1
            heat.running += 1
            try:
                heat.made[index] = await self._answer(heat.race, index)
            finally:
                heat.running -= 1

    async def _answer(self, race: Race, index: int) -> SignedFinish:
        prompt, signed = question(self.chain.genesis, race.sprint, self.key.public, self.model, index)
        while True:
            try:
                return await self.executor.answer(signed, prompt, race.spec, race.sprint.beacon)
            except FolkmootError as error:  # the engine is down, or the model's context too short: no answer is no harm
                log.warning("no answer for the sprint", index=index, reason=error.message)
                await trio.sleep(RETRY_S)

    async def _close(self, heat: Attempt) -> None:
        """Stop, and bind this peer to what it has."""
        heat.scope.cancel()
        await heat.ended.wait()
        self._heat = None
        finishes = heat.in_order()
        await self._drop(finish for at, finish in heat.made.items() if at >= len(finishes))
        if finishes:
            self._memory = await trio.to_thread.run_sync(self._bind, heat.race.sprint.epoch, finishes)

    def _bind(self, epoch: int, finishes: tuple[SignedFinish, ...]) -> Kept:
        root = merkle.root([encode(finish) for finish in finishes])
        kept = Kept(SprintCommit(self.key.public, epoch, self.model, root, len(finishes)), finishes)
        self.chain.payloads.put(self._place(), encode(kept))
        return kept

    def _commit(self, race: Race) -> None:
        kept = self._kept(race)
        if kept is not None and race.run is None and race.may:
            self._say(race, -1, RecordKind.SPRINT_COMMIT, kept.commit)

    # -- the drawn answers --------------------------------------------------------------------------------------------

    async def _open(self, race: Race) -> None:
        epoch, kept = race.sprint.epoch, self._kept(race)
        assert race.run is not None  # else nothing is drawn
        if kept is None or (kept.commit.root, kept.commit.count) != (race.run.root, race.run.count):
            log.warning("what was committed to is not here", epoch=epoch)
            return
        opened = {one.index for one in race.run.opened}
        wanted = [index for index in race.drawn if index not in opened and (epoch, index) not in self._said]
        if wanted:
            for index, proof in zip(wanted, await trio.to_thread.run_sync(_proofs, kept.finishes, wanted), strict=True):
                self._say(race, index, RecordKind.SPRINT_OPEN, SprintOpen(epoch, self.model, index, kept.finishes[index], proof))
        await self._prune(race)

    async def _prune(self, race: Race) -> None:
        """What was not drawn, or not committed to in time, is not kept."""
        kept = self._kept(race)
        if kept is not None and self._pruned != kept.commit.epoch:
            self._pruned = kept.commit.epoch
            await self._drop(finish for at, finish in enumerate(kept.finishes) if at not in race.drawn)

    def _say(self, race: Race, index: int, kind: RecordKind, body: Message) -> None:
        """Once in this process: the outbox repeats it until a block has it."""
        if (race.sprint.epoch, index) in self._said:
            return
        self.outbox.put(kind, body)
        self._said = {one for one in self._said if one[0] == race.sprint.epoch} | {(race.sprint.epoch, index)}

    async def _drop(self, finishes: Iterable[SignedFinish]) -> None:
        """Answers that nobody will ask for."""
        await trio.to_thread.run_sync(self.chain.payloads.drop, [finish.record.inference_id for finish in finishes])

    def _kept(self, race: Race) -> Kept | None:
        """Of this race."""
        kept = self._latest()
        return kept if kept and kept.commit.epoch == race.sprint.epoch else None

    def _latest(self) -> Kept | None:
        if self._memory is None and (raw := self.chain.payloads.read(self._place())) is not None:
            self._memory = load(Kept, raw)
        return self._memory

    def _place(self) -> bytes:
        """In the store, beside payloads: those have keys of 32 bytes. The next race's takes its place."""
        return b"sprint/" + digest(self.model.encode())


def _proofs(finishes: tuple[SignedFinish, ...], indices: list[int]) -> list[tuple[bytes, ...]]:
    leaves = [encode(finish) for finish in finishes]
    return [tuple(merkle.prove(leaves, index)) for index in indices]
