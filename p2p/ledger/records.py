"""What the ledger keeps: accounts, participants, inferences. Law: canonical values under fixed keys; nothing else is state."""

from __future__ import annotations

from p2p.codec import Message
from p2p.types import U32, U64, Bytes32, Reason, Short, SignedFinish, SignedRequest

NONCE_WINDOW = 64


class Account(Message, frozen=True):
    """nonce_high: highest client nonce used; nonce_mask: bit i set = nonce_high - i is used (requests may overtake)."""

    balance_micro: U64 = 0
    nonce_high: U64 = 0
    nonce_mask: U64 = 0

    def nonce_is_free(self, nonce: int) -> bool:
        behind = self.nonce_high - nonce
        return nonce > 0 and (behind < 0 or (behind < NONCE_WINDOW - 1 and not self.nonce_mask >> behind & 1))

    def with_nonce(self, nonce: int) -> tuple[int, int]:
        """(nonce_high, nonce_mask) after using `nonce`."""
        keep = (1 << (NONCE_WINDOW - 1)) - 1
        if nonce > self.nonce_high:
            return nonce, ((self.nonce_mask << min(nonce - self.nonce_high, NONCE_WINDOW)) | 1) & keep
        return self.nonce_high, self.nonce_mask | 1 << (self.nonce_high - nonce)


class Participant(Message, frozen=True):
    node: Bytes32
    owner: Bytes32
    weight: U64
    models: tuple[Short, ...]
    reputation: U32 = 0
    misses: U32 = 0
    strikes: U32 = 0
    batch_nonce: U64 = 0


class VerdictSeen(Message, frozen=True):
    validator: Bytes32
    valid: bool
    reason: Reason
    margin_micro: U64
    distance_micro: U64
    height: U64


class Inference(Message, frozen=True):
    """One inference's life. status: a value of types.Status. due_micro: charged, not yet paid to the executor."""

    signed_request: SignedRequest
    status: Short
    agent: Bytes32
    draw_height: U64
    beacon: Bytes32
    candidates: tuple[Bytes32, ...]
    price_micro: U64
    escrow_micro: U64
    start_height: U64
    finish: SignedFinish | None = None
    finish_height: U64 = 0
    output_hash: Bytes32 | None = None
    output_height: U64 = 0
    busy: tuple[Bytes32, ...] = ()
    committee: tuple[Bytes32, ...] = ()
    committee_height: U64 = 0
    draws: U32 = 0
    verdicts: tuple[VerdictSeen, ...] = ()
    due_micro: U64 = 0
    charged_micro: U64 = 0
    paid_micro: U64 = 0
    refunded_micro: U64 = 0
    end_height: U64 = 0
    reason: Reason = ""


class Receipt(Message, frozen=True):
    """What became of one record: code '' = applied, else why not and which field."""

    sender: Bytes32
    index: U32
    code: Short
    field: Short


class Totals(Message, frozen=True):
    """minted = balances + escrow + due + burnt, always."""

    minted_micro: U64 = 0
    burnt_micro: U64 = 0
    escrow_micro: U64 = 0
    due_micro: U64 = 0
