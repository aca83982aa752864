"""Building and checking blocks. Law: whoever checks derives every header field again, and looks at no clock."""

from __future__ import annotations

from collections.abc import Sequence

from p2p.base.codec import encode
from p2p.base.keys import Key, NetworkId
from p2p.base.limits import MAX_BLOCK
from p2p.base.merkle import leaf_hash, root_of
from p2p.base.types import VERSION
from p2p.consensus.application import Application
from p2p.consensus.beacon import check_beacon, make_beacon
from p2p.consensus.certificates import IsVerified, none_verified, verify_commit
from p2p.consensus.evidence import PER_BLOCK, check_evidence
from p2p.consensus.messages import Block, CommitCertificate, Header
from p2p.consensus.validators import ValidatorSet

HEADER_ROOM = 24 * 1024  # bytes of MAX_BLOCK that are kept for header, certificate and evidence


def tx_root(txs: Sequence[bytes], last_commit: CommitCertificate | None, evidence: Sequence[bytes]) -> bytes:
    return body_root(tuple(map(leaf_hash, txs)), last_commit, evidence)


def body_root(leaves: Sequence[bytes], last_commit: CommitCertificate | None, evidence: Sequence[bytes]) -> bytes:
    """The tx_root from the transactions' leaf hashes: so a header says which transactions its block has before
    anyone holds them."""
    return root_of([*leaves, leaf_hash(encode(last_commit)), *map(leaf_hash, evidence)])


def make_block(
    app: Application, key: Key, network: NetworkId, round_: int, now_ms: int, evidence: tuple[bytes, ...]
) -> Block:
    """A new block for height()+1, proposed in round_. now_ms: the proposer's clock; the block is dated after the
    last one in any case."""
    height = app.height() + 1
    beacon, proof = make_beacon(key, app.beacon(), height, round_)
    txs, last = app.prepare(MAX_BLOCK - HEADER_ROOM), app.last_commit()
    header = Header(
        VERSION, network, height, round_, max(now_ms, app.last_time_ms() + 1), app.last_block_id(),
        ValidatorSet.of(app.validators()).hash(), ValidatorSet.of(app.next_validators()).hash(), app.app_hash(),
        tx_root(txs, last, evidence), beacon, proof, key.public,
    )
    return Block(header, txs, last, evidence)


def check_block(
    app: Application, network: NetworkId, block: Block, proposer: bytes, is_verified: IsVerified = none_verified
) -> str | None:
    """The sentence that says what is wrong with a block for height()+1, or None. proposer: the key whose turn the
    block's round is; is_verified: whether a vote of the last height was verified before. The answer is a fact about the
    block: every peer finds the same at any time. So no clock is used here; whether a proposal is timely is another
    question (rule Y)."""
    h = block.header
    validators = ValidatorSet.of(app.validators())
    last = block.last_commit
    facts = (
        (h.version == VERSION and h.network == network, "its version or network is not ours"),
        (h.height == app.height() + 1, "not the next height"),
        (h.last_block_id == app.last_block_id(), "does not follow our last block"),
        (h.app_hash == app.app_hash(), "its app hash is not that of our state"),
        (h.validators_hash == validators.hash(), "its validator set is not ours"),
        (h.next_validators_hash == ValidatorSet.of(app.next_validators()).hash(), "its next validator set is not ours"),
        (h.proposer == proposer, "its proposer is not the one of its round"),
        (h.tx_root == tx_root(block.txs, last, block.evidence), "the root does not cover the body"),
        (h.time_ms > app.last_time_ms(), "its time is not after the last block's"),
        (len(encode(block)) <= MAX_BLOCK, f"larger than {MAX_BLOCK} bytes"),
        ((last is None) == (h.height == 1), "its last commit is missing, or there at height 1"),
        (len(block.evidence) <= PER_BLOCK, f"more than {PER_BLOCK} pieces of evidence"),
    )
    for holds, sentence in facts:
        if not holds:
            return sentence
    if last is not None and not _right_commit(app, last, network, is_verified):
        return "its last commit does not prove our last block"
    if not check_beacon(h.proposer, app.beacon(), h.height, h.round, h.beacon, h.beacon_proof):
        return "the beacon is not the proposer's"
    offenders = [check_evidence(raw, network, validators, h.height) for raw in block.evidence]
    if None in offenders or len(set(offenders)) < len(offenders) or set(offenders) & app.punished():
        return "it carries evidence that proves nothing, or nothing new"
    return None if app.validate(block) else "it holds a transaction that the application refuses"


def _right_commit(app: Application, last: CommitCertificate, network: NetworkId, is_verified: IsVerified) -> bool:
    deciders = ValidatorSet.of(app.last_validators())
    return last.height == app.height() and last.block_id == app.last_block_id() and verify_commit(
        last, network, deciders, is_verified
    )
