"""From compact proposals to whole ones. Law: only what the core would keep is fetched, from who offers it, one block at a time each.

Whatever a villain offers or withholds, it costs one request to it and at most MAX_BLOCK bytes; others' offers of the same block do not
wait for it. What was signed counts before its body is here: of each proposer's round the first two claims are known, which convict it, and a
third is no news to anybody. Pure: the engine does the fetching.
"""

from __future__ import annotations

from functools import lru_cache

from p2p.base.errors import RemoteProtocolError
from p2p.base.keys import NetworkId, peer_id
from p2p.base.outcome import Outcome
from p2p.consensus import wire
from p2p.consensus.compact import Assembly, CompactProposal, FindTx, parse
from p2p.consensus.driver import Driver
from p2p.consensus.evidence import of_claims
from p2p.consensus.inbox import Place, holds
from p2p.consensus.machine import PROPOSALS_PER_ROUND, Machine
from p2p.consensus.message_checks import is_of
from p2p.consensus.messages import Proposal, SignedProposal
from p2p.consensus.validators import ValidatorSet

MAX_ARRIVALS = 64  # proposals of one height whose first arrival is remembered
Found = SignedProposal | Assembly
Claimed = tuple[int, int, bytes]  # height, round, proposer


class Bodies:
    """find: a transaction by its leaf hash, when this peer has it."""

    def __init__(self, driver: Driver, network: NetworkId, find: FindTx) -> None:
        self._driver, self._network, self._find = driver, network, find
        self._busy: set[str] = set()  # authors whose block is being fetched
        self._liars: set[str] = set()  # gave what was not the block; not asked again at this height
        self._early: dict[str, tuple[CompactProposal, int]] = {}  # of the next height: the last offer of each author, and when it came
        self._arrivals: dict[Proposal, int] = {}
        self._claims: dict[Claimed, dict[Proposal, bytes]] = {}  # of this height and the last: what was signed, with its signature

    def __len__(self) -> int:
        return len(self._busy) + len(self._early)

    def judge(self, author: str, data: bytes) -> tuple[Outcome, Found | None]:
        """(what becomes of it, a whole proposal, or one whose missing transactions `author` is to give; then say `done`)."""
        try:
            compact = parse(data)
        except RemoteProtocolError:
            return Outcome.REJECT, None
        return self._judge(author, compact, self._driver.clock())

    def arrived_ms(self, proposal: Proposal) -> int:
        """When it was first heard of: its body may have come later, or only with a repeat."""
        return self._arrivals.get(proposal, self._driver.clock())

    def _judge(self, author: str, compact: CompactProposal, at_ms: int) -> tuple[Outcome, Found | None]:
        inbox, signed = self._driver.inbox, compact.signed
        place = inbox.place(signed.proposal.height)
        if place is None:
            return Outcome.IGNORE, None
        if not is_of(signed, self._network, place.members):
            return Outcome.REJECT, None
        offers = author in _authors(place.members)
        if not self._is_of_use(place, signed, offers):
            return Outcome.IGNORE, None
        # who offers it is asked for its body, so each one's offer is news; of the next height one of each is, whatever it says
        what = wire.content(signed) if place.machine is not None else signed.proposal.height
        content = "offer", what, author if offers else ""
        if not inbox.may_pass(content):
            return Outcome.IGNORE, None
        if not compact.is_right(self._network, place.members, *((place.machine.votes.knows,) if place.machine else ())):
            return Outcome.REJECT, None
        inbox.passed(content)
        if place.machine is None:
            before = self._early.get(author)
            self._early[author] = compact, before[1] if before and before[0].signed == signed else at_ms
            return Outcome.ACCEPT, None
        self._claim(place.machine, signed)
        if not place.machine.is_news(signed):
            return Outcome.ACCEPT, None
        if place.machine is not self._driver.machine:
            return Outcome.ACCEPT, signed  # decides nothing more, but may convict its proposer: that takes no body
        if len(self._arrivals) < MAX_ARRIVALS:
            self._arrivals.setdefault(signed.proposal, at_ms)
        return Outcome.ACCEPT, self._take(author, compact, place.machine, offers)

    def _is_of_use(self, place: Place, signed: SignedProposal, offers: bool) -> bool:
        """To us, or as a repeat to somebody who has missed it."""
        machine, proposal = place.machine, signed.proposal
        if machine is None:
            return offers
        claims = self._claims.get(_claimed(proposal), {})
        return holds(machine, signed) or (machine.wants(signed) and (proposal in claims or machine.has_room(proposal, claims)))

    def _claim(self, machine: Machine, signed: SignedProposal) -> None:
        """Its signature is right. Two of one round convict their proposer, whatever becomes of their bodies."""
        proposal = signed.proposal
        claims = self._claims.setdefault(_claimed(proposal), {})
        if proposal not in claims:
            claims[proposal] = signed.signature
            if len(claims) == PROPOSALS_PER_ROUND:
                self._driver.convict(of_claims(*claims.items()), machine.validators)

    def _take(self, author: str, compact: CompactProposal, machine: Machine, offers: bool) -> Found | None:
        held = machine.proposal_of(compact.signed.proposal.block_id)
        assembly = Assembly(compact, self._find, held.block if held else None)
        if not assembly.missing:
            return assembly.whole()
        if not offers or author in self._busy or author in self._liars:
            return None  # it comes again with the next repeat
        self._busy.add(author)
        return assembly

    def done(self, author: str, *, lied: bool = False) -> None:
        self._busy.discard(author)
        if lied:
            self._liars.add(author)

    def new_height(self) -> list[tuple[str, Found]]:
        """Offers that came early, judged now: by author, what is to be taken or fetched."""
        self._liars.clear()
        self._arrivals.clear()
        self._claims = {claimed: known for claimed, known in self._claims.items() if claimed[0] >= self._driver.height - 1}
        early, self._early = self._early, {}
        found = [(author, self._judge(author, compact, at_ms)[1]) for author, (compact, at_ms) in early.items()]
        return [(author, one) for author, one in found if one is not None]


def _claimed(proposal: Proposal) -> Claimed:
    return proposal.height, proposal.round, proposal.proposer


@lru_cache(maxsize=8)
def _authors(members: ValidatorSet) -> frozenset[str]:
    """Peer ids of a set: asked for with every offer, so made once."""
    return frozenset(peer_id(key) for key, _ in members.members)
