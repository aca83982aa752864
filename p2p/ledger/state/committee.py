"""What the ledger keeps of a committee's work: its commitments, verdicts and appeal. Law: as in records.py."""

from __future__ import annotations

from p2p.base.codec import Message
from p2p.base.types import U32, U64, Bytes32, Milli, Reason, RevealedRow, VerdictKind


class CommitSeen(Message, frozen=True):
    """A validator's commitment to a verdict that it reveals later."""

    validator: Bytes32
    commitment: Bytes32  # base.types.verdict_commitment
    height: U64  # of the block it is in


class VerdictSeen(Message, frozen=True):
    """A revealed verdict."""

    validator: Bytes32
    kind: VerdictKind
    reason: Reason
    llr_milli: Milli  # log-likelihood ratio of cheating to honest that the validator measured, thousandths of a nat
    tokens: U32  # output tokens it is about: all, or 0 for a refusal without a prefill and for 'withheld'
    numbers: tuple[RevealedRow, ...]  # at the drawn positions; dropped here once they were compared, kept in the block
    height: U64  # of the block it is in
    weight: U64 = 0  # set when a vote is lost that may be appealed: what it counts for in that vote and all later ones

    @property
    def valid(self) -> bool:
        return self.kind is VerdictKind.VALID

    @property
    def judged(self) -> bool:
        """Whether it is about the answer: 'valid' or 'invalid', not 'withheld'."""
        return self.kind is not VerdictKind.WITHHELD


class Committee(Message, frozen=True):
    """One committee: the validators drawn for one round of checking, and what they did."""

    height: U64  # of the draw
    beacon: Bytes32  # of the draw
    members: tuple[Bytes32, ...]
    closes: U64  # last height of the phase it is in, to commit or to reveal
    revealing: bool = False  # False: members commit; True: those that committed reveal
    commits: tuple[CommitSeen, ...] = ()
    verdicts: tuple[VerdictSeen, ...] = ()  # all that were revealed, 'withheld' included

    @property
    def judged(self) -> tuple[VerdictSeen, ...]:
        """Its verdicts about the answer."""
        return tuple(verdict for verdict in self.verdicts if verdict.judged)


class AppealSeen(Message, frozen=True):
    """An appeal against a lost dispute."""

    account: Bytes32  # the executor's owner, who appealed
    height: U64  # of the block it is in
    bond_micro: U64
    burnt_micro: U64 = 0  # of the bond, when the appeal was lost
