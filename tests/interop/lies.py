"""Answers that a lying peer gives, and the sentence with which a client refuses each; and some honest ones.

Law: every lie is an honest answer but for one thing, signed by whoever would sign it; the liar holds all keys, its own
and the executors'. FAKE: no model makes these tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.errors import InvalidRequest
from p2p.base.keys import Domain, Key, digest
from p2p.base.serving_limits import MAX_CANDIDATES
from p2p.base.types import (
    BusyRecord,
    FinishReason,
    FinishRecord,
    SignedBusy,
    SignedFinish,
    SignedRequest,
    SignedStreamed,
)
from p2p.base.weighted_draw import draw_executors
from p2p.chain.chain import Chain
from p2p.text.vocabulary import text_hash
from p2p.verification import artifact as artifacts
from p2p.verification.engine import TokenStep
from p2p.verification.streamed import chain_after, sign_streamed
from p2p.verification.tape import tape_seed
from p2p.wire.failures import failure
from p2p.wire.frames import Accepted, Declined, Done, Frame, PayloadWanted, Tokens, Trying, pack_frame
from tests.client.test_tip_proof import BY_KEY, MODEL, PEER
from tests.sim.run import KEYS

TOKENS, WORDS = (3, 4, 5), ("Paris ", "is ", "it.")
BUSY, SILENT, BREAKS_OFF = "busy", "silent", "breaks off"
CANDIDATES = tuple((9 + rank, -5.0 - rank) for rank in range(7))  # of each row, behind its token
STRANGER = KEYS[-1]  # signs what others should

Story = list[Any]  # frames in order: Accepted, Trying, Tokens, Tokens, Done


def finished(key: Key, signed: SignedRequest, done: Done, **changes: Any) -> Done:
    """`done` with other claims in its finish record, signed by `key`."""
    record = replace(done.finish.record, **changes)
    return replace(done, finish=SignedFinish(record, key.sign(Domain.FINISH, signed.request.network, encode(record))))


def story(
    chain: Chain, signed: SignedRequest, *, order: Callable[[tuple[bytes, ...]], Iterable[bytes]] = tuple,
    beacon: bytes | None = None, reason: FinishReason = FinishReason.LENGTH, seeded: bytes | None = None,
    skipped: int = 0, before: str = "",
) -> Story:
    """The frames of an answer of three tokens. order: of the drawn executors. beacon: instead of the height's. seeded:
    the beacon that its seed is of. skipped: so many executors are not asked. before: what the first one does, so that
    the second answers: it is BUSY, SILENT, or BREAKS_OFF after two tokens."""
    request, iid = signed.request, signed.inference_id
    beacon = beacon or chain.reader.beacon_at(request.draw_height)
    assert beacon is not None
    serving = chain.reader.serving_at(MODEL, request.draw_height)
    drawn = tuple(order(draw_executors(beacon, iid, serving, PEER.public, MAX_CANDIDATES)))
    first, executor = BY_KEY[drawn[0]], BY_KEY[drawn[1 if before else skipped]]
    taken = [streamed(first, signed, 0, 2)] if before == BREAKS_OFF else []
    steps = [TokenStep(token, "", -0.02, ((token, -0.02), *CANDIDATES)) for token in TOKENS]
    seed = tape_seed(seeded or beacon, iid, request.client_nonce)
    header = artifacts.header_for(
        request, iid, chain.genesis.models[0], seed, range(5), reason, taken=tuple(taken)
    )
    made = artifacts.build(header, steps)
    record = FinishRecord(
        iid, executor.public, made.root(), made.output_hash(), 5, len(TOKENS), reason,
        text_hash=text_hash("".join(WORDS)), taken_over=header.taken_over,
    )
    finish = SignedFinish(record, executor.sign(Domain.FINISH, request.network, encode(record)))
    earlier: Story = [Trying(first.public)] if before else []
    if taken:
        earlier.append(frame(first, signed, 0, 0, 2))
    if before:
        said = BusyRecord(iid, first.public, "all places are taken")
        busy = SignedBusy(said, first.sign(Domain.BUSY, request.network, encode(said))) if before == BUSY else None
        earlier.append(Declined(first.public, before, busy))
    own = [frame(executor, signed, 0, 0, 2)] if not taken else []
    return [
        Accepted(iid, PEER.public, beacon, drawn), *earlier, Trying(executor.public), *own,
        frame(executor, signed, header.taken_over, 2, 3), Done(finish, made.to_bytes()),
    ]


def streamed(key: Key, signed: SignedRequest, first: int, upto: int) -> SignedStreamed:
    """`key` has streamed the tokens from `first` to `upto` - 1."""
    iid = signed.inference_id
    return sign_streamed(key, signed.request.network, iid, first, upto, chain_after(iid, TOKENS[:upto]))


def frame(key: Key, signed: SignedRequest, first: int, at: int, upto: int) -> Tokens:
    """The tokens from `at` on, signed by `key`, whose first token was `first`."""
    text = "".join(WORDS[at:upto])
    return Tokens(at, TOKENS[at:upto], text, streamed(key, signed, first, upto).signature)


Change = Callable[[SignedRequest, Story], None]


@dataclass(frozen=True, slots=True)
class Lie:
    """refused: words of the sentence. status: the client's exit status. made: how the story is made. change: what is
    then changed in it. raw: bytes instead of the frame at a place."""

    refused: str
    status: int = 3
    made: dict[str, Any] = field(default_factory=dict)
    change: Change = lambda signed, told: None
    raw: tuple[int, bytes] | None = None

    def frames(self, chain: Chain, signed: SignedRequest) -> list[bytes]:
        told = story(chain, signed, **self.made)
        self.change(signed, told)
        packed = [pack_frame(one) for one in told]
        if self.raw is not None:
            packed[self.raw[0]:] = [self.raw[1]]
        return packed


def changed(place: int, **fields: Any) -> Change:
    def change(signed: SignedRequest, told: Story) -> None:
        told[place] = replace(told[place], **fields)

    return change


def claimed(**fields: Any) -> Change:
    """Another claim in the finish record, signed by the executor."""

    def change(signed: SignedRequest, told: Story) -> None:
        told[-1] = finished(BY_KEY[told[1].node], signed, told[-1], **fields)

    return change


def signed_by_another(signed: SignedRequest, told: Story) -> None:
    told[-1] = finished(STRANGER, signed, told[-1])


def finished_by_the_second(signed: SignedRequest, told: Story) -> None:
    second = BY_KEY[told[0].candidates[1]]
    told[-1] = finished(second, signed, told[-1], executor=second.public)


def other_artifact(signed: SignedRequest, told: Story) -> None:
    found = artifacts.parse(told[-1].artifact)
    header = replace(found.header, prompt_tokens_hash=digest(b"another prompt"))
    told[-1] = replace(told[-1], artifact=artifacts.Artifact(header, found.rows).to_bytes())


def instead(place: int, other: Frame) -> Change:
    def change(signed: SignedRequest, told: Story) -> None:
        told[place:] = [other]

    return change


def without(place: int) -> Change:
    def change(signed: SignedRequest, told: Story) -> None:
        del told[place]

    return change


HONEST = {
    "": Lie("", 0),
    **{before: Lie("", 0, made={"before": before}) for before in (BUSY, SILENT, BREAKS_OFF)},
}
REFUSAL = failure(InvalidRequest("the quota of this account is used up", field="max_tokens"))
LIES = {
    "a friend is drawn first": Lie("the draw is not what", made={"order": lambda drawn: reversed(drawn)}),
    "another beacon": Lie("the beacon is not that of the height", made={"beacon": digest(b"mine")}),
    "an executor is left out": Lie("one after the other", made={"skipped": 1}),
    "nobody is tried": Lie("before an executor was asked", change=without(1)),
    "another seed": Lie("the seed is not the one the draw gives", made={"seeded": digest(b"mine")}),
    "cut short": Lie("cut short as if you had left", made={"reason": FinishReason.STOPPED}),
    "tokens nobody signed": Lie("not signed by the executor", change=changed(3, tokens=(7,))),
    "tokens that a stranger signed": Lie("not signed by the executor", change=changed(2, signature=bytes(64))),
    "a frame twice": Lie("do not follow", change=lambda signed, told: told.insert(3, told[2])),
    "text nobody signed": Lie("the text that was shown is not the one", change=changed(3, text="not it.")),
    "text without end": Lie("bytes of text per token", change=changed(2, text="x" * 2000)),
    "a finish that a stranger signed": Lie("not signed by the executor", change=signed_by_another),
    "another output": Lie("claims other tokens than were streamed", change=claimed(output_hash=bytes(32))),
    "more tokens charged": Lie("artifact and finish record disagree", change=claimed(prompt_tokens=60)),
    "tokens of nobody": Lie("two counts of tokens that were taken over", change=claimed(taken_over=2)),
    "another executor's name": Lie("was not drawn", change=claimed(executor=STRANGER.public)),
    "another drawn one's name": Lie("not the one that was tried last", change=finished_by_the_second),
    "another root": Lie("not the one whose root was signed", change=claimed(artifact_root=bytes(32))),
    "another artifact": Lie("not the one whose root was signed", change=other_artifact),
    "no artifact": Lie("the artifact cannot be read", change=changed(-1, artifact=b"\x80")),
    "another inference": Lie("not the hash of the signed request", change=changed(0, inference_id=bytes(32))),
    "another agent": Lie("the agent named is not the peer", change=changed(0, agent=STRANGER.public)),
    "another kind of frame": Lie("where accepted or", change=instead(2, PayloadWanted(2, bytes(32)))),
    "accepted twice": Lie("accepted twice", change=lambda signed, told: told.insert(1, told[0])),
    "the end comes first": Lie("finished before it was accepted", change=lambda signed, told: told.insert(0, told[-1])),
    "a refusal": Lie("the quota of this account is used up", 2, change=instead(0, REFUSAL)),
    "bytes that are not canonical": Lie("not CBOR", raw=(2, b"\x98\x02" + b"\x66tokens\x00")),
    "a field too many": Lie("fields is expected", raw=(1, encode(["trying", bytes(32), 1]))),
    "a number too large": Lie("a whole number", raw=(2, encode(["tokens", 2**40, [1], "", bytes(64), b""]))),
    "a frame too large": Lie("a frame above", raw=(2, bytes((0x80, 0x80, 0x80, 0x80, 0x10)))),
}
