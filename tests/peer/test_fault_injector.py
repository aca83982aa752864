"""A planted fault is in the answer to the question that was asked for it, and in no other; what can never be revealed
does not stop it from planting faults."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from p2p.base.codec import encode, load
from p2p.base.errors import InvalidRequest
from p2p.base.keys import Domain, Key
from p2p.base.types import (
    VERSION,
    Params,
    PlantCommit,
    PlantReveal,
    RecordKind,
    Request,
    SignedRequest,
    plant_commitment,
)
from p2p.lab.roles import roles_of
from p2p.lab.settings import LabSettings
from p2p.peer import fault_injector
from p2p.peer.fault_injector import DECIDED, FAULTS, FaultInjector, Plant

NODE, OWNER = Key(b"\x01" * 32), Key(b"\x02" * 32)
REQUEST = Request(VERSION, "n", OWNER.public, 1, "toy", bytes(32), Params(), 50, 50, 100, 40, OWNER.public, 1)


class FakeChain:
    """Its parts are all this one object."""

    payloads = answers = property(lambda self: self)

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}
        self.found: dict[bytes, dict[str, Any]] = {}
        self.top = 7

    def put(self, key: bytes, raw: bytes) -> None:
        self.kept[key] = raw

    def read(self, key: bytes) -> bytes | None:
        return self.kept.get(key)

    def height(self) -> int:
        return self.top

    def inference(self, inference_id: bytes) -> Any:
        if inference_id not in self.found:
            raise InvalidRequest("not here", field="id", code="not_found")
        return SimpleNamespace(**self.found[inference_id])


class FakeOutbox:
    def __init__(self) -> None:
        self.records: list[tuple[RecordKind, Any]] = []

    def put(self, kind: RecordKind, body: object) -> None:
        self.records.append((kind, body))


class FakeEngine:
    """Only its identity matters."""


class Lab:
    def __init__(self) -> None:
        self.chain, self.outbox = FakeChain(), FakeOutbox()
        chain: Any = self.chain
        faults = roles_of(LabSettings()).faults
        self.injector = FaultInjector(NODE, OWNER, chain, self.outbox, "toy", lambda: None, 1.0, faults)
        self.engine: Any = FakeEngine()

    def open(self) -> list[Plant]:
        raw = self.chain.payloads.read(b"plants")
        return load(list[Plant], raw) if raw else []


def signed(nonce: int, **change: object) -> SignedRequest:
    body = replace(REQUEST, client_nonce=nonce, **change)
    return SignedRequest(body, OWNER.sign(Domain.REQUEST, "n", encode(body)))  # type: ignore[arg-type]


def test_a_question_of_the_same_owner_is_answered_honestly_while_a_plant_waits() -> None:
    lab = Lab()
    planted = signed(5)
    lab.injector.mark(planted)
    for real in (signed(4), signed(6), signed(5, max_tokens=49)):
        assert lab.injector.engine_for(real, lab.engine) is lab.engine
    assert not lab.outbox.records
    assert lab.injector.engine_for(planted, lab.engine) is not lab.engine
    ((inference_id, fault, salt, height),) = lab.open()
    assert (inference_id, height) == (planted.inference_id, 7)
    assert fault in FAULTS
    ((kind, commit),) = lab.outbox.records
    assert (kind, commit) == (
        RecordKind.PLANT_COMMIT, PlantCommit(NODE.public, plant_commitment(inference_id, fault, salt))
    )
    assert lab.injector.engine_for(planted, lab.engine) is lab.engine, "once"


def test_without_a_mark_everything_is_honest() -> None:
    lab = Lab()
    assert lab.injector.engine_for(signed(1), lab.engine) is lab.engine
    assert not lab.outbox.records


@pytest.mark.parametrize(("status", "reveals", "stays"), [
    *((status, True, True) for status in DECIDED),
    ("WITHHELD", False, False), ("EXPIRED", False, False), ("UNCONFIRMED", False, False), ("VALIDATING", False, True),
    ("", False, True),
])
async def test_what_was_decided_is_revealed_and_what_never_will_be_is_let_go(
    status: str, reveals: bool, stays: bool, autojump_clock: Any
) -> None:
    lab = Lab()
    planted = signed(5)
    lab.injector.mark(planted)
    lab.injector.engine_for(planted, lab.engine)
    if status:
        lab.chain.found[planted.inference_id] = {"status": status, "fault": ""}
    lab.outbox.records.clear()
    with trio.move_on_after(3 * fault_injector.REVEAL_EVERY_S):
        await lab.injector._reveal_all()
    assert [type(body) for _, body in lab.outbox.records] == ([PlantReveal] if reveals else [])
    assert (len(lab.open()) == 1) is stays
    if not status:
        lab.chain.top += fault_injector.LIFETIME + 1
        with trio.move_on_after(2 * fault_injector.REVEAL_EVERY_S):
            await lab.injector._reveal_all()
        assert not lab.open(), "the chain never had it, and has forgotten the commitment"
