"""Inferences that left the state, on a real chain and a real store: peers that keep their records can prove them for
ever, and no changed proof passes. Payloads are deleted with their inferences, and so are those that the chain never
knew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from p2p.base import merkle
from p2p.base.codec import encode, unpack
from p2p.base.errors import FolkmootError, InvalidRequest, RemoteProtocolError, Unavailable
from p2p.base.genesis import Genesis
from p2p.base.keys import Domain, Key
from p2p.base.types import VERSION, Batch, Params, Record, RecordKind, Request, SignedBatch, SignedRequest, StartRecord
from p2p.chain.account_transactions import AccountTransactions
from p2p.chain.chain import Chain
from p2p.chain.proofs.state import ArchiveProof, check_state_proof, parse_state_proof
from p2p.chain.queries import Queries
from p2p.chain.stores import archive, payload_keys
from p2p.chain.stores.payloads import MAX_SWEPT, Payloads
from p2p.cli.main import main
from p2p.consensus.light import genesis_facts
from p2p.ledger.inferences.pruning import Left, leaf_of
from p2p.ledger.state import keys
from p2p.ledger.state.records import EpochSums
from p2p.store.batch import Batch as Writes
from p2p.store.lmdb import Store
from tests.chain.test_sync import now_ms
from tests.chains import extend
from tests.sim.run import KEYS, genesis_of
from tests.sim.scenario import Scenario
from tests.sim.traffic import CLIENT, MODEL

BY_KEY = {key.public: key for key in KEYS}
EPOCH = 10
AGENT, OTHER = KEYS[0], KEYS[1]
BATCH = 60  # starts in one transaction


def some_genesis() -> Genesis:
    genesis = genesis_of(Scenario(0, (1, 1), epoch_blocks=EPOCH))
    return replace(
        genesis, time_ms=now_ms() - 100_000, checks=replace(genesis.checks, plant_window=1),
        economy=replace(genesis.economy, keep_epochs=1),
    )


def grow(chain: Chain, height: int) -> None:
    begin = now_ms() - 60_000
    extend(chain, height, BY_KEY, lambda at: begin + at)


def starts(chain: Chain, agent: Key, first: int, count: int) -> list[bytes]:
    """One transaction: requests that nobody answers, so they end at their deadline."""
    network, records, ids = chain.genesis.network, [], []
    for nonce in range(first, first + count):
        at = chain.height()
        request = Request(
            VERSION, network, CLIENT.public, nonce, MODEL, bytes(32), Params(), 10, 10, 100, at + 4, CLIENT.public, at
        )
        signed = SignedRequest(request, CLIENT.sign(Domain.REQUEST, network, encode(request)))
        records.append(Record(RecordKind.START, encode(StartRecord(signed, agent.public))))
        ids.append(bytes(signed.inference_id))
    batch = Batch(VERSION, network, agent.public, chain.reader.batch_nonce(agent.public) + 1, tuple(records))
    chain.pool.add(encode(SignedBatch(batch, agent.sign(Domain.TX, network, encode(batch)))))
    return ids


class Place:
    """Two peers' chains with the same blocks: all of `whole` is kept, of `agents` what AGENT had a part in."""

    def __init__(self, folder: Path) -> None:
        self.folder, genesis = folder, some_genesis()
        self.whole = Chain.open(folder / "whole", genesis)
        self.agents = Chain.open(folder / "agents", genesis, keep_for=AGENT.public)
        (folder / "genesis.cbor").write_bytes(encode(genesis))
        self.asked = self.whole
        self.ids: list[bytes] = []
        for at in range(5):  # 300: more than one tile, and more than are pruned in one block
            self.ids += starts(self.whole, OTHER if at else AGENT, 1 + at * BATCH, BATCH)
            self.grow(self.whole.height() + 1)

    def grow(self, height: int) -> None:
        while self.whole.height() < height:
            grow(self.whole, self.whole.height() + 1)
            found = self.whole.blocks.block(self.whole.height())
            assert found is not None
            self.agents.finalize(*found, self.whole.priorities())

    def until_left(self) -> None:
        self.grow(2 * EPOCH + 3)

    def call(self, directory: Path, request: dict[str, Any]) -> dict[str, Any]:
        if request["op"] == "light" and request["height"] > self.asked.height():
            self.grow(self.asked.height() + 1)
        queries = Queries(self.asked, dict, tuple, AccountTransactions(self.asked).fate)
        return queries.answer_public(json.loads(json.dumps(request)))

    def run(self, *arguments: str) -> int:
        return main(["prove", *arguments, "--dir", str(self.folder), "--json"])

    def close(self) -> None:
        self.whole.close()
        self.agents.close()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    made = Place(tmp_path)
    monkeypatch.setattr("p2p.peer.control.call", made.call)
    yield made
    made.close()


def test_each_inference_that_left_is_proved_and_checked_offline(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, file = place.ids[BATCH + 1], place.folder / "proof"
    assert place.run("inference", one.hex()) == 0
    there = json.loads(capsys.readouterr().out)
    assert (there["record"]["status"], there["left_epoch"]) == ("EXPIRED", None)
    place.until_left()
    assert place.whole.store.read("state", b"inf/" + one) is None
    assert place.run("inference", one.hex(), "--out", str(file)) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["record"]["status"], made["left_epoch"]) == ("EXPIRED", 0)
    monkeypatch.setattr("p2p.peer.control.call", None)
    assert place.run("--check", str(file)) == 0
    assert json.loads(capsys.readouterr().out) == made
    assert place.run("inference", place.ids[0].hex(), "--check", str(file)) == 3, "the proof is about another id"


def test_all_leaves_of_all_tiles_have_a_path(place: Place) -> None:
    place.until_left()
    found = {one: place.whole.answers.archive_proof(one) for one in place.ids}
    raw, _ = place.whole.state.prove(keys.epoch_sums(0))
    sums = unpack(EpochSums, raw or b"")
    assert sums.left_root is not None
    assert sorted(left.index for left in found.values() if left) == list(range(300)), "256 of one tile, 44 of the next"
    for one, left in found.items():
        assert left is not None
        assert merkle.verify(leaf_of(one, left.record), left.index, sums.left, left.path, sums.left_root)


def test_no_changed_byte_passes_and_no_record_stands_for_another(place: Place) -> None:
    place.until_left()
    file, start, network = place.folder / "proof", genesis_facts(place.whole.genesis), place.whole.genesis.network
    assert place.run("inference", place.ids[0].hex(), "--out", str(file)) == 0
    raw = file.read_bytes()
    proof = parse_state_proof(raw)
    check_state_proof(proof, start, network, now_ms())
    for at in range(len(raw)):
        with pytest.raises(FolkmootError):
            check_state_proof(
                parse_state_proof(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]), start, network, now_ms()
            )
    left, others = proof.left, place.whole.answers.archive_proof(place.ids[1])
    assert left is not None
    assert others is not None
    for false in (
        replace(left, record=others.record), replace(left, epoch=1), replace(left, index=left.index + 1),
        replace(left, path=left.path[:-1]), others,
    ):
        with pytest.raises(RemoteProtocolError):
            check_state_proof(replace(proof, left=false), start, network, now_ms())
    for kind in ("account", "participant"):
        with pytest.raises(RemoteProtocolError, match="inferences are what leaves"):
            check_state_proof(replace(proof, kind=kind), start, network, now_ms())


def test_a_peer_without_a_part_in_it_keeps_no_record_and_says_whom_to_ask(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.until_left()
    place.asked = place.agents
    own, others = place.ids[0], place.ids[-1]
    assert place.run("inference", own.hex()) == 0
    assert json.loads(capsys.readouterr().out)["left_epoch"] == 0
    assert place.run("inference", others.hex()) == 0
    assert json.loads(capsys.readouterr().out)["record"] is None
    assert main(["prove", "inference", others.hex(), "--dir", str(place.folder)]) == 0
    assert "ask the peer that was its agent or executor" in capsys.readouterr().out
    seen = place.agents.answers.inference(own)
    assert (seen.status, seen.left_epoch) == ("EXPIRED", 0)
    with pytest.raises(InvalidRequest, match="no such inference"):
        place.agents.answers.inference(others)
    assert archive.find(place.whole.store, others) is not None, "a peer that is told to keep everything has it"


def test_while_an_epoch_is_being_pruned_its_proofs_are_not_there_yet(place: Place) -> None:
    place.grow(2 * EPOCH)
    gone = [one for one in place.ids if place.whole.store.read("state", b"inf/" + one) is None]
    assert 0 < len(gone) < len(place.ids)
    with pytest.raises(Unavailable, match="are leaving the state"):
        place.whole.answers.archive_proof(gone[0])
    place.until_left()
    assert place.whole.answers.archive_proof(gone[0]) is not None


def test_the_archive_is_there_after_a_restart_in_the_middle(place: Place) -> None:
    place.grow(2 * EPOCH)
    place.whole.close()
    place.whole = Chain.open(place.folder / "whole", place.agents.genesis)
    place.until_left()
    assert isinstance(place.whole.answers.archive_proof(place.ids[-1]), ArchiveProof)


@pytest.mark.parametrize(
    ("until", "again_from"), [(0, 1), (0, 100), (100, 101), (255, 256), (530, 560), (599, 600), (600, 600)]
)
def test_a_peer_that_missed_part_of_an_epoch_gives_no_proof_of_it(tmp_path: Path, until: int, again_from: int) -> None:
    """It continued from a snapshot."""
    store = Store(tmp_path / "data")
    found = [Left(3, index, bytes([index % 256, 0]) * 16, b"") for index in range(600)]
    for part in (found[:until], found[again_from:]):
        for at in range(0, len(part), 250):  # a block has no whole tile
            _add(store, part[at : at + 250])
    leaves, known = [leaf_of(one.inference_id, one.record) for one in found], until == again_from
    for index in (0, 150, 300, 599):
        assert archive.path(store, 3, index, 600) == (merkle.prove(leaves, index) if known else None)
    store.close()


def _add(store: Store, left: list[Left]) -> None:
    batch = Writes()
    archive.add(store, batch, left, None)
    store.commit(batch)


# -- payloads ----------------------------------------------------------------------------------------------------------


def test_a_payload_and_its_verdicts_go_with_the_inference(place: Place) -> None:
    kept, gone = b"sprint/" + bytes(32), place.ids[7]
    for key in (kept, gone, b"plants"):
        place.whole.payloads.put(key, b"x")
    place.grow(2 * EPOCH - 1)
    assert place.whole.payloads.read(gone) == b"x"
    place.until_left()
    assert place.whole.payloads.read(gone) is None
    assert (place.whole.payloads.read(kept), place.whole.payloads.read(b"plants")) == (b"x", b"x")
    with pytest.raises(InvalidRequest, match="until the inference leaves the state"):
        place.whole.answers.payload(gone)


def test_what_the_chain_never_knew_goes_after_an_epoch_and_not_before(place: Place) -> None:
    stray, verdict = b"\x99" * 32, payload_keys.verdict(b"\x98" * 32, 7)
    place.grow(6)
    for key in (stray, verdict):
        place.whole.payloads.put(key, b"x")
    place.grow(6 + EPOCH)
    assert (place.whole.payloads.read(stray), place.whole.payloads.read(verdict)) == (b"x", b"x")
    place.grow(7 + EPOCH)
    assert (place.whole.payloads.read(stray), place.whole.payloads.read(verdict)) == (None, None)
    assert place.whole.store.scan("payloads") == [], "no mark of them is left"


def test_a_payload_that_came_before_its_start_stays(place: Place) -> None:
    """The executor has it at once, the chain knows the inference a few blocks later."""
    place.grow(6)
    network = place.whole.genesis.network
    request = Request(
        VERSION, network, CLIENT.public, 1000, MODEL, bytes(32), Params(), 10, 10, 100, place.whole.height() + 50,
        CLIENT.public,
        place.whole.height() + 2,
    )
    signed = SignedRequest(request, CLIENT.sign(Domain.REQUEST, network, encode(request)))
    place.whole.payloads.put(bytes(signed.inference_id), b"x")
    place.grow(8)
    record = Record(RecordKind.START, encode(StartRecord(signed, AGENT.public)))
    batch = Batch(VERSION, network, AGENT.public, place.whole.reader.batch_nonce(AGENT.public) + 1, (record,))
    place.whole.pool.add(encode(SignedBatch(batch, AGENT.sign(Domain.TX, network, encode(batch)))))
    place.grow(8 + 2 * EPOCH)
    assert place.whole.payloads.read(bytes(signed.inference_id)) == b"x"
    assert len(place.whole.store.scan("payloads")) == 1, "and no mark"


def test_a_block_looks_at_few_and_in_the_end_at_all(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    payloads, count = Payloads(store), 3 * MAX_SWEPT + 5
    for number in range(count):
        payloads.put(number.to_bytes(32, "big"), b"x")
    left = []
    for height in range(1, 30):
        batch = Writes()
        payloads.sweep(batch, height, 5)
        assert len(batch.puts) <= 2 * MAX_SWEPT
        store.commit(batch)
        left.append(len(store.keys("payloads", b"", 10_000)))
    assert left[3] > count, "marked first"
    assert left[-1] == 0
    store.close()
