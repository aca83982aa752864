"""Sprints of the random run: nodes answer, commit and open, and some of it is wrong on purpose.

Law: an opening that is meant well shows an answer that was committed to. A wrong one has a name, as in wrong.py, and
must be refused whatever else its block holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from p2p.base import merkle
from p2p.base.codec import encode
from p2p.base.keys import Domain
from p2p.base.types import FinishReason, FinishRecord, RecordKind, SignedFinish, SignedRequest, SprintCommit, SprintOpen
from p2p.ledger.participants.sprint import Heights, Run, Sprint, drawn, heights, question, run_of, sprint_of
from p2p.ledger.rules.heights import epoch_of
from p2p.ledger.rules.models import models
from tests.ledger.soak.lives import HASH, Life, Lives
from tests.ledger.soak.people import FORGER, WILD
from tests.ledger.soak.scene import Scene

PROMPT_TOKENS = 40


@dataclass(frozen=True)
class Entry:
    """What a node committed to for one model. padded: indices of answers that do not belong to their questions."""

    requests: tuple[SignedRequest, ...]
    finishes: tuple[SignedFinish, ...]
    padded: frozenset[int]

    @property
    def leaves(self) -> list[bytes]:
        return [encode(finish) for finish in self.finishes]


class Sprints:
    """entries: the commitments of the current epoch, by (node, model)."""

    def __init__(self, scene: Scene, lives: Lives) -> None:
        self.scene, self.lives = scene, lives
        self.entries: dict[tuple[bytes, str], Entry] = {}

    def advance(self) -> None:
        sprint = self._running()
        if sprint is None:
            self.entries.clear()
        elif self.scene.height <= self._times.close:
            self._commit(sprint)
        elif self._opening:
            self._open(sprint)

    @property
    def _times(self) -> Heights:
        return heights(self.scene.genesis, epoch_of(self.scene.genesis, self.scene.height))

    @property
    def _opening(self) -> bool:
        return self._times.draw < self.scene.height <= self._times.end

    def _running(self) -> Sprint | None:
        """The sprint to which records of this block may belong."""
        found = sprint_of(self.scene.view)
        return found if found and found.epoch == epoch_of(self.scene.genesis, self.scene.height) else None

    def _commit(self, sprint: Sprint) -> None:
        """Each node commits at a random height, sometimes at none."""
        scene = self.scene
        live = {spec.model for spec in models(scene.view) if not spec.retired}
        for participant in scene.participants:
            for model in sorted(live & {*participant.models}):
                may = not (participant.convicted_until or participant.suspended_until or participant.leaving)
                if may and (participant.node, model) not in self.entries and scene.chance(450):
                    entry = self._entry(sprint, participant.node, model)
                    commitment = _commitment(participant.node, sprint.epoch, model, entry)
                    if scene.put(participant.node, RecordKind.SPRINT_COMMIT, commitment):
                        self.entries[participant.node, model] = entry

    def _entry(self, sprint: Sprint, node: bytes, model: str) -> Entry:
        scene, count = self.scene, 2 + self.scene.rng.randrange(11)
        asked = tuple(question(scene.genesis, sprint, node, model, index)[1] for index in range(count))
        pads = scene.chance(250 if scene.people.number.get(node) == WILD else 30)
        padded = frozenset(range(1, count)) if pads else frozenset[int]()
        said = tuple(self._finish(node, asked[0 if at in padded else at]) for at in range(count))
        return Entry(asked, said, padded)

    def _finish(self, node: bytes, signed: SignedRequest) -> SignedFinish:
        tokens = 1 + self.scene.rng.randrange(signed.request.max_tokens)
        record = FinishRecord(signed.inference_id, node, bytes(32), HASH, PROMPT_TOKENS, tokens, FinishReason.STOP)
        return self._signed(record)

    def _signed(self, record: FinishRecord) -> SignedFinish:
        return SignedFinish(
            record, self.scene.key(record.executor).sign(Domain.FINISH, self.scene.network, encode(record))
        )

    def _open(self, sprint: Sprint) -> None:
        """Open the drawn answers at once, later or never. Each answer then has a life, and may be faulty."""
        scene = self.scene
        for (node, model), entry in self.entries.items():
            if scene.chance(200):
                self._wrong_opening(sprint, node, model, entry)
            run = run_of(scene.view, node, model)
            for index in self._left(sprint, run) if run else ():
                wrong = "no answer to its question" if index in entry.padded else ""
                if not scene.chance(750) or not scene.put(
                    node, RecordKind.SPRINT_OPEN, _opening(sprint.epoch, model, entry, index), wrong
                ):
                    continue
                if not wrong:
                    signed, number = entry.requests[index], scene.people.number.get(node)
                    faulty = scene.chance(150 if number == FORGER else 50 if number == WILD else 4)
                    self.lives.live[signed.inference_id] = Life(signed, node, node, 0, 0, 0, 0, (HASH, 0), faulty)

    def _left(self, sprint: Sprint, run: Run) -> list[int]:
        opened = {one.index for one in run.opened}
        return [index for index in drawn(self.scene.genesis, sprint, run) if index not in opened]

    # -- what is wrong ------------------------------------------------------------------------------------------------

    def wrong(self) -> None:
        """A commitment or an opening that must be refused."""
        sprint = self._running() or sprint_of(self.scene.view)
        if sprint is None:
            return
        entered = [(node, model, entry) for (node, model), entry in self.entries.items() if node in self.scene.nodes]
        if entered and self.scene.chance(600):
            self._wrong_opening(sprint, *self.scene.rng.choice(entered))
        else:
            self._wrong_commitment(sprint)

    def _wrong_commitment(self, sprint: Sprint) -> None:
        scene = self.scene
        node, other = scene.rng.sample(scene.nodes, 2)
        model = scene.rng.choice([spec.model for spec in models(scene.view)])
        good = SprintCommit(node, sprint.epoch, model, scene.rng.randbytes(32), 1 + scene.rng.randrange(100))
        cases: list[tuple[str, SprintCommit]] = [
            ("another's commitment", replace(good, node=other)), ("another epoch", replace(good, epoch=good.epoch + 1)),
            ("no such model", replace(good, model="none")),
        ]
        if self._running() is None or scene.height > self._times.close:
            cases.append(("not its time", good))
        if run_of(scene.view, node, model) is not None:
            cases.append(("a second commitment", good))
        wrong, body = scene.rng.choice(cases)
        scene.put(node, RecordKind.SPRINT_COMMIT, body, wrong)

    def _wrong_opening(self, sprint: Sprint, node: bytes, model: str, entry: Entry) -> None:
        scene = self.scene
        run = run_of(scene.view, node, model)
        wanted = drawn(scene.genesis, sprint, run) if run else ()
        index = scene.rng.choice(wanted or range(len(entry.finishes)))
        good = _opening(sprint.epoch, model, entry, index)
        record = good.finish.record
        other = scene.rng.choice([key for key in scene.nodes if key != node])
        at = (index + 1) % len(entry.finishes)
        cases: list[tuple[str, bytes, dict[str, Any]]] = [
            ("another epoch", node, {"epoch": sprint.epoch + 1}), ("another's opening", other, {}),
            ("a cut proof", node, {"proof": good.proof[:-1]}),
            ("no such model", node, {"model": "none"}),
            ("not signed", node, {"finish": replace(good.finish, signature=scene.rng.randbytes(64))}),
            ("other tokens", node, {"finish": self._signed(replace(record, output_tokens=record.output_tokens + 1))}),
            ("another answer's number", node, {"index": at}),
        ]
        if entry.finishes[at] != good.finish:  # padding may say the same twice
            cases.append(("another answer", node, {"finish": entry.finishes[at]}))
        if not self._opening:
            cases.append(("not its time", node, {}))
        elif run is not None:
            cases += [
                ("opened before", node, _plain(_opening(sprint.epoch, model, entry, one.index))) for one in run.opened
            ]
            spared = [one for one in range(run.count) if one not in wanted]
            cases += [
                ("not drawn", node, _plain(_opening(sprint.epoch, model, entry, scene.rng.choice(spared))))
            ] if spared else []
        wrong, sender, change = scene.rng.choice(cases)
        scene.put(sender, RecordKind.SPRINT_OPEN, replace(good, **change), wrong)


def _commitment(node: bytes, epoch: int, model: str, entry: Entry) -> SprintCommit:
    return SprintCommit(node, epoch, model, merkle.root(entry.leaves), len(entry.finishes))


def _opening(epoch: int, model: str, entry: Entry, index: int) -> SprintOpen:
    return SprintOpen(epoch, model, index, entry.finishes[index], tuple(merkle.prove(entry.leaves, index)))


def _plain(body: SprintOpen) -> dict[str, Any]:
    return {"index": body.index, "finish": body.finish, "proof": body.proof}
