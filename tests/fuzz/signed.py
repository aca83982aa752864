"""Every signed message kind, ready to be spoiled: the field that is changed lies inside, the signatures around it are made anew.

A kind is (name, what may vary, how it gets to the peer). Law: the original is right: it gets as far as its sender's standing allows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from p2p.base.codec import Message, encode, unpack
from p2p.base.keys import Domain, Key
from p2p.base.limits import MAX_RECORDS_PER_TX
from p2p.base.outcome import Outcome
from p2p.base.types import (
    VERSION,
    BusyRecord,
    FinishRecord,
    Params,
    PlantCommit,
    Record,
    RecordKind,
    Request,
    SignedRequest,
    StartRecord,
)
from p2p.chain.orders import Orders
from p2p.consensus import wire
from p2p.consensus.compact import parse, shrink
from p2p.consensus.evidence import Amnesia, DuplicateProposal, DuplicateVote
from p2p.consensus.header import make_block, tx_root
from p2p.consensus.messages import (
    NIL_ROUND,
    VOTE_DOMAIN,
    Block,
    CommitCertificate,
    Header,
    PolkaCertificate,
    Proposal,
    RoundCertificate,
    SignedProposal,
    SignedVote,
    Vote,
    VoteType,
    sign_vote,
)
from p2p.gossip import handshake
from p2p.ledger.rules import ops
from p2p.ledger.transactions import pack_order
from p2p.wire.frames import pack_frame, parse_frame
from tests.fuzz.signing import batch, sign_batch, sign_busy, sign_finish, sign_request
from tests.fuzz.world import CLIENT, ME, MODEL, NETWORK, World
from tests.golden.samples import kinds, sample

Make = Callable[[World, Key], Message]
Send = Callable[[World, Key, Any], tuple[bytes, Callable[[], Outcome]]]
BLOCK_ID = b"\x77" * 32


@dataclass(frozen=True, slots=True)
class Kind:
    """make: the part that varies, right for this world and sender. send: (its bytes as they travel, the peer's way of taking them).
    signatures: how many it may make the peer verify: every member of the world's set of three twice, and two more."""

    name: str
    make: Make
    send: Send
    signatures: int = 8


# -- consensus ----------------------------------------------------------------------------------------------------------


def _vote(kind: VoteType) -> Make:
    def make(world: World, key: Key) -> Vote:
        return Vote(NETWORK, kind, world.driver.height, 0, BLOCK_ID, NIL_ROUND, key.public)

    return make


def _signed(key: Key, vote: Vote) -> SignedVote:
    """Of any type, also one that does not exist."""
    domain = VOTE_DOMAIN.get(vote.type, Domain.PREVOTE)
    return SignedVote(vote, key.sign(domain, vote.network, encode(vote)))


def _votes(world: World, message: wire.Wire) -> tuple[bytes, Callable[[], Outcome]]:
    data = wire.pack(message, 1)
    return data, lambda: world.vote(data)


def _polka(world: World, key: Key) -> PolkaCertificate:
    vote = sign_vote(key, Vote(NETWORK, VoteType.PREVOTE, world.driver.height, 0, BLOCK_ID, NIL_ROUND, key.public))
    return PolkaCertificate(world.driver.height, 0, BLOCK_ID, (vote,))


def _round(world: World, key: Key) -> RoundCertificate:
    found = [sign_vote(key, Vote(NETWORK, kind, world.driver.height, 1, None, NIL_ROUND, key.public)) for kind in VoteType]
    return RoundCertificate(world.driver.height, 1, tuple(found))


def _replayed(world: World, key: Key) -> RoundCertificate:
    """Votes that this peer's own key gave, as anybody may repeat them: of more than two thirds of the weight."""
    del key
    return _round(world, ME)


def _double(world: World, key: Key, vote: Vote) -> tuple[bytes, Callable[[], Outcome]]:
    """Evidence whose second vote varies."""
    first = sign_vote(key, Vote(NETWORK, VoteType.PRECOMMIT, world.driver.height - 1, 0, None, NIL_ROUND, key.public))
    return _votes(world, wire.EvidenceNote(world.driver.height, encode(DuplicateVote(first, _signed(key, vote)))))


def _forgot(world: World, key: Key, vote: Vote) -> tuple[bytes, Callable[[], Outcome]]:
    later = sign_vote(key, Vote(NETWORK, VoteType.PREVOTE, world.driver.height, 3, b"\x78" * 32, NIL_ROUND, key.public))
    return _votes(world, wire.EvidenceNote(world.driver.height, encode(Amnesia(_signed(key, vote), later))))


def _twice(world: World, key: Key, body: Proposal) -> tuple[bytes, Callable[[], Outcome]]:
    other = replace(body, block_id=b"\x79" * 32)
    found = [part for one in (body, other) for part in (one, key.sign(Domain.PROPOSAL, one.network, encode(one)))]
    return _votes(world, wire.EvidenceNote(world.driver.height, encode(DuplicateProposal(*found))))


def _block(world: World, key: Key) -> Block:
    return make_block(world.chain, key, NETWORK, 0, world.now_ms, ())


def _proposed(world: World, key: Key, body: Proposal, block: Block) -> tuple[bytes, Callable[[], Outcome]]:
    signed = SignedProposal(body, key.sign(Domain.PROPOSAL, body.network, encode(body)), block)
    data = shrink(wire.pack(signed, 1))
    return data, lambda: world.proposal(data)


def _proposal(world: World, key: Key) -> Proposal:
    return Proposal(NETWORK, world.driver.height, 0, _block(world, key).block_id, NIL_ROUND, key.public)


def _of_header(world: World, key: Key, header: Header) -> tuple[bytes, Callable[[], Outcome]]:
    block = replace(_block(world, key), header=header)
    body = Proposal(NETWORK, header.height, header.round, block.block_id, NIL_ROUND, key.public)
    return _proposed(world, key, body, block)


def _of_commit(world: World, key: Key, commit: CommitCertificate) -> tuple[bytes, Callable[[], Outcome]]:
    block = _block(world, key)
    header = replace(block.header, tx_root=tx_root(block.txs, commit, ()))
    return _of_header_and_commit(world, key, replace(block, header=header, last_commit=commit))


def _of_header_and_commit(world: World, key: Key, block: Block) -> tuple[bytes, Callable[[], Outcome]]:
    body = Proposal(NETWORK, block.header.height, 0, block.block_id, NIL_ROUND, key.public)
    return _proposed(world, key, body, block)


def _last_commit(world: World, key: Key) -> CommitCertificate:
    del key
    found = world.chain.last_commit()
    assert found is not None
    return found


def _compact(world: World, key: Key) -> Message:
    data, _ = _proposed(world, key, _proposal(world, key), _block(world, key))
    return parse(data)


def _plain_compact(world: World, key: Key, message: Message) -> tuple[bytes, Callable[[], Outcome]]:
    del key
    data = encode(message)
    return data, lambda: world.proposal(data)


CONSENSUS = (
    *(Kind(f"vote {kind.name.lower()}", _vote(kind), lambda w, k, m: _votes(w, _signed(k, m))) for kind in VoteType),
    Kind("polka certificate", _polka, lambda w, k, m: _votes(w, m)),
    Kind("round certificate", _round, lambda w, k, m: _votes(w, m)),
    Kind("round certificate, replayed", _replayed, lambda w, k, m: _votes(w, m)),
    Kind("polka certificate, replayed", lambda w, k: _polka(w, ME), lambda w, k, m: _votes(w, m)),
    Kind("evidence: two votes", _vote(VoteType.PRECOMMIT), _double),
    Kind("evidence: a forgotten lock", _vote(VoteType.PRECOMMIT), _forgot),
    Kind("evidence: two proposals", _proposal, _twice),
    Kind("evidence note", lambda w, k: wire.EvidenceNote(w.driver.height, b"\x80"), lambda w, k, m: _votes(w, m)),
    Kind("proposal", _proposal, lambda w, k, m: _proposed(w, k, m, _block(w, k))),
    Kind("header", lambda w, k: _block(w, k).header, _of_header),
    Kind("last commit", _last_commit, _of_commit),
    Kind("compact proposal", _compact, _plain_compact),
)


# -- requests, records, orders ------------------------------------------------------------------------------------------


def request_of(world: World, key: Key) -> Request:
    nonce = world.chain.account_view(CLIENT.public)["next_nonce"]
    return Request(
        VERSION, NETWORK, CLIENT.public, nonce, MODEL, bytes(32), Params(), 50, 50, 1000, world.chain.height() + 40, CLIENT.public,
        world.chain.height() - 1,
    )


def _request(world: World, key: Key, body: Request) -> tuple[bytes, Callable[[], Outcome]]:
    """At the agent's door, signed by the account."""
    del key
    raw = encode(sign_request(CLIENT, body))
    return raw, lambda: world.attempt(lambda: world.chain.check_request(unpack(SignedRequest, raw)))


def _in_record(kind: RecordKind, wrap: Callable[[Key, Any], Message]) -> Send:
    def send(world: World, key: Key, body: Any) -> tuple[bytes, Callable[[], Outcome]]:
        record = Record(kind, encode(wrap(key, body)))
        return record.body, lambda: world.record(key, record)

    return send


def _start_of(world: World, key: Key) -> StartRecord:
    return StartRecord(sign_request(CLIENT, request_of(world, key)), key.public)


def _sample(kind: type[Message], **change: Callable[[World, Key], Any]) -> Make:
    """The golden sample of a kind, with the fields that have to fit this world."""
    def make(world: World, key: Key) -> Message:
        return replace(sample(kind), **{name: of(world, key) for name, of in change.items()})

    return make


def _me(world: World, key: Key) -> bytes:
    del world
    return key.public


def _op(world: World, key: Key, op: ops.Op) -> tuple[bytes, Callable[[], Outcome]]:
    """By gossip, in a block when it is taken; before that at the door for orders."""
    del key
    signed = ops.SignedOp(op, CLIENT.sign(Domain.OP, op.network, encode(op)))
    raw = pack_order(signed)

    def take() -> Outcome:
        world.attempt(lambda: Orders(world.chain, lambda: world.now_ms / 1000).take(unpack(ops.SignedOp, encode(signed))))
        return world.transaction(raw)

    return raw, take


def _op_body(world: World, key: Key, body: Any) -> tuple[bytes, Callable[[], Outcome]]:
    nonce = world.chain.account_view(CLIENT.public)["next_nonce"]
    return _op(world, key, ops.Op(NETWORK, CLIENT.public, nonce, ops.KIND_OF[type(body)], encode(body)))


def _an_op(world: World, key: Key) -> ops.Op:
    del key
    nonce = world.chain.account_view(CLIENT.public)["next_nonce"]
    return ops.Op(NETWORK, CLIENT.public, nonce, ops.OpKind.TRANSFER, encode(ops.Transfer(b"\x09" * 32, 5)))


def _batch(world: World, key: Key) -> Message:
    record = Record(RecordKind.PLANT_COMMIT, encode(PlantCommit(key.public, bytes(32))))
    return batch(key, NETWORK, world.chain.batch_nonce(key.public) + 1, (record,)).batch


def _batched(world: World, key: Key, body: Any) -> tuple[bytes, Callable[[], Outcome]]:
    raw = encode(sign_batch(key, body))
    return raw, lambda: world.transaction(raw)


_SAMPLED = (
    "OutputRecord", "VerdictCommit", "Verdict", "PlantCommit", "PlantReveal", "SprintCommit", "SprintOpen",
)
_KIND_OF = {
    "OutputRecord": RecordKind.OUTPUT, "VerdictCommit": RecordKind.VERDICT_COMMIT, "Verdict": RecordKind.VERDICT,
    "PlantCommit": RecordKind.PLANT_COMMIT, "PlantReveal": RecordKind.PLANT_REVEAL, "SprintCommit": RecordKind.SPRINT_COMMIT,
    "SprintOpen": RecordKind.SPRINT_OPEN,
}
_SENDER_FIELD = {
    "OutputRecord": "agent", "VerdictCommit": "validator", "Verdict": "validator", "PlantCommit": "executor", "PlantReveal": "executor",
    "SprintCommit": "node",
}


def _records() -> tuple[Kind, ...]:
    found = kinds()
    made = []
    for name in _SAMPLED:
        mine = {_SENDER_FIELD[name]: _me} if name in _SENDER_FIELD else {}
        made.append(Kind(f"record {name}", _sample(found[f"p2p.base.types.{name}"], **mine), _in_record(_KIND_OF[name], lambda k, m: m)))
    return tuple(made)


LEDGER = (
    Kind("request", request_of, _request),
    Kind("batch", _batch, _batched, signatures=8 + MAX_RECORDS_PER_TX),
    Kind("record StartRecord", _start_of, _in_record(RecordKind.START, lambda k, m: m)),
    Kind("request in a StartRecord", request_of, _in_record(
        RecordKind.START, lambda k, m: StartRecord(sign_request(CLIENT, m), k.public),
    )),
    Kind("record FinishRecord", _sample(FinishRecord, executor=_me), _in_record(RecordKind.FINISH, lambda k, m: sign_finish(k, NETWORK, m))),
    Kind("record BusyRecord", _sample(BusyRecord, executor=_me), _in_record(RecordKind.BUSY, lambda k, m: sign_busy(k, NETWORK, m))),
    *_records(),
    Kind("order", _an_op, _op),
    *(Kind(f"order {body.__name__}", _sample(body), _op_body) for body in ops.KIND_OF),
)


# -- frames and greetings -----------------------------------------------------------------------------------------------


def _framed(world: World, key: Key, frame: Any) -> tuple[bytes, Callable[[], Outcome]]:
    del key
    data = pack_frame(frame)
    return data, lambda: world.attempt(lambda: parse_frame(data))


def _hello(world: World, key: Key, hello: Message) -> tuple[bytes, Callable[[], Outcome]]:
    del key
    data = encode(hello)

    def read() -> None:
        if isinstance(hello, handshake.Hello | handshake.Goodbye):
            handshake.parse_opening(data, NETWORK)
        else:
            handshake.parse_reply(data)

    return data, lambda: world.attempt(read)


FRAMES = tuple(
    Kind(f"frame {name.rsplit('.', 1)[1]}", _sample(kind), _framed)
    for name, kind in sorted(kinds().items()) if name.startswith("p2p.wire.frames.")
)
_HERE = ("/ip4/127.0.0.1/tcp/1",)
GREETINGS = (
    Kind("greeting Hello", lambda w, k: handshake.Hello(VERSION, "hello", NETWORK, bytes(8), _HERE), _hello),
    Kind("greeting Welcome", lambda w, k: handshake.Welcome(VERSION, "welcome", bytes(8), False, _HERE, (handshake.Entry("x", _HERE),)), _hello),
    Kind("greeting Goodbye", lambda w, k: handshake.Goodbye(VERSION, "goodbye", "banned", "message", 60), _hello),
    Kind("greeting Refusal", lambda w, k: handshake.Refusal(VERSION, "refusal", "code", "field", "message"), _hello),
)


def all_kinds() -> tuple[Kind, ...]:
    return (*CONSENSUS, *LEDGER, *FRAMES, *GREETINGS)
