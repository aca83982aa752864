"""What this validator signs. Law: a signature is on disk, with all that led to it, before it leaves; what is signed is
never unsaid (rule G).

The signer keeps the inputs of the current height until the next signature and writes them with it, in one durable
write. So a restarted peer can feed the same inputs to a new machine and compare what the machine wants to sign with
what was signed.
"""

from __future__ import annotations

import structlog

from p2p.base.codec import encode
from p2p.base.keys import Domain, Key, NetworkId
from p2p.consensus import replay
from p2p.consensus.guard import GuardLog, GuardRecord, may_sign
from p2p.consensus.machine import Machine
from p2p.consensus.messages import Block, PolkaCertificate, Proposal, SignedProposal, SignedVote, Vote, sign_vote
from p2p.consensus.round import CastVote
from p2p.consensus.validators import ValidatorSet

log = structlog.get_logger()


class Signer:
    """One key behind its guard log. Call `start_height` first, and again for each height."""

    def __init__(self, key: Key, network: NetworkId, guard: GuardLog) -> None:
        self._key, self._network, self._guard = key, network, guard
        # the last height at which this peer may not sign (the log did not lead to the last signature)
        self._observe_until = 0
        self.own: dict[replay.Slot, replay.Signed] = {}  # what was signed at this height
        self._inputs: list[replay.Logged] = []  # inputs of this height that are not on disk yet

    def start_height(self, height: int, validators: ValidatorSet) -> None:
        self._height, self._is_validator = height, self._key.public in validators
        self.own, self._inputs = {}, []

    def note(self, logged: replay.Logged) -> None:
        """Remember an input of the machine for the log."""
        self._inputs.append(logged)

    def is_observing(self) -> bool:
        """Whether this peer only watches this height, for it cannot know what it has signed there."""
        return self._height <= self._observe_until or self._guard.is_held(self._height)

    def takes_part(self) -> bool:
        return self._is_validator and not self.is_observing()

    def has_signed(self, slot: replay.Slot) -> bool:
        return slot in self.own

    def sign_vote(self, cast: CastVote) -> SignedVote | None:
        """None when this peer may not sign it. Raises StorageError when it cannot be written: halt the peer."""
        if not self.takes_part():
            return None
        signed = sign_vote(self._key, self._vote(cast))
        return signed if self._record(signed) else None

    def sign_proposal(
        self, round_: int, block: Block, pol_round: int, polka: PolkaCertificate | None
    ) -> SignedProposal | None:
        """pol_round: the round of the polka that the proposal names, -1 for none. None when this peer may not sign
        it. Raises StorageError when it cannot be written: halt the peer."""
        if not self.takes_part():
            return None
        body = Proposal(self._network, self._height, round_, block.block_id, pol_round, self._key.public)
        signed = SignedProposal(body, self._key.sign(Domain.PROPOSAL, self._network, encode(body)), block, polka)
        return signed if self._record(signed) else None

    def _record(self, message: replay.Signed) -> bool:
        """Rule G: one durable write holds the inputs so far, the message and the guard. False when the guard
        forbids the message."""
        round_, step = slot = replay.slot_of(message)
        guard = GuardRecord(self._height, round_, step, replay.sign_bytes(message))
        if not may_sign(self._guard.load(), guard):
            log.warning("the guard forbids this signature", height=self._height, round=round_, step=step)
            return False
        entries = [*map(replay.entry, self._inputs), replay.entry(replay.Judged(message))]
        self._guard.record(self._height, entries, guard)
        self._inputs = []
        self.own[slot] = message
        return True

    def _vote(self, cast: CastVote) -> Vote:
        return Vote(
            self._network, cast.type, self._height, cast.round, cast.block_id, cast.valid_round, self._key.public
        )

    def prune(self, height: int) -> None:
        """Height `height` is decided: its log is needed no more."""
        self._guard.prune(height)

    def recover(self, machine: Machine) -> replay.Replayed:
        """Feed this height's log to a new machine, as after a crash. Where the log does not lead to the last
        signature, or the machine wants to sign something else than was signed, this peer signs nothing until that
        height is over."""
        last = self._guard.load()
        found = replay.run(machine, self._guard.inputs(self._height), self._key.public)
        signed = {slot: replay.sign_bytes(message) for slot, message in found.own.items()}
        differs = any(
            slot in found.wanted and encode(self._vote(found.wanted[slot])) != body for slot, body in signed.items()
        )
        if last is not None and last.height >= self._height and (differs or last.sign_bytes not in signed.values()):
            self._observe_until = last.height
            log.warning("the log does not lead to the last signature: observing only", until=last.height)
        self.own = found.own
        return found
