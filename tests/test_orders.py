"""Orders on their way: a peer takes one, its batch carries it, every peer carries it out; what the agent checks is what the chain checks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from p2p.chain import Chain
from p2p.codec import encode
from p2p.errors import FolkmootError, InvalidRequest, Overloaded, RemoteProtocolError
from p2p.genesis import Genesis, GenesisAccount, GenesisPeer, ModelSpec
from p2p.inference.session import Order, pack_frame, parse_frame
from p2p.keys import Domain, Key
from p2p.ledger.ops import Body, Cap, Delegate, Rotate, SignedOp, Transfer, consent_to_rotate, sign_op
from p2p.orders import take_order
from p2p.outbox import MAX_WAITING, Outbox
from p2p.types import VERSION, OutputRecord, Params, RecordKind, Request, SignedRequest
from tests.chains import extend

PEERS = [Key(bytes([i]) * 32) for i in range(1, 5)]
NEW, CLIENT, HOT, OTHER = (Key(bytes([i]) * 32) for i in (9, 32, 33, 34))
KEYS = {key.public: key for key in (*PEERS, NEW)}
GENESIS = Genesis(
    1, "n", 1000, tuple(GenesisPeer(k.public, CLIENT.public, 10, ("toy",)) for k in PEERS), (GenesisAccount(CLIENT.public, 10_000),),
    (ModelSpec("toy", bytes(32), bytes(32), "bfloat16", 10, 1, 2048),), epoch_blocks=6,
)


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    opened = Chain.open(tmp_path, GENESIS)
    yield opened
    opened.close()


def op(chain: Chain, body: Body, key: Key = CLIENT) -> SignedOp:
    return sign_op(key, GENESIS.network, int(chain.account_view(key.public)["next_nonce"]), body)


def grow(chain: Chain, count: int) -> None:
    extend(chain, chain.height() + count, KEYS, lambda height: 1000 + height * 1000)


def send(chain: Chain, outbox: Outbox, sender: Key) -> None:
    (raw,) = outbox.due(chain.batch_nonce(sender.public), chain.height())
    chain.add_tx(raw)


def request(nonce: int, key: Key) -> SignedRequest:
    body = Request(VERSION, GENESIS.network, CLIENT.public, nonce, "toy", bytes(32), Params(), 50, 50, 100, 40, key.public, 0)
    return SignedRequest(body, key.sign(Domain.REQUEST, GENESIS.network, encode(body)))


def test_an_order_is_taken_queued_and_carried_out(chain: Chain) -> None:
    outbox, sent = Outbox(PEERS[0], GENESIS.network), op(chain, Transfer(OTHER.public, 7))
    frame = parse_frame(pack_frame(Order(VERSION, sent)))
    assert isinstance(frame, Order)
    answer = take_order(chain, outbox, frame.signed_op)
    assert (answer["kind"], answer["nonce"], answer["op_id"]) == ("transfer", 1, sent.op_id.hex())
    with pytest.raises(InvalidRequest, match="nonce: "):
        take_order(chain, outbox, sign_op(CLIENT, GENESIS.network, 1, Cap(1, 1)))
    second = op(chain, Cap(5, 5))
    assert second.op.nonce == 2, "the peer counts what is on its way"
    take_order(chain, outbox, second)
    send(chain, outbox, PEERS[0])
    grow(chain, 1)
    assert chain.account_view(OTHER.public)["balance_micro"] == 7
    assert chain.account_view(CLIENT.public)["request_cap_micro"] == 5
    with pytest.raises(InvalidRequest, match="nonce 1 was used"):
        take_order(chain, outbox, sent)
    assert chain.receipts(chain.height()) == ()


def test_what_the_chain_would_refuse_never_enters_the_outbox(chain: Chain) -> None:
    outbox = Outbox(PEERS[0], GENESIS.network)
    for bad, field in (
        (op(chain, Transfer(OTHER.public, 10_001)), "amount_micro"), (sign_op(CLIENT, "m", 1, Cap(1, 1)), "network"),
        (op(chain, Delegate(HOT.public, 1, 1, 0)), "expires"),
    ):
        with pytest.raises(FolkmootError) as caught:
            take_order(chain, outbox, bad)
        assert caught.value.field == field
    assert (len(outbox), chain.account_view(CLIENT.public)["next_nonce"]) == (0, 1)
    for number in range(MAX_WAITING):
        outbox.put(RecordKind.OUTPUT, OutputRecord(number.to_bytes(32, "big"), PEERS[0].public, bytes(32), 1))
    with pytest.raises(Overloaded):
        take_order(chain, outbox, op(chain, Cap(1, 1)))
    assert chain.account_view(CLIENT.public)["next_nonce"] == 1, "the nonce is not used up by a full outbox"


def test_an_agent_counts_what_it_took_against_the_caps_of_the_key_that_signed(chain: Chain) -> None:
    outbox = Outbox(PEERS[0], GENESIS.network)
    with pytest.raises(InvalidRequest, match="no hot key"):
        chain.check_request(request(5, HOT))
    take_order(chain, outbox, op(chain, Delegate(HOT.public, 2000, 1000, 99)))
    send(chain, outbox, PEERS[0])
    grow(chain, 1)
    for nonce in (5, 6):
        chain.check_request(request(nonce, HOT))
        chain.reserve(request(nonce, HOT))
    with pytest.raises(InvalidRequest, match="epoch_cap_micro: "):
        chain.check_request(request(7, HOT))
    chain.check_request(request(7, CLIENT))  # the account itself has no cap


def test_a_rotated_key_is_refused_at_once_and_votes_no_more_from_the_next_set_on(chain: Chain) -> None:
    old, outbox = PEERS[1], Outbox(PEERS[0], GENESIS.network)
    words = consent_to_rotate(CLIENT.public, old.public, NEW.public)
    order = Rotate(old.public, NEW.public, old.sign(Domain.NODE, GENESIS.network, words), NEW.sign(Domain.NODE, GENESIS.network, words))
    take_order(chain, outbox, op(chain, order))
    both = Outbox(old, GENESIS.network), Outbox(NEW, GENESIS.network)
    for box, key in zip(both, (old, NEW), strict=True):
        box.put(RecordKind.OUTPUT, OutputRecord(bytes(32), key.public, bytes(32), 1))
    with pytest.raises(RemoteProtocolError, match="sender"):
        send(chain, both[1], NEW)
    both[1].due(10**6, 0)  # it waits for that one no longer
    send(chain, outbox, PEERS[0])
    send(chain, both[0], old)  # in the same block: it was sent before
    grow(chain, 1)
    for box, key in zip(both, (old, NEW), strict=True):
        box.put(RecordKind.OUTPUT, OutputRecord(bytes(32), key.public, bytes(32), 1))
    with pytest.raises(RemoteProtocolError, match="sender"):
        send(chain, both[0], old)
    send(chain, both[1], NEW)
    assert old.public in dict(chain.validators())
    grow(chain, GENESIS.epoch_blocks)
    assert dict(chain.validators()).keys() == KEYS.keys() - {old.public}
