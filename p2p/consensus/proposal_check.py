"""Looking at a proposal that arrived. Law: whether its block is valid and whether it is timely are two questions,
never mixed.

Valid is a fact about the block: everybody finds the same, at any time, and it is kept. Timely is what our clock said
of the proposal when it arrived; it counts in its own round only, and only for a fresh proposal (rules P, Y).
"""

from __future__ import annotations

import structlog

from p2p.base.keys import NetworkId
from p2p.base.resumable import Resumable
from p2p.consensus.application import Application
from p2p.consensus.certificates import IsVerified, none_verified
from p2p.consensus.clock import ClockWatch
from p2p.consensus.header import check_block
from p2p.consensus.machine import Machine
from p2p.consensus.messages import Block, SignedProposal
from p2p.consensus.pacing import Pacing
from p2p.consensus.replay import Judged

log = structlog.get_logger()


class ProposalCheck:
    """One peer's, over all heights."""

    def __init__(self, network: NetworkId, app: Application, pace: Pacing) -> None:
        self._network, self._app, self._pace = network, app, pace
        self._is_verified: IsVerified = none_verified
        self._arrived: dict[bytes, int] = {}  # by block id: when others' fresh proposals that we keep arrived, ms
        self.clock_watch = ClockWatch(pace)

    def start_height(self, previous: Machine | None) -> None:
        """previous: of the height decided last. Its precommits were verified one by one, and the certificate that the
        next block carries has most of them."""
        self._arrived = {}
        self._is_verified = previous.votes.is_verified if previous is not None else none_verified

    def look_at(self, machine: Machine, signed: SignedProposal, at_ms: int) -> Resumable[Judged]:
        """at_ms: when the proposal arrived by our clock."""
        valid = yield from self._is_valid(machine, signed.block)
        proposal, block = signed.proposal, signed.block
        timely = self._pace.now.is_timely(block.header.time_ms, at_ms, proposal.round)
        fresh = proposal.pol_round < 0
        if fresh and proposal.proposer != machine.me and machine.wants(signed):
            self._arrived[block.block_id] = at_ms
        if fresh and not timely:
            ahead_ms = block.header.time_ms - at_ms
            log.warning("proposal not timely", height=proposal.height, round=proposal.round, ahead_ms=ahead_ms)
        return Judged(signed, valid, timely)

    def fault(self, machine: Machine, block: Block) -> Resumable[str | None]:
        """The sentence that says why a block may not follow our last one; None: it may."""
        maker = machine.proposer_of(block.header.round)
        yield from self._app.precheck(block)
        return check_block(self._app, self._network, block, maker, self._is_verified)

    def decided(self, block: Block) -> None:
        """A block was decided: when its proposal arrived says something of our clock."""
        if block.block_id in self._arrived:
            self.clock_watch.decided(block.header.time_ms, self._arrived[block.block_id])

    def _is_valid(self, machine: Machine, block: Block) -> Resumable[bool]:
        known = machine.validity.get(block.block_id)
        if known is not None:
            return known
        fault = yield from self.fault(machine, block)
        if fault:
            log.warning("proposal refused", height=block.header.height, reason=fault)
        return fault is None
