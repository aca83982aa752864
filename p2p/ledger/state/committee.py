"""What the ledger keeps of a committee's work: commitments, verdicts, an appeal. Law: as in records.py."""

from __future__ import annotations

from p2p.base.codec import Message
from p2p.base.types import U32, U64, Bytes32, Milli, Reason, RevealedRow, VerdictKind


class CommitSeen(Message, frozen=True):
    validator: Bytes32
    commitment: Bytes32
    height: U64


class VerdictSeen(Message, frozen=True):
    """A revealed verdict. numbers are dropped once they were compared; the block keeps them. weight: what it weighed in a vote that was lost
    and may be appealed, and weighs in every later one; 0 before."""

    validator: Bytes32
    kind: VerdictKind
    reason: Reason
    llr_milli: Milli
    tokens: U32
    numbers: tuple[RevealedRow, ...]
    height: U64
    weight: U64 = 0

    @property
    def valid(self) -> bool:
        return self.kind is VerdictKind.VALID

    @property
    def judged(self) -> bool:
        """It says something of the answer: valid, or invalid."""
        return self.kind is not VerdictKind.WITHHELD


class Panel(Message, frozen=True):
    """One committee's work. height, beacon: of its draw. closes: the last height of the phase it is in (commit, or reveal). verdicts: all that
    were revealed; judged: those that say something of the answer."""

    height: U64
    beacon: Bytes32
    members: tuple[Bytes32, ...]
    closes: U64
    revealing: bool = False
    commits: tuple[CommitSeen, ...] = ()
    verdicts: tuple[VerdictSeen, ...] = ()

    @property
    def judged(self) -> tuple[VerdictSeen, ...]:
        return tuple(verdict for verdict in self.verdicts if verdict.judged)


class AppealSeen(Message, frozen=True):
    """Who appealed at which height, and the bond; burnt_micro of it when the appeal was lost."""

    account: Bytes32
    height: U64
    bond_micro: U64
    burnt_micro: U64 = 0
