"""Making this peer's proposals. Law: what is proposed is signed behind the guard; a new block is dated after the last
one.

A proposer offers the block of the newest polka it knows (rule O), else a new block with transactions and evidence.
"""

from __future__ import annotations

from collections.abc import Callable

from p2p.base.keys import Key, NetworkId
from p2p.consensus.application import Application
from p2p.consensus.certificates import polka_certificate
from p2p.consensus.evidence import EvidencePool
from p2p.consensus.header import make_block
from p2p.consensus.machine import Machine
from p2p.consensus.messages import SignedProposal
from p2p.consensus.round import Propose
from p2p.consensus.signer import Signer
from p2p.consensus.timing import Timing


class Proposer:
    """clock: milliseconds since 1970."""

    def __init__(
        self, key: Key, network: NetworkId, app: Application, signer: Signer, evidence: EvidencePool, timing: Timing,
        clock: Callable[[], int],
    ) -> None:
        self._key, self._network, self._app, self._signer = key, network, app, signer
        self._evidence, self._timing, self._clock = evidence, timing, clock

    def wait_ms(self, machine: Machine, propose: Propose) -> int:
        """How long to wait before proposing: a new block is dated by a clock that is past the last block's time
        (rule Y)."""
        if machine.block_to_propose(propose)[0] is not None or not self._signer.takes_part():
            return 0
        return self._timing.wait_ms(self._app.last_time_ms(), self._clock())

    def propose(self, machine: Machine, propose: Propose) -> SignedProposal | None:
        """None when this peer may not sign. Raises StorageError when the guard cannot be written: halt the peer."""
        if not self._signer.takes_part():
            return None
        block_id, pol_round = machine.block_to_propose(propose)
        if block_id is None:
            evidence = self._evidence.pending(machine.validators, self._app.punished())
            block = make_block(self._app, self._key, self._network, propose.round, self._clock(), evidence)
            return self._signer.sign_proposal(propose.round, block, pol_round, None)
        found = machine.proposal_of(block_id)
        if found is None:
            return None
        polka = polka_certificate(machine.votes, found.proposal.height, pol_round, block_id)
        return self._signer.sign_proposal(propose.round, found.block, pol_round, polka)
