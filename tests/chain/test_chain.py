"""The chain: which field each rule names, records in any order, money, atomic commits, restart, a full disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.errors import ConfigError, FolkmootError, InvalidRequest, RemoteProtocolError, StorageError
from p2p.base.genesis import Genesis, GenesisAccount, GenesisPeer, ModelSpec
from p2p.base.keys import Domain, Key
from p2p.base.types import (
    VERSION,
    FinishReason,
    FinishRecord,
    OutputRecord,
    Params,
    Record,
    RecordKind,
    Request,
    SignedFinish,
    SignedRequest,
    StartRecord,
    Status,
)
from p2p.chain.stores.guard import GuardStore
from p2p.consensus.guard import GuardRecord
from p2p.ledger.apply_record import apply_record
from p2p.ledger.end_of_block import end_of_block
from p2p.ledger.genesis import check_conservation, first_state
from p2p.ledger.money.requests import check_request
from p2p.ledger.rules.context import Context
from p2p.ledger.state.view import View
from p2p.store.batch import Batch
from p2p.store.lmdb import Store

PEERS = {Key(bytes([i]) * 32).public: Key(bytes([i]) * 32) for i in range(1, 6)}
CLIENT = Key(b"\x20" * 32)
GENESIS = Genesis(
    VERSION, "n", 0, tuple(GenesisPeer(k, bytes([i]) * 32, 10, ("toy",)) for i, k in enumerate(PEERS)),
    (GenesisAccount(CLIENT.public, 100_000),), (ModelSpec("toy", bytes(32), bytes(32), "bfloat16", 10, 10, 2048),),
)
ACCOUNTS = [CLIENT.public, *(p.owner for p in GENESIS.peers)]
AGENT = next(iter(PEERS))


def fresh() -> View:
    view = View(lambda key: None)
    first_state(view, GENESIS, b"\x01" * 32)
    end_of_block(Context(view, GENESIS, 1), b"\x02" * 32)
    return view


def request(**change: object) -> SignedRequest:
    key = change.pop("key", CLIENT)
    base = Request(
        VERSION, GENESIS.network, CLIENT.public, 1, "toy", bytes(32), Params(), 50, 50, 100, 40, CLIENT.public, 1
    )
    body = replace(base, **change)
    return SignedRequest(body, key.sign(Domain.REQUEST, GENESIS.network, encode(body)))  # type: ignore[attr-defined]


def start(signed: SignedRequest) -> Record:
    return Record(RecordKind.START, encode(StartRecord(signed, AGENT)))


def executor_of(signed: SignedRequest) -> bytes:
    view = fresh()
    apply_record(Context(view, GENESIS, 2), AGENT, start(signed))
    found = view.inference(signed.inference_id)
    assert found is not None
    return found.candidates[0]


def finish(signed: SignedRequest, executor: bytes, tokens: int = 10) -> Record:
    record = FinishRecord(signed.inference_id, executor, bytes(32), b"\x05" * 32, 20, tokens, FinishReason.STOP)
    return Record(
        RecordKind.FINISH,
        encode(SignedFinish(record, PEERS[executor].sign(Domain.FINISH, GENESIS.network, encode(record))))
    )


def output(signed: SignedRequest) -> Record:
    return Record(RecordKind.OUTPUT, encode(OutputRecord(signed.inference_id, AGENT, b"\x05" * 32, 10)))


@pytest.mark.parametrize(("change", "field"), [
    ({"version": VERSION + 1}, "version"), ({"network": "other"}, "network"), ({"key": Key(b"\x21" * 32)}, "signature"),
    ({"model": "gpt"}, "model"), ({"max_tokens": 0}, "max_tokens"), ({"max_tokens": 5000}, "max_tokens"),
    ({"prompt_tokens_max": 0}, "prompt_tokens_max"), ({"max_price_micro": 9}, "max_price_micro"),
    ({"deadline_height": 1}, "deadline_height"),
    ({"deadline_height": 99999}, "deadline_height"), ({"client_nonce": 0}, "client_nonce"),
    ({"prompt_tokens_max": 16000}, "balance"),
])
def test_each_bad_request_is_refused_by_its_field(change: dict[str, object], field: str) -> None:
    view = fresh()
    before = dict(view.changes)
    with pytest.raises(InvalidRequest) as caught:
        check_request(Context(view, GENESIS, 2), request(**change))
    assert caught.value.field == field
    with pytest.raises(FolkmootError):
        apply_record(Context(view, GENESIS, 2), AGENT, start(request(**change)))
    assert view.changes == before, "a refused record changes nothing"


def test_a_replayed_start_or_nonce_is_refused() -> None:
    view, signed = fresh(), request()
    apply_record(Context(view, GENESIS, 2), AGENT, start(signed))
    before = dict(view.changes)
    for again in (signed, request(max_tokens=49)):
        with pytest.raises(FolkmootError):
            apply_record(Context(view, GENESIS, 2), AGENT, start(again))
    assert view.changes == before


@given(st.permutations([0, 1, 2]))
def test_start_finish_output_in_any_order(order: list[int]) -> None:
    view, signed = fresh(), request()
    executor = executor_of(signed)
    records = [(AGENT, start(signed)), (executor, finish(signed, executor)), (AGENT, output(signed))]
    for index in order:
        apply_record(Context(view, GENESIS, 2), *records[index])
        assert check_conservation(view, ACCOUNTS)
    found = view.inference(signed.inference_id)
    assert found is not None
    assert (found.status, found.charged_micro, found.output_hash) == ("FINISHED", 300, b"\x05" * 32)
    assert view.account(CLIENT.public).balance_micro == 100_000 - 300


def test_who_was_not_drawn_cannot_finish_nor_charge_more_than_agreed() -> None:
    view, signed = fresh(), request()
    apply_record(Context(view, GENESIS, 2), AGENT, start(signed))
    executor = executor_of(signed)
    for bad in (finish(signed, AGENT), finish(signed, executor, tokens=51), finish(signed, executor, tokens=0)):
        with pytest.raises(RemoteProtocolError):
            apply_record(Context(view, GENESIS, 2), AGENT, bad)


def test_an_unfinished_inference_is_refunded_at_its_deadline() -> None:
    view, signed = fresh(), request(deadline_height=5)
    apply_record(Context(view, GENESIS, 2), AGENT, start(signed))
    assert view.account(CLIENT.public).balance_micro == 99_000
    for height in range(2, 6):
        end_of_block(Context(view, GENESIS, height), bytes([height]) * 32)
    found = view.inference(signed.inference_id)
    assert found is not None
    assert found.status == Status.EXPIRED.value
    assert view.account(CLIENT.public).balance_micro == 100_000
    assert all(part.misses == 0 for part in view.participants()), "nobody is blamed: all four were silent"


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(1, 200), min_size=1, max_size=40))
def test_each_nonce_is_used_once_whatever_the_order(nonces: list[int]) -> None:
    from p2p.ledger.state.records import Account

    account, used = Account(), set()
    for nonce in nonces:
        if account.nonce_is_free(nonce):
            assert nonce not in used
            used.add(nonce)
            high, mask = account.with_nonce(nonce)
            account = replace(account, nonce_high=high, nonce_mask=mask)
        else:
            assert nonce in used or account.nonce_high - nonce >= 60


def test_store_commits_all_or_nothing_when_it_is_full(tmp_path: Path) -> None:
    store = Store(tmp_path, map_bytes=1 << 20)
    good, big = Batch(), Batch()
    good.put("state", b"a", b"1")
    store.commit(good)
    big.put("state", b"a", b"2")
    big.put("state", b"b", bytes(4 << 20))
    with pytest.raises(StorageError) as caught:
        store.commit(big)
    assert caught.value.code == "disk_full"
    assert store.read("state", b"a") == b"1"
    store.close()


def test_chain_refuses_another_genesis_and_a_missing_guard(tmp_path: Path) -> None:
    from p2p.chain.chain import Chain

    chain = Chain.open(tmp_path, GENESIS)
    first = chain.app_hash()
    chain.close()
    again = Chain.open(tmp_path, GENESIS)
    assert again.app_hash() == first
    again.close()
    with pytest.raises(ConfigError, match="another network"):
        Chain.open(tmp_path, replace(GENESIS, name="m"))
    (tmp_path / "node.key.used").touch()
    with pytest.raises(StorageError) as caught:
        Chain.open(tmp_path, GENESIS)
    assert caught.value.code == "guard_missing"


def test_the_guard_forgets_what_is_over_with_its_next_record_in_one_write(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    guard = GuardStore(store, tmp_path / "used")
    guard.record(7, [b"a", b"b"], GuardRecord(7, 0, 1, b"seven"))
    written: list[Batch] = []
    commit = store.commit
    store.commit = lambda batch: (written.append(batch), commit(batch))[1]  # type: ignore[method-assign]
    guard.prune(8)
    assert not written, "a write of its own would cost every block one more wait for the disk"
    assert guard.inputs(7) == [b"a", b"b"]
    guard.record(8, [b"c"], GuardRecord(8, 0, 1, b"eight"))
    assert len(written) == 1
    assert (guard.inputs(7), guard.inputs(8)) == ([], [b"c"])
    guard.record(8, [b"d"], GuardRecord(8, 0, 2, b"again"))
    assert guard.inputs(8) == [b"c", b"d"]
    assert GuardStore(store, tmp_path / "used").load() == GuardRecord(8, 0, 2, b"again")
    store.close()
