"""What is believed and what is not: blocks, votes, certificates, evidence. Each wrong thing differs from a right
one in one place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.keys import Domain, Key, verify
from p2p.chain.chain import Chain
from p2p.consensus.beacon import make_beacon
from p2p.consensus.certificates import commit_certificate, verify_commit, verify_polka, verify_round
from p2p.consensus.evidence import (
    Amnesia,
    DuplicateVote,
    EvidencePool,
    check_evidence,
    evidence_of_proposals,
    evidence_of_votes,
    offender,
)
from p2p.consensus.header import check_block, make_block, tx_root
from p2p.consensus.message_checks import is_right
from p2p.consensus.messages import (
    Block,
    CommitCertificate,
    PolkaCertificate,
    Proposal,
    RoundCertificate,
    SignedProposal,
    SignedVote,
    Vote,
    VoteType,
    sign_vote,
)
from p2p.consensus.validators import ValidatorSet, load_priorities, proposer
from p2p.consensus.votes import VoteKeeper, conflicts
from tests.chains import next_priorities
from tests.sim.run import KEYS, genesis_of
from tests.sim.scenario import Scenario

NOW = 1_700_000_000_000
SIM = genesis_of(Scenario(0, (1, 1, 1, 1))).network
SET = ValidatorSet.of([(key.public, 1) for key in KEYS[:4]])
X, Y = b"x" * 32, b"y" * 32


def vote(
    key: Key, kind: VoteType = VoteType.PRECOMMIT, block_id: bytes | None = X, round_: int = 0, vr: int = -1,
    height: int = 1,
) -> SignedVote:
    return sign_vote(key, Vote(SIM, kind, height, round_, block_id, vr, key.public))


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    """At height 1, decided by three of four."""
    found = Chain.open(tmp_path, genesis_of(Scenario(0, (1, 1, 1, 1))))
    block = make_block(found, maker(found), SIM, 0, NOW, ())
    found.finalize(block, certificate_of(block), next_priorities(found))
    yield found
    found.close()


def maker(chain: Chain, round_: int = 0) -> Key:
    members = ValidatorSet.of(chain.validators())
    public = proposer(members, load_priorities(chain.priorities(), members), round_)
    return next(key for key in KEYS if key.public == public)


def certificate_of(block: Block) -> CommitCertificate:
    height = block.header.height
    votes = [vote(key, block_id=block.block_id, height=height) for key in KEYS[:3]]
    return commit_certificate(votes, height, 0, block.block_id)


def wrong(chain: Chain, block: Block) -> str | None:
    return check_block(chain, SIM, block, maker(chain).public)


def test_a_right_block_is_right(chain: Chain) -> None:
    assert wrong(chain, make_block(chain, maker(chain), SIM, 0, NOW + 1, ())) is None


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("version", 9, "version"), ("network", "other", "version or network"), ("height", 3, "height"),
        ("time_ms", NOW, "its time"),
        ("last_block_id", X, "follow"), ("validators_hash", X, "its validator set"),
        ("next_validators_hash", X, "next validator"), ("app_hash", X, "app hash"), ("tx_root", X, "root"),
        ("beacon", X, "beacon"),
        ("beacon_proof", bytes(80), "beacon"), ("proposer", X, "proposer"), ("round", 3, "beacon"),
    ],
)
def test_each_field_of_a_header_is_checked(chain: Chain, field: str, value: Any, sentence: str) -> None:
    block = make_block(chain, maker(chain), SIM, 0, NOW + 1, ())
    changed = replace(block, header=replace(block.header, **{field: value}))
    assert sentence in (wrong(chain, changed) or "accepted")


def with_body(block: Block, **parts: Any) -> Block:
    """Another body, with a root that covers it."""
    body = replace(block, **parts)
    return replace(body, header=replace(body.header, tx_root=tx_root(body.txs, body.last_commit, body.evidence)))


def test_the_last_commit_must_prove_the_last_block(chain: Chain) -> None:
    block = make_block(chain, maker(chain), SIM, 0, NOW + 1, ())
    right = block.last_commit
    assert right is not None
    few = replace(right, signatures=right.signatures[:2])
    forged = replace(right, signatures=tuple((key, bytes(64)) for key, _ in right.signatures))
    for commit in (None, few, forged, replace(right, block_id=X), replace(right, height=7)):
        assert "commit" in (wrong(chain, with_body(block, last_commit=commit)) or "accepted")


def test_a_beacon_of_another_key_or_input_is_refused(chain: Chain) -> None:
    block, key = make_block(chain, maker(chain), SIM, 0, NOW + 1, ()), maker(chain)
    other = next(k for k in KEYS[:4] if k is not key)
    for made in (
        make_beacon(other, chain.beacon(), 2, 0), make_beacon(key, X, 2, 0), make_beacon(key, chain.beacon(), 3, 0)
    ):
        changed = replace(block, header=replace(block.header, beacon=made[0], beacon_proof=made[1]))
        assert "beacon" in (wrong(chain, changed) or "accepted")


# -- votes and certificates ---------------------------------------------------------------------------------------


def test_a_vote_is_for_one_kind_network_and_shape() -> None:
    right = vote(KEYS[0])
    assert is_right(right, SIM, SET, None)
    assert not is_right(right, "other", SET, None)
    assert not is_right(vote(KEYS[9]), SIM, SET, None), "a stranger"
    for kind, domain in ((VoteType.PREVOTE, Domain.PREVOTE), (VoteType.PRECOMMIT, Domain.PRECOMMIT)):
        signed = vote(KEYS[0], kind)
        assert verify(KEYS[0].public, domain, SIM, encode(signed.vote), signed.signature), (
            "each kind has a domain of its own"
        )
    assert not SignedVote(replace(right.vote, type=VoteType.PREVOTE), right.signature).verify()
    assert not vote(KEYS[0], vr=0, round_=1).verify(), (
        "a precommit names no valid round: certificates rebuild it without"
    )
    assert not vote(KEYS[0], VoteType.PREVOTE, vr=1, round_=1).verify(), "a valid round lies before its round"
    assert not vote(KEYS[0], VoteType.PREVOTE, None, vr=0, round_=1).verify(), "nil has none"


def test_thresholds_are_strict() -> None:
    six = ValidatorSet.of([(key.public, weight) for key, weight in zip(KEYS, (1, 2, 3), strict=False)])
    assert [six.is_quorum(weight) for weight in (3, 4, 5, 6)] == [False, False, True, True]
    assert [six.has_honest(weight) for weight in (1, 2, 3)] == [False, False, True]


def test_commit_certificates() -> None:
    votes = [vote(key) for key in KEYS[:3]]
    right = commit_certificate(votes, 1, 0, X)
    assert verify_commit(right, SIM, SET)
    pairs = right.signatures
    bad = (
        pairs[:2], (*pairs[:2], pairs[0]), pairs[::-1], (*pairs[:2], (KEYS[3].public, pairs[2][1])),
        (*pairs, (KEYS[9].public, bytes(64))),
    )
    for signatures in bad:
        assert not verify_commit(replace(right, signatures=signatures), SIM, SET)
    assert not verify_commit(replace(right, round=1), SIM, SET)
    assert not verify_commit(right, "other", SET)


def test_a_certificate_needs_no_second_look_only_at_the_very_votes_that_were_verified() -> None:
    votes = [vote(key) for key in KEYS[:3]]
    right, seen = commit_certificate(votes, 1, 0, X), set(votes)
    looked: list[SignedVote] = []

    def is_verified(signed: SignedVote) -> bool:
        looked.append(signed)
        return signed in seen

    assert verify_commit(right, SIM, SET, is_verified)
    assert set(looked) == seen
    keeper = VoteKeeper(SET)
    for one in votes:
        keeper.add(one, 0)
    (key, _), *rest = right.signatures
    for changed in (bytes(64), right.signatures[1][1]):
        pairs = ((key, changed), *rest)
        assert not verify_commit(replace(right, signatures=pairs), SIM, SET, keeper.is_verified)
    assert verify_commit(right, SIM, SET, keeper.is_verified)


def test_polka_certificates() -> None:
    votes = tuple(vote(key, VoteType.PREVOTE) for key in KEYS[:3])
    right = PolkaCertificate(1, 0, X, votes)
    assert verify_polka(right, SIM, SET)
    stolen = replace(votes[2], vote=replace(votes[2].vote, validator=KEYS[3].public))
    bad = (
        votes[:2], (*votes[:2], votes[0]), (*votes[:2], stolen), (*votes[:2], vote(KEYS[2], VoteType.PREVOTE, Y)),
        (*votes[:2], vote(KEYS[2])), (*votes[:2], vote(KEYS[9], VoteType.PREVOTE)),
    )
    for changed in bad:
        assert not verify_polka(replace(right, votes=changed), SIM, SET)
    assert not verify_polka(replace(right, block_id=Y), SIM, SET)


def test_round_certificates() -> None:
    precommits = tuple(vote(key, block_id=None) for key in KEYS[:3])
    assert verify_round(RoundCertificate(1, 1, precommits), SIM, SET)
    assert not verify_round(RoundCertificate(1, 1, precommits[:2]), SIM, SET)
    assert not verify_round(RoundCertificate(1, 2, precommits), SIM, SET)
    ahead = (vote(KEYS[0], VoteType.PREVOTE, round_=4), vote(KEYS[1], round_=4))
    assert verify_round(RoundCertificate(1, 4, ahead), SIM, SET)
    assert not verify_round(RoundCertificate(1, 4, ahead[:1] * 2), SIM, SET), "one sender twice is one sender"
    assert not verify_round(RoundCertificate(1, 4, (*ahead, replace(ahead[0], signature=bytes(64)))), SIM, SET), (
        "whole or not at all"
    )


def proposal(
    chain: Chain, key: Key, round_: int, made_in: int, pol: int = -1, polka: PolkaCertificate | None = None
) -> SignedProposal:
    block = make_block(chain, key, SIM, made_in, NOW + 1, ())
    body = Proposal(SIM, 2, round_, block.block_id, pol, key.public)
    return SignedProposal(body, key.sign(Domain.PROPOSAL, SIM, encode(body)), block, polka)


def test_a_new_block_is_of_its_round_and_an_old_one_of_an_earlier(chain: Chain) -> None:
    key = maker(chain)
    assert is_right(proposal(chain, key, 0, 0), SIM, SET, None)
    assert not is_right(proposal(chain, key, 2, 0), SIM, SET, None), (
        "else a proposer could choose among the beacons of its rounds"
    )
    assert is_right(proposal(chain, key, 2, 0, pol=1), SIM, SET, None)
    assert not is_right(proposal(chain, key, 2, 2, pol=1), SIM, SET, None)
    assert not is_right(proposal(chain, key, 1, 0, pol=1), SIM, SET, None)
    block_id = proposal(chain, key, 2, 0, pol=1).block.block_id
    votes = tuple(vote(k, VoteType.PREVOTE, block_id, 1, height=2) for k in KEYS[:3])
    assert is_right(proposal(chain, key, 2, 0, 1, PolkaCertificate(2, 1, block_id, votes)), SIM, SET, None)
    about_x = tuple(vote(k, VoteType.PREVOTE, X, 1, height=2) for k in KEYS[:3])
    for polka in (PolkaCertificate(2, 1, block_id, votes[:2]), PolkaCertificate(2, 1, X, about_x)):
        assert not is_right(proposal(chain, key, 2, 0, 1, polka), SIM, SET, None)
    good = proposal(chain, key, 0, 0)
    assert not is_right(replace(good, signature=bytes(64)), SIM, SET, None)


# -- evidence -----------------------------------------------------------------------------------------------------


def two_votes(key: Key) -> bytes:
    return evidence_of_votes((vote(key), vote(key, block_id=Y)))


def forgot(key: Key) -> bytes:
    return evidence_of_votes((vote(key, round_=1), vote(key, VoteType.PREVOTE, Y, 3, vr=0)))


def two_proposals(chain: Chain, key: Key) -> bytes:
    first = proposal(chain, key, 0, 0)
    body = replace(first.proposal, block_id=X)
    return evidence_of_proposals(
        (first, SignedProposal(body, key.sign(Domain.PROPOSAL, SIM, encode(body)), first.block))
    )


def test_evidence_names_its_offender(chain: Chain) -> None:
    for raw in (two_votes(KEYS[0]), forgot(KEYS[0]), two_proposals(chain, KEYS[0])):
        assert check_evidence(raw, SIM, SET, 5) == KEYS[0].public == offender(raw)
        assert check_evidence(raw, "other", SET, 5) is None
        assert check_evidence(raw, SIM, ValidatorSet.of([(KEYS[1].public, 1)]), 5) is None
        assert check_evidence(raw, SIM, SET, 10**6) is None, "too old"
        assert check_evidence(raw, SIM, SET, 0) is None, "from the future"


def test_evidence_is_the_same_whichever_vote_came_first() -> None:
    a, b = vote(KEYS[0]), vote(KEYS[0], block_id=Y)
    assert evidence_of_votes((a, b)) == evidence_of_votes((b, a))


def test_what_proves_nothing() -> None:
    a = vote(KEYS[0])
    nothing = (
        DuplicateVote(a, a), DuplicateVote(a, vote(KEYS[1], block_id=Y)),
        DuplicateVote(a, vote(KEYS[0], block_id=Y, round_=1)),
        DuplicateVote(a, vote(KEYS[0], VoteType.PREVOTE, Y)),
        DuplicateVote(a, replace(vote(KEYS[0], block_id=Y), signature=bytes(64))),
        DuplicateVote(a, vote(KEYS[0], block_id=Y, height=2)),
        Amnesia(vote(KEYS[0], round_=1), vote(KEYS[0], VoteType.PREVOTE, Y, 3, vr=1)),
        Amnesia(vote(KEYS[0], round_=1), vote(KEYS[0], VoteType.PREVOTE, Y, 3, vr=2)),
        Amnesia(vote(KEYS[0], round_=3), vote(KEYS[0], VoteType.PREVOTE, Y, 1)),
        Amnesia(vote(KEYS[0], round_=1), vote(KEYS[0], VoteType.PREVOTE, X, 3)),
        Amnesia(vote(KEYS[0], round_=1), vote(KEYS[0], VoteType.PREVOTE, None, 3)),
        Amnesia(vote(KEYS[0], block_id=None, round_=1), vote(KEYS[0], VoteType.PREVOTE, Y, 3)),
        Amnesia(vote(KEYS[0], round_=1), vote(KEYS[1], VoteType.PREVOTE, Y, 3)),
    )
    for evidence in nothing:
        assert check_evidence(encode(evidence), SIM, SET, 5) is None, evidence
    for raw in (b"", b"\x80", bytes(5000)):
        assert check_evidence(raw, SIM, SET, 5) is None


def test_a_block_carries_only_new_proof_once_each(chain: Chain) -> None:
    block = make_block(chain, maker(chain), SIM, 0, NOW + 1, ())
    guilty, other = two_votes(KEYS[0]), forgot(KEYS[0])
    assert wrong(chain, with_body(block, evidence=(guilty,))) is None
    for evidence in (
        (guilty, guilty), (guilty, other), (encode(DuplicateVote(vote(KEYS[0]), vote(KEYS[0]))),), (b"junk",)
    ):
        assert "evidence" in (wrong(chain, with_body(block, evidence=evidence)) or "accepted")
    accused = with_body(block, evidence=(guilty,))
    chain.finalize(accused, certificate_of(accused), next_priorities(chain))
    assert chain.punished() == {KEYS[0].public}
    again = with_body(make_block(chain, maker(chain), SIM, 0, NOW + 2, ()), evidence=(other,))
    assert "evidence" in (check_block(chain, SIM, again, maker(chain).public) or "accepted")


def test_an_offender_has_no_weight_in_the_next_epoch(tmp_path: Path) -> None:
    """Evidence in block 2, epochs of four: its set decides up to block 4, the next one begins at 5 without it."""
    chain = Chain.open(tmp_path, genesis_of(Scenario(0, (1, 1, 1, 1, 1), epoch_blocks=4)))
    sizes = {}
    for height in range(1, 7):
        sizes[height] = len(chain.validators())
        evidence = (two_votes(KEYS[0]),) if height == 2 else ()
        key = maker(chain)
        block = make_block(chain, key, SIM, 0, NOW + height, evidence)
        assert check_block(chain, SIM, block, key.public) is None
        votes = [vote(k, block_id=block.block_id, height=height) for k in KEYS[1:5]]
        chain.finalize(block, commit_certificate(votes, height, 0, block.block_id), next_priorities(chain))
    assert sizes == {1: 5, 2: 5, 3: 5, 4: 5, 5: 4, 6: 4}
    chain.close()


def test_the_pool_keeps_one_proof_per_offender_and_forgets_the_punished() -> None:
    pool = EvidencePool(SIM)
    assert pool.add(two_votes(KEYS[0]), SET, 5)
    assert not pool.add(forgot(KEYS[0]), SET, 5)
    assert pool.add(forgot(KEYS[1]), SET, 5)
    assert not pool.add(b"junk", SET, 5)
    assert len(pool.pending(SET, frozenset())) == 2
    assert pool.pending(SET, frozenset({KEYS[0].public})) == (forgot(KEYS[1]),)
    assert len(pool) == 1


KIND = st.sampled_from(list(VoteType))
HONEST = st.lists(st.tuples(st.integers(0, 4), KIND, st.sampled_from([X, Y, None]), st.integers(-1, 3)), max_size=12)


@given(HONEST)
def test_the_keeper_finds_what_an_auditor_finds(rows: list[tuple[int, VoteType, bytes | None, int]]) -> None:
    """Any order of one sender's votes: the keeper convicts exactly when some pair among its first votes, or a
    double, does."""
    keeper = VoteKeeper(SET, 99)
    votes = [vote(KEYS[0], kind, block_id, round_, vr) for round_, kind, block_id, vr in rows]
    votes = [v for v in votes if v.vote.is_well_formed()]
    for signed in votes:
        keeper.add(signed, 0)
    first = {(v.vote.round, v.vote.type): v for v in reversed(votes)}
    expected = bool(conflicts(list(first.values()))) or any(
        first[v.vote.round, v.vote.type].vote != v.vote for v in votes
    )
    assert bool(keeper.double or keeper.amnesia) == expected
