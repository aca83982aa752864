"""Brings an older store forward, one schema after the other.

Law: a step is cut into pieces, and a piece is one transaction together with how far the step is. So whatever ends the
program between two pieces, the next run goes on with the piece after it, and no piece is done twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from p2p.base.errors import StorageError
from p2p.store.batch import Batch
from p2p.store.keys import MIGRATING, SCHEMA, SCHEMA_KEY
from p2p.store.lmdb import Store

# (the store, the mark of the last piece done; empty at first) -> pieces and their marks
Pieces = Callable[[Store, bytes], Iterator[tuple[Batch, bytes]]]


@dataclass(frozen=True, slots=True)
class Step:
    """From the schema before `to` to `to`."""

    to: int
    says: str  # what it changes, for the user
    pieces: Pieces


def _nothing(store: Store, mark: bytes) -> Iterator[tuple[Batch, bytes]]:
    """Nothing is rewritten: only the number says what programs must know."""
    return iter(())


STEPS: tuple[Step, ...] = (
    Step(11, "the guard may hold: a restored store signs nothing yet, which older programs would not know", _nothing),
)


def plan(store: Store, steps: Sequence[Step] = STEPS, goal: int = SCHEMA) -> list[Step]:
    """The steps that this store needs. Raises StorageError for one that is too new, or that no step begins with."""
    found = store.schema
    if found > goal:
        raise StorageError(
            f"the store has schema {found}, which is newer than {goal}, this program's; use the program that wrote it",
            field="schema", code="schema",
        )
    needed = [step for step in steps if found < step.to <= goal]
    if [step.to for step in needed] != list(range(found + 1, goal + 1)):
        raise StorageError(
            f"the store has schema {found}, and this program can bring forward {steps[0].to - 1} and later; begin again"
            " with an empty data folder and the same key only if this key never signed, else restore a newer backup",
            field="schema", code="schema",
        )
    return needed


def migrate(store: Store, steps: Sequence[Step] = STEPS, goal: int = SCHEMA) -> Iterator[str]:
    """Do what `plan` says; one sentence after each piece. Raises StorageError."""
    for step in plan(store, steps, goal):
        head = bytes([step.to])
        raw = store.read("meta", MIGRATING) or b""
        mark = raw[1:] if raw[:1] == head else b""
        for batch, reached in step.pieces(store, mark):
            batch.put("meta", MIGRATING, head + reached)
            store.commit(batch)
            yield f"schema {step.to}: up to {reached.hex() or 'its beginning'}"
        last = Batch()
        last.put("meta", SCHEMA_KEY, head)
        last.put("meta", MIGRATING, None)
        store.commit(last)
        yield f"schema {step.to}: done, {step.says}"
