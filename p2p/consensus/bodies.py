"""From compact proposals to whole ones. Law: only what the machine would keep is fetched, from its proposer or from
whoever forwarded it, one block at a time from each.

The proposer has the body from the start, a forwarder once it has fetched it itself. Whatever a faulty peer forwards or
withholds, it costs one request to it and at most MAX_BLOCK bytes; other offers of the same block do not wait for it. A
signed proposal counts before its body is here: the first two of one proposer
and round are remembered and convict it (rule E), a third is ignored. Pure: the engine does the fetching.
"""

from __future__ import annotations

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

MAX_ARRIVALS = 64  # proposals of one height whose first arrival is remembered
Found = SignedProposal | Assembly  # a whole proposal, or one whose transactions are to be fetched
Turn = tuple[int, int, bytes]  # height, round, proposer


class Bodies:
    """The inbox of compact proposals. find: a transaction by its leaf hash, when this peer has it.

    Peers are named by their peer ids. A message says nothing of who published it, only who forwarded it."""

    def __init__(self, driver: Driver, network: NetworkId, find: FindTx) -> None:
        self._driver, self._network, self._find = driver, network, find
        self._busy: set[str] = set()  # peers that a block is being fetched from
        self._liars: set[str] = set()  # peers that gave something else than the block: not asked again at this height
        self._failed: set[str] = set()  # peers that gave nothing: asked after others at this height
        # of the next height: the last proposal of each proposer, its forwarder, and when the first copy arrived, ms
        self._early: dict[bytes, tuple[CompactProposal, str, int]] = {}
        self._arrivals: dict[Proposal, int] = {}  # when a proposal was first heard of, ms
        # of this height and the last: what was signed -> signature
        self._claims: dict[Turn, dict[Proposal, bytes]] = {}

    def __len__(self) -> int:
        return len(self._busy) + len(self._early)

    def judge(self, forwarder: str, data: bytes) -> tuple[Outcome, Found | None]:
        """What becomes of a message, and what to take: a whole proposal, or one whose missing transactions are to
        be fetched from its `source`. After fetching call `done`, before that `distrust` where they were not those of
        the block, or `failed` where none came."""
        try:
            compact = parse(data)
        except RemoteProtocolError:
            return Outcome.REJECT, None
        return self.judge_parsed(forwarder, compact)

    def judge_parsed(self, forwarder: str, compact: CompactProposal) -> tuple[Outcome, Found | None]:
        """The same of a message that has been read."""
        return self._judge(forwarder, compact, self._driver.clock())

    def arrived_ms(self, proposal: Proposal) -> int:
        """When a proposal was first heard of, by our clock: its body may have come later, or only with a repeat."""
        return self._arrivals.get(proposal, self._driver.clock())

    def _judge(self, forwarder: str, compact: CompactProposal, at_ms: int) -> tuple[Outcome, Found | None]:
        inbox, signed = self._driver.inbox, compact.signed
        view = inbox.view(signed.proposal.height)
        if view is None:
            return Outcome.IGNORE, None
        if not may_be_right(signed, self._network, view.members):
            return Outcome.REJECT, None
        if not self._is_of_use(view, signed):
            return Outcome.IGNORE, None
        # of the next height one proposal of each proposer is news, whatever it says
        early = "early", signed.proposal.height, signed.proposal.proposer
        content = wire.content(signed) if view.machine is not None else early
        passes = inbox.may_pass(content)
        if not passes and not self._is_wanted_of(forwarder, view, signed):
            return Outcome.IGNORE, None
        is_verified = view.machine.votes.is_verified if view.machine is not None else none_verified
        if not compact.is_right(self._network, view.members, is_verified):
            return Outcome.REJECT, None
        if passes:
            inbox.passed(content)
        outcome = Outcome.ACCEPT if passes else Outcome.IGNORE
        if view.machine is None:
            before = self._early.get(signed.proposal.proposer)
            first_ms = before[2] if before and before[0].signed == signed else at_ms
            self._early[signed.proposal.proposer] = compact, forwarder, first_ms
            return outcome, None
        self._claim(view.machine, signed)
        if not view.machine.is_news(signed):
            return outcome, None
        if view.machine is not self._driver.machine:
            return outcome, signed  # of the last height: it may convict its proposer, and that needs no body
        if len(self._arrivals) < MAX_ARRIVALS:
            self._arrivals.setdefault(signed.proposal, at_ms)
        return outcome, self._take(forwarder, compact, view.machine)

    def _is_of_use(self, view: HeightView, signed: SignedProposal) -> bool:
        """Whether a proposal is of use to us, or as a repeat to a peer that missed it."""
        machine, proposal = view.machine, signed.proposal
        if machine is None:
            return True
        claims = self._claims.get(_turn(proposal), {})
        return holds(machine, signed) or (
            machine.wants(signed) and (proposal in claims or machine.has_room(proposal, claims))
        )

    def _is_wanted_of(self, forwarder: str, view: HeightView, signed: SignedProposal) -> bool:
        """Whether a repeat that is not passed on is looked at all the same: its forwarder may have the body that we
        lack."""
        machine = self._driver.machine
        return view.machine is machine and forwarder not in self._busy | self._liars and machine.wants(signed)

    def _claim(self, machine: Machine, signed: SignedProposal) -> None:
        """Remember a verified proposal. Two of one round convict their proposer, whatever becomes of their bodies."""
        proposal = signed.proposal
        claims = self._claims.setdefault(_turn(proposal), {})
        if proposal not in claims:
            claims[proposal] = signed.signature
            if len(claims) == PROPOSALS_PER_ROUND:
                self._driver.convict(evidence_of_claims(*claims.items()), machine.validators)

    def _take(self, forwarder: str, compact: CompactProposal, machine: Machine) -> Found | None:
        held = machine.proposal_of(compact.signed.proposal.block_id)
        assembly = Assembly(compact, self._find, held.block if held else None)
        if not assembly.missing:
            return assembly.whole()
        assembly.sources = tuple(dict.fromkeys((peer_id(compact.signed.proposal.proposer), forwarder)))
        return assembly if self.choose(assembly) else None  # the next repeat brings another chance

    def choose(self, assembly: Assembly) -> bool:
        """Choose whom to fetch from, of those that were not tried; False where nobody is left."""
        free = [
            peer for peer in assembly.sources
            if peer not in self._busy and peer not in self._liars and peer not in assembly.tried
        ]
        if not free:
            return False
        assembly.source = min(free, key=lambda peer: peer in self._failed)
        assembly.tried.add(assembly.source)
        self._busy.add(assembly.source)
        return True

    def done(self, source: str) -> None:
        """Nothing is being fetched from a peer any more."""
        self._busy.discard(source)

    def distrust(self, source: str) -> None:
        """Ask a peer for no other block of this height: it gave something else."""
        self._liars.add(source)

    def failed(self, source: str) -> None:
        """Ask a peer after others: it gave nothing."""
        self._failed.add(source)

    def new_height(self) -> list[Found]:
        """Judge the proposals that came early: what is to be taken or fetched."""
        self._liars.clear()
        self._failed.clear()
        self._arrivals.clear()
        self._claims = {turn: known for turn, known in self._claims.items() if turn[0] >= self._driver.height - 1}
        early, self._early = self._early, {}
        found = [self._judge(forwarder, compact, at_ms)[1] for compact, forwarder, at_ms in early.values()]
        return [one for one in found if one is not None]


def _turn(proposal: Proposal) -> Turn:
    return proposal.height, proposal.round, proposal.proposer
