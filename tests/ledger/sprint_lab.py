"""A ledger with a sprint: nodes that answer, commit and open, and committees that judge. Law: only real records and
real ends of blocks, with the validator sets of each."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import pytest
from msgspec.structs import replace

from p2p.base import merkle
from p2p.base.codec import encode
from p2p.base.errors import FolkmootError
from p2p.base.genesis import SprintRules
from p2p.base.keys import Domain, Key, digest
from p2p.base.types import FinishReason, FinishRecord, RecordKind, SignedFinish, SprintCommit, SprintOpen
from p2p.ledger.participants.sprint import Heights, Run, Sprint, drawn, heights, question, run_of, sprint_of
from p2p.ledger.participants.validator_sets import Members, members, rotate
from p2p.ledger.rules.context import Context
from tests.ledger.lab import STEADY, Lab

EPOCH, TOKENS = 45, 10
UNCAPPED = replace(STEADY, owner_cap_milli=1000)
RULES = SprintRules(blocks=6, open_blocks=5, samples=3, max_tokens=20, unit_tokens=10)


class SprintLab(Lab):
    """8 peers of weight 10, without a cap by owner unless a test wants it. answers: (node, model) -> the answers it
    committed to."""

    def __init__(
        self, peers: int = 8, *, sprint: SprintRules = RULES, epoch_blocks: int = EPOCH, **change: Any
    ) -> None:
        super().__init__(peers, epoch_blocks=epoch_blocks, sprint=sprint, **{"economy": UNCAPPED, **change})
        self.answers: dict[tuple[bytes, str], tuple[SignedFinish, ...]] = {}

    def block(self, count: int = 1) -> None:
        for _ in range(count):
            height = self.height
            super().block()
            rotate(Context(self.view, self.genesis, height), [])

    @property
    def epoch(self) -> int:
        return (self.height - 1) // self.genesis.epoch_blocks

    @property
    def times(self) -> Heights:
        return heights(self.genesis, self.epoch)

    @property
    def sprint(self) -> Sprint:
        found = sprint_of(self.view)
        assert found is not None
        return found

    def to(self, height: int) -> None:
        """End blocks until records of block `height` can be added."""
        self.block(height - self.height)

    def to_commit(self) -> None:
        self.to(self.times.first + 1)

    def to_open(self) -> None:
        self.to(self.times.draw + 1)

    def to_next_epoch(self) -> None:
        self.to((self.epoch + 1) * self.genesis.epoch_blocks + 1)

    def weight(self, node: bytes) -> int:
        found = self.view.participant(node)
        assert found is not None
        return found.weight

    def set(self, name: bytes = b"now") -> Members:
        return members(self.view, name)

    # -- answering -----------------------------------------------------------------------------------------------------

    def finish_of(
        self, node: bytes, index: int, tokens: int = TOKENS, model: str = "toy", **change: Any
    ) -> SignedFinish:
        _, signed = question(self.genesis, self.sprint, node, model, index)
        fields = {
            "inference_id": signed.inference_id, "executor": node, "prompt_tokens": 40, "output_tokens": tokens,
            **change,
        }
        hashes = {
            "artifact_root": digest(b"root", signed.inference_id), "output_hash": digest(b"said", signed.inference_id)
        }
        record = FinishRecord(**{**hashes, "finish_reason": FinishReason.STOP, **fields})
        return SignedFinish(record, self.by_node[node].sign(Domain.FINISH, self.network, encode(record)))

    def answer_and_commit(self, node: bytes, count: int, tokens: int = TOKENS, model: str = "toy") -> None:
        """`node` answers `count` questions and commits."""
        made = tuple(self.finish_of(node, index, tokens, model) for index in range(count))
        self.answers[node, model] = made
        root = merkle.root([encode(finish) for finish in made])
        self.put(node, RecordKind.SPRINT_COMMIT, SprintCommit(node, self.epoch, model, root, count))

    def run(self, node: bytes, model: str = "toy") -> Run:
        found = run_of(self.view, node, model)
        assert found is not None
        return found

    def drawn_of(self, node: bytes, model: str = "toy") -> tuple[int, ...]:
        return drawn(self.genesis, self.sprint, self.run(node, model))

    def opening(self, node: bytes, index: int, model: str = "toy", **change: Any) -> SprintOpen:
        made = self.answers[node, model]
        proof = tuple(merkle.prove([encode(finish) for finish in made], index))
        fields: dict[str, Any] = {
            "epoch": self.epoch, "model": model, "index": index, "finish": made[index], "proof": proof
        }
        return SprintOpen(**{**fields, **change})

    def open(self, node: bytes, indices: Collection[int] | None = None, model: str = "toy") -> list[bytes]:
        """Open the drawn answers, or those with these indices. Returns the ids of all opened ones."""
        for index in self.drawn_of(node, model) if indices is None else indices:
            self.put(node, RecordKind.SPRINT_OPEN, self.opening(node, index, model))
        return [opened.inference_id for opened in self.run(node, model).opened]

    # -- committees -------------------------------------------------------------------------------------------------

    def judge(self, ids: Collection[bytes], says: Callable[[bytes], bool] = lambda inference_id: True) -> None:
        """Let all committees of `ids` give the verdicts that `says` tells of each, until everything is decided."""
        while waiting := [one for one in ids if not self.inference(one).end_height]:
            for one in waiting:
                found = self.inference(one)
                for node in found.committees[-1].members if found.committees else ():
                    committee, verdict = self.inference(one).committees[-1], self.verdict(one, node, valid=says(one))
                    if not committee.revealing and node not in {seen.validator for seen in committee.commits}:
                        self.commit(verdict)
                    elif committee.revealing and node not in {seen.validator for seen in committee.verdicts}:
                        self.reveal(verdict)
            self.block()

    def whole_sprint(self, counts: dict[bytes, int], tokens: int = TOKENS) -> None:
        """One honest sprint of this epoch, up to the first height of the next epoch. counts: node -> answers."""
        self.to_commit()
        for node, count in counts.items():
            self.answer_and_commit(node, count, tokens)
        self.to_open()
        self.judge([one for node in counts for one in self.open(node)])
        self.to_next_epoch()


def join(lab: SprintLab, number: int, owner: Key, models: tuple[str, ...] = ("toy",)) -> bytes:
    """Register a new node of `owner`. Returns its key."""
    from tests.ledger.account_transactions import registration, submit

    node = Key(bytes([200 + number]) * 32)
    lab.by_node[node.public] = node
    lab.nodes.append(node.public)
    submit(lab, owner, registration(lab, owner, node, models=models))
    return node.public


def opened(lab: SprintLab, counts: dict[bytes, int]) -> dict[bytes, list[bytes]]:
    """Every node answers, commits and opens its drawn answers: node -> inference ids."""
    lab.to_commit()
    for node, count in counts.items():
        lab.answer_and_commit(node, count)
    lab.to_open()
    return {node: lab.open(node) for node in counts}


def refused(lab: SprintLab, sender: bytes, kind: RecordKind, body: object, field: str) -> None:
    before = dict(lab.view.changes)
    with pytest.raises(FolkmootError) as caught:
        lab.put(sender, kind, body)
    assert caught.value.field == field, caught.value
    assert lab.view.changes == before, "a refused record changes nothing"


def commitment(lab: SprintLab, node: bytes, **change: Any) -> SprintCommit:
    return replace(SprintCommit(node, lab.epoch, "toy", bytes(32), 5), **change)
