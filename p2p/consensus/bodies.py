"""From compact proposals to whole ones. Law: only what the machine would keep is fetched, from the validator that
offers it, one block at a time from each.

Whatever a faulty validator offers or withholds, it costs one request to it and at most MAX_BLOCK bytes; other offers
of the same block do not wait for it. A signed proposal counts before its body is here: the first two of one proposer
and round are remembered and convict it (rule E), a third is ignored. Pure: the engine does the fetching.
"""

from __future__ import annotations

from functools import lru_cache

from p2p.base.errors import RemoteProtocolError
from p2p.base.keys import NetworkId, peer_id
from p2p.base.outcome import Outcome
from p2p.consensus import wire
from p2p.consensus.certificates import none_verified
from p2p.consensus.compact import Assembly, CompactProposal, FindTx, parse
from p2p.consensus.driver import Driver
from p2p.consensus.evidence import evidence_of_claims
from p2p.consensus.inbox import HeightView, holds
from p2p.consensus.machine import PROPOSALS_PER_ROUND, Machine
from p2p.consensus.message_checks import may_be_right
from p2p.consensus.messages import Proposal, SignedProposal
from p2p.consensus.validators import ValidatorSet

MAX_ARRIVALS = 64  # proposals of one height whose first arrival is remembered
Found = SignedProposal | Assembly  # a whole proposal, or one whose transactions are to be fetched
Turn = tuple[int, int, bytes]  # height, round, proposer


class Bodies:
    """The inbox of compact proposals. find: a transaction by its leaf hash, when this peer has it.

    An author is the peer id of whoever published a message; each validator may offer the body of any proposal."""

    def __init__(self, driver: Driver, network: NetworkId, find: FindTx) -> None:
        self._driver, self._network, self._find = driver, network, find
        self._busy: set[str] = set()  # authors that a block is being fetched from
        self._liars: set[str] = set()  # authors that gave something else than the block: not asked again at this height
        # of the next height: the last offer of each author, and when the first of that proposal arrived, ms
        self._early: dict[str, tuple[CompactProposal, int]] = {}
        self._arrivals: dict[Proposal, int] = {}  # when a proposal was first heard of, ms
        # of this height and the last: what was signed -> signature
        self._claims: dict[Turn, dict[Proposal, bytes]] = {}

    def __len__(self) -> int:
        return len(self._busy) + len(self._early)

    def judge(self, author: str, data: bytes) -> tuple[Outcome, Found | None]:
        """What becomes of a message, and what to take: a whole proposal, or one whose missing transactions are to
        be fetched from `author`. After fetching call `done`, and `distrust` where they were not those of the block."""
        try:
            compact = parse(data)
        except RemoteProtocolError:
            return Outcome.REJECT, None
        return self._judge(author, compact, self._driver.clock())

    def arrived_ms(self, proposal: Proposal) -> int:
        """When a proposal was first heard of, by our clock: its body may have come later, or only with a repeat."""
        return self._arrivals.get(proposal, self._driver.clock())

    def _judge(self, author: str, compact: CompactProposal, at_ms: int) -> tuple[Outcome, Found | None]:
        inbox, signed = self._driver.inbox, compact.signed
        view = inbox.view(signed.proposal.height)
        if view is None:
            return Outcome.IGNORE, None
        if not may_be_right(signed, self._network, view.members):
            return Outcome.REJECT, None
        offers = author in _authors(view.members)
        if not self._is_of_use(view, signed, offers):
            return Outcome.IGNORE, None
        # whoever offers a proposal can be asked for its body, so each validator's offer is news;
        # of the next height one offer of each validator is, whatever it says
        what = wire.content(signed) if view.machine is not None else signed.proposal.height
        content = "offer", what, author if offers else ""
        if not inbox.may_pass(content):
            return Outcome.IGNORE, None
        is_verified = view.machine.votes.is_verified if view.machine is not None else none_verified
        if not compact.is_right(self._network, view.members, is_verified):
            return Outcome.REJECT, None
        inbox.passed(content)
        if view.machine is None:
            before = self._early.get(author)
            self._early[author] = compact, before[1] if before and before[0].signed == signed else at_ms
            return Outcome.ACCEPT, None
        self._claim(view.machine, signed)
        if not view.machine.is_news(signed):
            return Outcome.ACCEPT, None
        if view.machine is not self._driver.machine:
            return Outcome.ACCEPT, signed  # of the last height: it may convict its proposer, and that needs no body
        if len(self._arrivals) < MAX_ARRIVALS:
            self._arrivals.setdefault(signed.proposal, at_ms)
        return Outcome.ACCEPT, self._take(author, compact, view.machine, offers)

    def _is_of_use(self, view: HeightView, signed: SignedProposal, offers: bool) -> bool:
        """Whether a proposal is of use to us, or as a repeat to a peer that missed it."""
        machine, proposal = view.machine, signed.proposal
        if machine is None:
            return offers
        claims = self._claims.get(_turn(proposal), {})
        return holds(machine, signed) or (
            machine.wants(signed) and (proposal in claims or machine.has_room(proposal, claims))
        )

    def _claim(self, machine: Machine, signed: SignedProposal) -> None:
        """Remember a verified proposal. Two of one round convict their proposer, whatever becomes of their bodies."""
        proposal = signed.proposal
        claims = self._claims.setdefault(_turn(proposal), {})
        if proposal not in claims:
            claims[proposal] = signed.signature
            if len(claims) == PROPOSALS_PER_ROUND:
                self._driver.convict(evidence_of_claims(*claims.items()), machine.validators)

    def _take(self, author: str, compact: CompactProposal, machine: Machine, offers: bool) -> Found | None:
        held = machine.proposal_of(compact.signed.proposal.block_id)
        assembly = Assembly(compact, self._find, held.block if held else None)
        if not assembly.missing:
            return assembly.whole()
        if not offers or author in self._busy or author in self._liars:
            return None  # the next repeat brings another chance
        self._busy.add(author)
        return assembly

    def done(self, author: str) -> None:
        """Nothing is being fetched from an author any more."""
        self._busy.discard(author)

    def distrust(self, author: str) -> None:
        """Ask an author for no other block of this height: it gave something else than it offered."""
        self._liars.add(author)

    def new_height(self) -> list[tuple[str, Found]]:
        """Judge the offers that came early: by author, what is to be taken or fetched."""
        self._liars.clear()
        self._arrivals.clear()
        self._claims = {turn: known for turn, known in self._claims.items() if turn[0] >= self._driver.height - 1}
        early, self._early = self._early, {}
        found = [(author, self._judge(author, compact, at_ms)[1]) for author, (compact, at_ms) in early.items()]
        return [(author, one) for author, one in found if one is not None]


def _turn(proposal: Proposal) -> Turn:
    return proposal.height, proposal.round, proposal.proposer


@lru_cache(maxsize=8)
def _authors(members: ValidatorSet) -> frozenset[str]:
    """Peer ids of a validator set. Needed for every offer, so made once."""
    return frozenset(peer_id(key) for key, _ in members.members)
