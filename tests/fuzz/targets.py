"""What is fuzzed: valid originals, and for each target the check that must refuse everything else.

Law: `accepts` says whether a peer that knows what the chain knows about original number `at` takes these parts for it.
Refusals are typed errors; any other error is a crash.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from msgspec.structs import replace

from p2p.base.body import one_message, open_body
from p2p.base.codec import encode, unpack
from p2p.base.errors import RemoteProtocolError
from p2p.base.genesis import Genesis, GenesisPeer, ModelSpec
from p2p.base.keys import Domain, Key, digest
from p2p.base.serving_limits import MAX_CANDIDATES
from p2p.base.types import (
    VERSION,
    FinishReason,
    FinishRecord,
    Params,
    PlantCommit,
    PlantReveal,
    Request,
    RevealedRow,
    SignedFinish,
    SignedRequest,
    Verdict,
    VerdictCommit,
    VerdictKind,
    plant_commitment,
    verdict_commitment,
)
from p2p.base.weighted_draw import WeightedDraw, draw_executors
from p2p.client.draw_check import DrawCheck
from p2p.client.receipt import check_receipt
from p2p.consensus import compact, vote_frames, wire
from p2p.consensus.header import tx_root
from p2p.consensus.message_checks import is_right
from p2p.consensus.messages import (
    Block,
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
from p2p.consensus.validators import ValidatorSet
from p2p.consensus.vote_frames import Bundle, Proposed, Want
from p2p.text.vocabulary import text_hash
from p2p.verification import artifact as artifacts
from p2p.verification import check, tape
from p2p.verification.engine import TokenStep
from p2p.verification.streamed import chain_after, sign_streamed
from p2p.wire.frames import Accepted, Body, Done, Payload, pack_frame, parse_frame
from tests.golden.samples import kinds, sample

Parts = tuple[bytes, ...]
EOS = frozenset({2})
MODEL, HEIGHT = "toy", 70
PROMPT = "How deep is the lake?"
TEXT = "what the tokens say"
SPEC = ModelSpec(MODEL, b"\x01" * 32, b"\x02" * 32, "bfloat16", 10, 1, 2048)
CLIENT, AGENT = Key(b"\x11" * 32), Key(b"\x12" * 32)
PEERS = [Key(bytes([at]) * 32) for at in range(32, 35)]
SERVING = WeightedDraw((key.public, 1) for key in PEERS)
GENESIS = Genesis(
    VERSION, "fuzz", 1, tuple(GenesisPeer(k.public, k.public, 1, (MODEL,)) for k in PEERS), (), (SPEC,),
)
NETWORK = GENESIS.network


@dataclass(frozen=True, slots=True)
class Target:
    """originals: valid messages, each of one or more parts. accepts(at, parts): see the head of the file."""

    name: str
    originals: tuple[Parts, ...]
    accepts: Callable[[int, Parts], bool]


@dataclass(frozen=True, slots=True)
class Claim:
    """One finished inference as its parties know it."""

    signed: SignedRequest
    accepted: Accepted
    done: Done
    seed: bytes


@cache
def claims() -> tuple[Claim, ...]:
    """Short and long answers; greedy, sampled, with masks and penalties; small and large vocabulary."""
    kinds_ = (
        (1, Params(0), 100), (5, Params(), 100), (33, Params(1000, 20, 0, 900), 40_000),
        (7, Params(700, 0, 50, 1000, 100, -100), 140_000),
    )
    return tuple(_claim(at, *kind) for at, kind in enumerate(kinds_))


def _claim(at: int, length: int, params: Params, vocab: int) -> Claim:
    asked = one_message(PROMPT).hash
    request = Request(
        VERSION, NETWORK, CLIENT.public, at, MODEL, asked, params, 90, length, 10_000, 300, CLIENT.public, HEIGHT + at,
    )
    signed = SignedRequest(request, CLIENT.sign(Domain.REQUEST, NETWORK, encode(request)))
    beacon = digest(b"fuzz-beacon", bytes([at]))
    drawn = draw_executors(beacon, signed.inference_id, SERVING, AGENT.public, MAX_CANDIDATES)
    first, second = (next(k for k in PEERS if k.public == node) for node in drawn[:2])
    before = 3 if at == 3 else 0  # the last one continues the tokens of another executor
    executor = second if before else first
    seed = tape.tape_seed(beacon, signed.inference_id, request.client_nonce)
    tokens = [(i * 7919 + at) % (vocab - 10) + 3 for i in range(length)]
    steps = [TokenStep(t, "", -0.02, ((t, -0.02), *((t + 1 + r, -5.0 - r) for r in range(7)))) for t in tokens]
    iid = signed.inference_id
    taken = (sign_streamed(first, NETWORK, iid, 0, before, chain_after(iid, tokens[:before])),) if before else ()
    header = artifacts.header_for(request, iid, SPEC, seed, range(5), FinishReason.LENGTH, taken=taken)
    made = artifacts.build(header, steps)
    record = FinishRecord(
        iid, executor.public, made.root(), made.output_hash(), 5, length, FinishReason.LENGTH,
        text_hash=text_hash(TEXT), taken_over=before,
    )
    done = Done(SignedFinish(record, executor.sign(Domain.FINISH, NETWORK, encode(record))), made.to_bytes())
    return Claim(signed, Accepted(signed.inference_id, AGENT.public, beacon, drawn), done, seed)


def _artifact(at: int, parts: Parts) -> bool:
    """A validator's stage 0 against the finish record on chain."""
    claim = claims()[at]
    found = artifacts.parse(parts[0])
    record, drawn = claim.done.finish.record, claim.accepted.candidates
    return check.check_exact(found, claim.signed.request, record, SPEC, claim.seed, EOS, drawn=drawn) is None


def _payload(at: int, parts: Parts) -> bool:
    """The same check for what the payload stream brings: frame, prompt, artifact."""
    frame = parse_frame(parts[0])
    if not isinstance(frame, Payload):
        return False
    open_body(frame.body, claims()[at].signed.request.body_hash)
    return _artifact(at, (frame.artifact,))


def _receipt(at: int, parts: Parts) -> bool:
    """A client's check of the agent's Accepted and Done, with the beacon and serving set of the draw's height."""
    claim = claims()[at]
    accepted, done = map(parse_frame, parts)
    if not (isinstance(accepted, Accepted) and isinstance(done, Done)):
        return False
    if done.cached != claim.done.cached:  # the executor's mere word: nothing follows from it, so nothing checks it
        return False
    beacons = {HEIGHT + other: there.accepted.beacon for other, there in enumerate(claims())}
    tokens = list(artifacts.parse(claim.done.artifact).tokens)  # streamed before, not part of the receipt
    height = claim.signed.request.draw_height
    drawn = DrawCheck(GENESIS, MODEL, height, SERVING, beacons[height])
    return not check_receipt(AGENT.public, claim.signed, accepted, done, tokens, TEXT, drawn=drawn)


@cache
def verdicts() -> tuple[Verdict, ...]:
    rows = tuple(RevealedRow(at * 3, tuple((at * 9 + r, -4000 - 100 * r) for r in range(4))) for at in range(16))
    whole = Verdict(
        b"\x21" * 32, b"\x22" * 32, VerdictKind.VALID, "llr -3.2 nats, 48 tokens", -3200, 48, rows, b"\x23" * 32,
    )
    refused = Verdict(
        b"\x31" * 32, b"\x32" * 32, VerdictKind.INVALID, "the payload's root is not the one on chain", 0, 0, (),
        b"\x33" * 32,
    )
    return whole, refused, replace(whole, numbers=rows[:2], llr_milli=1_000_000, salt=b"\x24" * 32)


def _verdict(at: int, parts: Parts) -> bool:
    """The ledger has the commitment of the original."""
    return verdict_commitment(unpack(Verdict, parts[0])) == verdict_commitment(verdicts()[at])


def _commit(at: int, parts: Parts) -> bool:
    """Only the reveal is checked against a commitment, so one of another validator or inference is another message."""
    return unpack(VerdictCommit, parts[0]) == _commits()[at]


@cache
def _commits() -> tuple[VerdictCommit, ...]:
    return tuple(VerdictCommit(v.inference_id, v.validator, verdict_commitment(v)) for v in verdicts())


@cache
def _plants() -> tuple[tuple[PlantCommit, PlantReveal], ...]:
    reveals = [
        PlantReveal(bytes([at]) * 32, bytes([at + 1]) * 32, fault, bytes([at + 2]) * 32)
        for at, fault in ((1, "wrong-seed"), (8, "int4"))
    ]
    return tuple((PlantCommit(r.executor, plant_commitment(r.inference_id, r.fault, r.salt)), r) for r in reveals)


def _plant(at: int, parts: Parts) -> bool:
    """The ledger keeps commitments by executor; the reveal must open the one of its executor."""
    found = unpack(PlantReveal, parts[0])
    commitment = plant_commitment(found.inference_id, found.fault, found.salt)
    return _plants()[at][0] == PlantCommit(found.executor, commitment)


@cache
def _proposals() -> tuple[SignedProposal, ...]:
    """With no transaction, and with some that a peer has to fetch."""
    return tuple(_proposed(tuple(bytes([at]) * (at + 1) for at in range(count))) for count in (0, 1, 5))


def _proposed(txs: tuple[bytes, ...]) -> SignedProposal:
    key = PEERS[0]
    header = Header(
        VERSION, NETWORK, 1, 0, 1000, bytes(32), b"\x41" * 32, b"\x42" * 32, b"\x43" * 32, tx_root(txs, None, ()),
        b"\x44" * 32, b"\x45" * 80, key.public,
    )
    body = Proposal(NETWORK, 1, 0, header.block_id, -1, key.public)
    return SignedProposal(body, key.sign(Domain.PROPOSAL, NETWORK, encode(body)), Block(header, txs, None))


def _compact(at: int, parts: Parts) -> bool:
    """A peer without the transactions takes the compact proposal by gossip, then the body by stream. The retry counter
    is not checked."""
    original, found, body = _proposals()[at], compact.parse(parts[0]), parse_frame(parts[1])
    if not found.is_right(NETWORK, ValidatorSet.of([(key.public, 1) for key in PEERS])) or not isinstance(body, Body):
        return False
    assembly = compact.Assembly(found, lambda leaf: None)
    assembly.fill(body.txs)
    whole = assembly.whole()
    return whole not in _proposals() or parts == _compact_parts(original)  # another signed original is no forgery


def _compact_parts(signed: SignedProposal) -> Parts:
    return compact.shrink(wire.pack(signed, 7)), pack_frame(Body(signed.block.txs))


@cache
def _bundles() -> tuple[tuple[Bundle, ...], tuple[Want, ...]]:
    """Bundles of votes and certificates, and questions for them."""
    votes = [_vote(key, kind, block) for key in PEERS for kind in VoteType for block in (None, bytes(32))]
    prevotes = tuple(one for one in votes if one.vote.type is VoteType.PREVOTE and one.vote.block_id is not None)
    precommits = tuple(one for one in votes if one.vote.type is VoteType.PRECOMMIT and one.vote.block_id is None)
    messages: tuple[wire.Wire, ...] = (
        PolkaCertificate(1, 0, bytes(32), prevotes), RoundCertificate(1, 1, precommits), *votes[:2],
    )
    packed = tuple(map(vote_frames.pack, messages))
    block = bytes(32)
    wants = Want(1, 0, b"", b"", (), ()), Want(1, 2, b"\x03", b"\x07", (block,), (block, b"\1" * 32))
    return (Bundle(0, packed[2:]), Bundle(7, packed)), wants


def _proposed_frame() -> Parts:
    """A proposal on a stream of votes."""
    return (encode(Proposed(_compact_parts(_proposals()[0])[0])),)


def _vote(key: Key, kind: VoteType, block: bytes | None) -> SignedVote:
    return sign_vote(key, Vote(NETWORK, kind, 1, 0, block, -1, key.public))


def _bundle(at: int, parts: Parts) -> bool:
    """A peer takes a frame of votes: what it is made to believe. The count of bundles is not checked."""
    (bundles, wants), found = _bundles(), vote_frames.parse_frame(parts[0])
    if encode(found) != parts[0]:
        return True
    if isinstance(found, Proposed):
        is_own = parts != _proposed_frame() or at == len(bundles) + len(wants)  # another original is no forgery
        return is_own and _compact(0, (found.proposal, pack_frame(Body(_proposals()[0].block.txs))))
    if isinstance(found, Want) or at >= len(bundles):
        return at < len(bundles) + len(wants) and found == (*bundles, *wants)[at]
    members = ValidatorSet.of([(key.public, 1) for key in PEERS])
    right = [is_right(vote_frames.parse_message(raw), NETWORK, members, None) for raw in found.messages]
    known = {raw for bundle in bundles for raw in bundle.messages}
    return (all(right) and not known.issuperset(found.messages)) or found == bundles[at]


@cache
def _frames() -> tuple[bytes, ...]:
    return tuple(encode(sample(kind)) for name, kind in sorted(kinds().items()) if name.startswith("p2p.wire.frames."))


def _frame(at: int, parts: Parts) -> bool:
    """Accepted bytes must be the one encoding of the frame that was read, so that no two byte strings mean the same."""
    if encode(parse_frame(parts[0])) != parts[0]:
        return True
    return parts[0] == _frames()[at]


@cache
def targets() -> dict[str, Target]:
    payloads = tuple((pack_frame(Payload(encode(one_message(PROMPT)), c.done.artifact)),) for c in claims())
    found = (
        Target("artifact", tuple((c.done.artifact,) for c in claims()), _artifact),
        Target("payload", payloads, _payload),
        Target("receipt", tuple((pack_frame(c.accepted), pack_frame(c.done)) for c in claims()), _receipt),
        Target("verdict", tuple((encode(v),) for v in verdicts()), _verdict),
        Target("commit", tuple((encode(c),) for c in _commits()), _commit),
        Target("plant", tuple((encode(r),) for _, r in _plants()), _plant),
        Target("compact", tuple(map(_compact_parts, _proposals())), _compact),
        Target("votes", (*((encode(frame),) for kind in _bundles() for frame in kind), _proposed_frame()), _bundle),
        Target("frame", tuple((raw,) for raw in _frames()), _frame),
    )
    for target in found:
        for at, parts in enumerate(target.originals):
            if not target.accepts(at, parts):
                raise RemoteProtocolError(f"original {at} of {target.name} is refused", field="original")
    return {target.name: target for target in found}
