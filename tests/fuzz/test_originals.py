"""Each kind's original is valid: the peer accepts it, and it has its effect.

Else every variant would end at the check that refuses the original, whatever it is made to test.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from p2p.base.outcome import Outcome
from p2p.base.types import RecordKind
from p2p.ledger.rules import ops
from tests.fuzz.kind import Kind
from tests.fuzz.signed import all_kinds
from tests.fuzz.world import WHO, World


@pytest.mark.parametrize("kind", all_kinds(), ids=lambda kind: kind.name)
def test_the_original_is_accepted_and_has_its_effect(kind: Kind, tmp_path: Path) -> None:
    assert kind.by, "somebody has the conduct for it"
    for who in kind.by:
        world = World(tmp_path / who)
        key = WHO[who]
        _, take = kind.send(world, key, kind.make(world, key))
        assert take() is Outcome.ACCEPT, f"by a {who}: {world.complaints()}"
        kind.after(world, key)
        assert kind.effect(world, key), f"by a {who}: accepted, without its effect: {world.complaints()}"
        world.grow(2)
        world.close()


def test_every_record_and_every_operation_has_a_kind() -> None:
    names = " ".join(kind.name for kind in all_kinds())
    records = ["".join(map(str.title, kind.name.split("_"))) for kind in RecordKind if kind is not RecordKind.OP]
    operations = [f"account transaction {body.__name__}" for body in ops.KIND_OF]
    for name in [*(f"record {one}" for one in records), *operations]:
        assert name in names, name
