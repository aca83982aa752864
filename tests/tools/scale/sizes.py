"""Bytes of what a network keeps and sends. Law: each is the length of the real type's encoding (samples.py)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from p2p.base.codec import Message, encode
from p2p.base.types import VERSION, Batch, Record, RecordKind, SignedBatch
from p2p.base.vrf import PROOF_BYTES
from p2p.consensus.light import LightBlock
from p2p.consensus.messages import (
    NIL_ROUND,
    CommitCertificate,
    Header,
    PolkaCertificate,
    SignedVote,
    Vote,
    VoteType,
)
from p2p.ledger.participants.serving import ServingSet
from p2p.ledger.state import keys
from tests.tools.scale import samples

_GENESIS = samples.genesis(1)
_NETWORK = _GENESIS.network
_REQUEST = samples.request(0, _NETWORK)
_NODES = samples.nodes(max(samples.CANDIDATES, samples.COMMITTEE))
OPENED_OF = 3600  # answers under one root, for the proof of one


def _record(kind: RecordKind, body: Message) -> int:
    return len(encode(Record(kind, encode(body))))


RECORDS: Mapping[str, int] = MappingProxyType({
    "Start": _record(RecordKind.START, samples.start(0, _NETWORK)),
    "Finish": _record(RecordKind.FINISH, samples.finish(_REQUEST, samples.name("node", 0))),
    "Output": _record(RecordKind.OUTPUT, samples.output(_REQUEST)),
    "commitment to a verdict": _record(RecordKind.VERDICT_COMMIT, samples.commit(_REQUEST.inference_id)),
    "verdict": _record(RecordKind.VERDICT, samples.verdict(_REQUEST.inference_id)),
    "root over answers": _record(RecordKind.SPRINT_COMMIT, samples.sprint_commit()),
    "one answer under it": _record(RecordKind.SPRINT_OPEN, samples.sprint_open(OPENED_OF)),
})
BATCH = len(encode(SignedBatch(
    Batch(VERSION, _NETWORK, samples.name("node", 0), samples.NONCE, ()), samples.SIGNATURE,
)))  # around its records
_KEY = len(keys.inference(bytes(keys.ID_BYTES)))
_INDEX = len(keys.ended(0, bytes(keys.ID_BYTES), 0)) + keys.ID_BYTES  # its place among those that ended
_SETTLED = samples.settled(0, _NETWORK, _NODES)
SETTLED = _KEY + _INDEX + len(encode(_SETTLED))  # an inference in the state that nobody was drawn to check
_JUDGED = samples.judged(
    _SETTLED, tuple(_NODES[: samples.COMMITTEE]), samples.HEIGHT, revealed=True, ended=True,
)
JUDGED = _KEY + _INDEX + len(encode(_JUDGED))  # one that was checked
PAIRS_EACH = 2  # pairs of the state for an inference: itself, and the index


def signers(validators: int) -> int:
    """Signatures that a certificate needs."""
    return 2 * validators // 3 + 1


def members(count: int) -> tuple[tuple[bytes, int], ...]:
    """Nodes with a weight of a real length."""
    return tuple((samples.name("node", number), samples.HEIGHT) for number in range(count))


@cache
def certificate(validators: int) -> int:
    return len(encode(made_certificate(validators)))


def made_certificate(validators: int) -> CommitCertificate:
    signed = tuple((node, samples.SIGNATURE) for node, _ in members(signers(validators)))
    return CommitCertificate(samples.HEIGHT, 0, bytes(32), signed)


@cache
def polka(validators: int) -> int:
    """A certificate of prevotes, each whole: what leads others into a round that failed."""
    votes = tuple(
        SignedVote(
            Vote(_NETWORK, VoteType.PREVOTE, samples.HEIGHT, 0, bytes(32), NIL_ROUND, node), samples.SIGNATURE,
        ) for node, _ in members(signers(validators))
    )
    return len(encode(PolkaCertificate(samples.HEIGHT, 0, bytes(32), votes)))


@cache
def light_block(validators: int) -> int:
    """A header, its certificate, and the two sets that it names."""
    hash_ = bytes(32)
    header = Header(
        VERSION, _NETWORK, samples.HEIGHT, 0, 1_700_000_000_000, hash_, hash_, hash_, hash_, hash_, hash_,
        bytes(PROOF_BYTES), hash_,
    )
    some = members(validators)
    return len(encode(LightBlock(header, made_certificate(validators), some, some)))


@cache
def serving_entry() -> float:
    """Of one node in a serving set, with a weight of a real length."""
    return len(encode(ServingSet(members(1000)))) / 1000
