"""The rules as tables: what was fed, what must come out. Labels as in docs/consensus.md; n = 4, weight 1, me = D,
proposers A B C D A ..."""

from __future__ import annotations

import pytest

from p2p.base.codec import decode, encode
from p2p.base.errors import RemoteProtocolError
from p2p.base.types import VERSION
from p2p.consensus import wire
from p2p.consensus.machine import Machine
from p2p.consensus.messages import NIL_ROUND, Block, Header, Proposal, SignedProposal, SignedVote, Vote, VoteType
from p2p.consensus.round import CastVote, Decide, Effect, Propose, ScheduleTimeout, SkipRound, TimeoutKind
from p2p.consensus.validators import ValidatorSet
from tests.golden.samples import sample

ZERO, SIG = bytes(32), bytes(64)
WHO = {name: bytes([at]) * 32 for at, name in enumerate("ABCD", 1)}
BLOCKS = {
    name: Block(Header(VERSION, "n", 1, 0, at, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, b"", ZERO), (), None)
    for at, name in enumerate("xyz", 1)
}
IDS = {None: None, **{name: block.block_id for name, block in BLOCKS.items()}}
NAMES = {block_id: name for name, block_id in IDS.items()}
KIND = {"v": VoteType.PREVOTE, "c": VoteType.PRECOMMIT}
TIMERS = {"tp": TimeoutKind.PROPOSE, "tv": TimeoutKind.PREVOTE, "tc": TimeoutKind.PRECOMMIT}


class Table:
    """Inputs as words: `p0x` proposal of round 0 for x, `p2x1` with valid round 1, `p0x!` invalid; `v0x:ABC`
    prevotes, `c0-:A` precommit nil, `v1x/0:ABC` prevotes that carry valid round 0; `q0x:ABC` a prevote certificate;
    `tp0 tv0 tc0` timeouts."""

    def __init__(self, me: str = "D") -> None:
        members = ValidatorSet.of([(key, 1) for key in WHO.values()])
        self.m = Machine(WHO[me], members, lambda r: list(WHO.values())[r % 4])
        self.me = me
        self.out = self.words(self.m.start())

    def feed(self, words: str) -> list[str]:
        out = []
        for word in words.split():
            out += self.words(self._one(word))
        return out

    def _one(self, word: str) -> list[Effect]:
        if word[:2] in TIMERS:
            return self.m.on_timeout(TIMERS[word[:2]], int(word[2:]))
        if word[0] == "p":
            round_, name, rest = int(word[1]), word[2], word[3:]
            valid = not rest.endswith("!")
            vr = int(rest.rstrip("!") or NIL_ROUND)
            by = list(WHO.values())[round_ % 4]
            return self.m.on_proposal(
                SignedProposal(Proposal("n", 1, round_, BLOCKS[name].block_id, vr, by), SIG, BLOCKS[name]), valid
            )
        head, _, senders = word.partition(":")
        head, _, vr_text = head.partition("/")
        round_, name_or_nil = int(head[1]), None if head[2] == "-" else head[2]
        kind = VoteType.PREVOTE if head[0] == "q" else KIND[head[0]]
        votes = [self.vote(kind, round_, name_or_nil, s, int(vr_text or NIL_ROUND)) for s in senders]
        return self.m.on_certificate(votes) if head[0] == "q" else [e for vote in votes for e in self.m.on_vote(vote)]

    def vote(self, kind: VoteType, round_: int, name: str | None, by: str, vr: int) -> SignedVote:
        return SignedVote(Vote("n", kind, 1, round_, IDS[name], vr, WHO[by]), SIG)

    def words(self, effects: list[Effect]) -> list[str]:
        """Own votes are given back at once, as the driver does."""
        out: list[str] = []
        for effect in effects:
            if isinstance(effect, CastVote):
                letter = "v" if effect.type is VoteType.PREVOTE else "c"
                vr = f"/{effect.valid_round}" if effect.valid_round >= 0 else ""
                name = NAMES[effect.block_id]
                out.append(f"{letter}{effect.round}{name or '-'}{vr}")
                out += self.words(
                    self.m.on_vote(self.vote(effect.type, effect.round, name, self.me, effect.valid_round))
                )
            elif isinstance(effect, Decide):
                out.append(f"D{effect.round}{NAMES[effect.block_id]}")
            elif isinstance(effect, Propose):
                vr = str(effect.valid_round) if effect.valid_round >= 0 else ""
                out.append(f"P{effect.round}{NAMES[effect.block_id] or '?'}{vr}")
            elif isinstance(effect, ScheduleTimeout):
                out.append(f"t{effect.kind.name[:3].lower()}{effect.round}")
            assert not isinstance(effect, SkipRound), "entering a round stays inside"
        return [word for word in out if not word.startswith("t")]


LOCKED_X0 = "p0x v0x:AB c0-:AB tc0"  # D locked x in round 0 and is in round 1 (its own precommit makes the third)
CASES = [
    # P, L22
    ("fresh proposal is prevoted", "p0x", "v0x"),
    ("invalid proposal: nil", "p0x!", "v0-"),
    ("second proposal of a round is not prevoted", "p0x p0y", "v0x"),
    ("proposal before its round waits", "p1y", ""),
    ("waits until the round begins", "p1y tp0 v0-:AB c0-:AB tc0", "v0- c0- v1y"),
    # L57, L61, L65
    ("propose timeout: nil", "tp0", "v0-"),
    ("propose timeout after the prevote: nothing", "p0x tp0", "v0x"),
    ("prevote timeout: nil", "p0x v0-:A v0y:B tv0", "v0x c0-"),
    ("prevote timeout of another round: nothing", "p0x v0-:A v0y:B tv1", "v0x"),
    ("precommit timeout of an old round: nothing", LOCKED_X0 + " tc0", "v0x c0x"),
    # N
    ("polka for nil", "tp0 v0-:AB", "v0- c0-"),
    ("two nil prevotes are no polka", "tp0 v0-:A", "v0-"),
    # K
    ("polka locks", "p0x v0x:AB", "v0x c0x"),
    ("two prevotes do not", "p0x v0x:A", "v0x"),
    ("polka before the proposal waits for it", "v0x:ABC p0x", "v0x c0x"),
    ("polka for an invalid block: no lock", "p0x! v0x:ABC", "v0-"),
    ("late polka after a nil precommit: remembered, not locked", "p0x v0-:A v0y:B tv0 v0x:C", "v0x c0-"),
    # lock, L22
    ("locked: another fresh block gets nil", LOCKED_X0 + " p1y", "v0x c0x v1-"),
    ("locked: the same block is prevoted", LOCKED_X0 + " p1x", "v0x c0x v1x"),
    ("locked: the same block after a polka is prevoted with it", LOCKED_X0 + " p1x0", "v0x c0x v1x/0"),
    # L28
    ("re-proposal without its polka waits", "tp0 v0-:AB c0-:AB tc0 p1x0", "v0- c0-"),
    ("re-proposal is prevoted once the polka is there", "tp0 v0x:A v0y:B tv0 c0-:AB tc0 p1x0 q0x:ABC", "v0- c0- v1x/0"),
    ("valid round must be before the round", "tp0 v0-:AB c0-:AB tc0 v1x:ABC p1x1", "v0- c0-"),
    ("valid round beyond the round", "p0x3 v3x:A", ""),
    (
        "locked in 0, polka for y in 1, y again in 2: prevoted",
        LOCKED_X0 + " tp1 v1y:ABC c1-:ABC tc1 p2y1", "v0x c0x v1- v2y/1",
    ),
    (
        "locked in 1, polka of 0 for y: nil",
        "tp0 v0y:AB v0-:C tv0 c0-:AB tc0 p1x v1x:AB c1-:AB tc1 q0y:ABC p2y0", "v0- c0- v1x c1x v2-",
    ),
    ("invalid re-proposal: nil", "tp0 v0-:AB c0-:AB tc0 q0x:ABC p1x0!", "v0- c0- v1-"),
    # K looks at the valid round that prevotes carry
    ("prevotes that carry another valid round make no polka", LOCKED_X0 + " p1x0 v1x:AB", "v0x c0x v1x/0"),
    ("prevotes that carry it do", LOCKED_X0 + " p1x0 v1x/0:AB", "v0x c0x v1x/0 c1x"),
    # S
    ("one voter ahead is not enough", "v2-:A c2-:A", ""),
    ("two voters ahead: skip", "v2-:A c2-:B p2z", "v2z"),
    ("not to an earlier round", "v2-:AB v1-:AB p1y", ""),
    # D
    ("three precommits decide", "p0x c0x:ABC", "v0x D0x"),
    ("for an invalid block they do not", "p0x! c0x:ABC", "v0-"),
    ("not without the block", "c0x:ABC", ""),
    ("the block may come later", "c0x:ABC p0x", "D0x"),
    ("in any round", LOCKED_X0 + " c0x:C tp1", "v0x c0x v1-"),
    ("a round after ours", "p0x c2x:ABC", "v0x D2x"),
    ("a mix does not", "p0x c0x:AB c0-:C", "v0x"),
    ("nothing after a decision", "p0x c0x:ABC tp0 tv0 tc0 v1-:ABC p1y", "v0x D0x"),
    # votes
    ("a second vote of one sender does not count", "p0x v0y:A v0x:A v0x:B", "v0x"),
    ("but a certificate counts whole", "p0x v0y:A q0x:ABC", "v0x c0x"),
]


@pytest.mark.parametrize(("name", "given", "expected"), CASES, ids=[case[0] for case in CASES])
def test_case(name: str, given: str, expected: str) -> None:
    assert Table().feed(given) == expected.split(), name


def test_timers_are_set_once_each() -> None:
    table = Table()
    table.m.on_proposal(SignedProposal(Proposal("n", 1, 0, BLOCKS["x"].block_id, -1, WHO["A"]), SIG, BLOCKS["x"]), True)
    timers = []
    for word in ("v0x:A", "v0y:B", "v0-:C", "c0x:A", "c0y:B", "c0-:C"):
        timers += [e for e in table._one(word) if isinstance(e, ScheduleTimeout)]
    table._one("v0x:D")
    assert timers == [ScheduleTimeout(TimeoutKind.PREVOTE, 0), ScheduleTimeout(TimeoutKind.PRECOMMIT, 0)]


def test_a_proposer_with_a_valid_block_proposes_it_again() -> None:
    assert Table("B").feed("p0x v0x:AC c0-:AC tc0") == ["v0x", "c0x", "P1x0"]
    assert Table("A").out == ["P0?"]


def test_the_last_polka_seen_is_what_is_proposed() -> None:
    """D: remembered in round 0 after a nil precommit; proposed in round 3, its own."""
    table = Table()
    table.feed("p0x v0-:A v0y:B tv0 v0x:C")
    assert table.m.valid is None, "three prevotes for x are D, C and nobody else"
    table.feed("q0x:BCD")
    assert table.m.valid == (BLOCKS["x"].block_id, 0)
    assert table.m.locked is None
    assert table.feed("v3-:AB") == ["P3x0"]


def test_a_consensus_message_that_leaves_a_default_out_is_refused() -> None:
    """Two byte strings must not mean the same message: a proposal without its (empty) polka field is another
    encoding of it."""
    proposal = sample(SignedProposal)
    raw = wire.pack(proposal, 0)
    assert wire.parse(raw) == proposal
    without = SignedProposal(proposal.proposal, proposal.signature, proposal.block)  # type: ignore[attr-defined]
    plain = decode(wire.pack(without, 0))
    assert plain[3][-1] is None
    with pytest.raises(RemoteProtocolError):
        wire.parse(encode([*plain[:3], plain[3][:-1]]))
