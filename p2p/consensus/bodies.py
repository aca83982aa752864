"""From compact proposals to whole ones. Law: only what the core would keep is fetched, from who offers it, one block at a time each.

Whatever a villain offers or withholds, it costs one request to it and at most MAX_BLOCK bytes; others' offers of the same block do not
wait for it. Pure: the engine does the fetching.
"""

from __future__ import annotations

from p2p.consensus.application import Application
from p2p.consensus.compact import Assembly, CompactProposal, FindTx, parse
from p2p.consensus.driver import Driver
from p2p.consensus.machine import PROPOSALS_PER_ROUND, Machine
from p2p.consensus.messages import Proposal, SignedProposal, VoteType
from p2p.consensus.validators import ValidatorSet
from p2p.errors import RemoteProtocolError
from p2p.keys import NetworkId, peer_id
from p2p.limits import MAX_FUTURE_ROUNDS
from p2p.outcome import Outcome


class Bodies:
    """find: a transaction by its leaf hash, when this peer has it."""

    def __init__(self, driver: Driver, app: Application, network: NetworkId, find: FindTx) -> None:
        self._driver, self._app, self._network, self._find = driver, app, network, find
        self._busy: set[str] = set()  # authors whose block is being fetched
        self._liars: set[str] = set()  # gave what was not the block; not asked again at this height
        self._early: dict[str, bytes] = {}  # of the next height: the last offer of each author

    def __len__(self) -> int:
        return len(self._busy) + len(self._early)

    def judge(self, author: str, data: bytes) -> tuple[Outcome, SignedProposal | Assembly | None]:
        """(what becomes of it, a whole proposal, or one whose missing transactions `author` is to give; then say `done`)."""
        try:
            compact = parse(data)
        except RemoteProtocolError:
            return Outcome.REJECT, None
        ahead = compact.signed.proposal.height - self._driver.height
        members = {-1: self._app.last_validators, 0: self._app.validators, 1: self._app.next_validators}.get(ahead)
        if members is None:
            return Outcome.ACCEPT, None  # old, or so far ahead that sync brings it
        set_ = ValidatorSet.of(members())
        if not compact.is_right(self._network, set_):
            return Outcome.REJECT, None
        if ahead < 0:
            return Outcome.ACCEPT, compact.signed  # decides nothing more, but may convict its proposer: that takes no body
        offers = any(author == peer_id(key) for key, _ in set_.members)
        if ahead > 0:
            if offers:
                self._early[author] = data
            return Outcome.ACCEPT, None
        return Outcome.ACCEPT, self._take(author, compact, offers)

    def _take(self, author: str, compact: CompactProposal, offers: bool) -> SignedProposal | Assembly | None:
        machine, signed = self._driver.machine, compact.signed
        if not would_keep(machine, signed):
            return None
        held = machine.proposal_of(signed.proposal.block_id)
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

    def new_height(self) -> list[tuple[str, bytes]]:
        """Offers that came early, to be judged now."""
        self._liars.clear()
        early, self._early = self._early, {}
        return list(early.items())


def would_keep(machine: Machine, signed: SignedProposal) -> bool:
    """Whether the core would do anything with it (machine.on_proposal): else it is not worth a byte, nor a place in the log."""
    proposal: Proposal = signed.proposal
    if proposal.proposer != machine.proposer_of(proposal.round):
        return False
    known = machine.proposals.get(proposal.round, [])
    for one in known:
        if one.proposal == proposal:
            return one.polka is None and signed.polka is not None
    if not known and proposal.round > machine.round + MAX_FUTURE_ROUNDS:
        return machine.validators.has_honest(machine.votes.weight_in_round(proposal.round))
    votes = [machine.votes.weight_for(proposal.round, kind, proposal.block_id) for kind in VoteType]
    return len(known) < PROPOSALS_PER_ROUND or any(map(machine.validators.has_honest, votes))
