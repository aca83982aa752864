"""What the ledger keeps: accounts, participants, inferences. Law: canonical values under fixed keys; nothing else is state."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from p2p.base.codec import Message
from p2p.base.limits import MAX_NONCE_AHEAD
from p2p.base.types import SPRINT_ACCOUNT, U32, U64, Bytes32, Reason, Short, SignedFinish, SignedRequest
from p2p.ledger.state.committee import AppealSeen, Panel, VerdictSeen
from p2p.verification.sequential import Detector, Evidence

NONCE_WINDOW = 64
MAX_PARTNERS = 64  # of one participant that are told apart in an epoch; what others do to it is not held against it
MAX_FINDERS = 64  # validators that share a bounty
MAX_NOTICES = 32  # kept for one account
MAX_SERVED = 32  # pairs of model and stack of one participant that are counted in an epoch
MAX_TRUSTED = 16  # of which it keeps reputation


class Account(Message, frozen=True):
    """nonce_high: highest client nonce used; nonce_mask: bit i set = nonce_high - i is used (requests may overtake); one far above is
    not free. proven_micro: given up for good by paying others' fees, or had from the beginning, less what it moved elsewhere since: how far
    executors work for it ahead of the chain."""

    balance_micro: U64 = 0
    nonce_high: U64 = 0
    nonce_mask: U64 = 0
    proven_micro: U64 = 0

    def nonce_is_free(self, nonce: int) -> bool:
        behind = self.nonce_high - nonce
        return nonce > 0 and (-MAX_NONCE_AHEAD <= behind < 0 or (0 <= behind < NONCE_WINDOW - 1 and not self.nonce_mask >> behind & 1))

    def with_nonce(self, nonce: int) -> tuple[int, int]:
        """(nonce_high, nonce_mask) after using `nonce`."""
        keep = (1 << (NONCE_WINDOW - 1)) - 1
        if nonce > self.nonce_high:
            return nonce, ((self.nonce_mask << min(nonce - self.nonce_high, NONCE_WINDOW)) | 1) & keep
        return self.nonce_high, self.nonce_mask | 1 << (self.nonce_high - nonce)


class Withdrawal(Message, frozen=True):
    """Collateral on its way back to the owner at the end of block `height`; until then it can be slashed."""

    amount_micro: U64
    height: U64


class Reputation(Message, frozen=True):
    """Earned with one model on one stack: 0 to 100 points (trust.py)."""

    model: Short
    stack: Short
    points: U32


class Served(Message, frozen=True):
    """What an executor did with one model on one stack in the running epoch: booked: inferences that were paid for by others than its
    owner (booked_before: in the last epoch); checked_tokens: output tokens of those that were checked."""

    model: Short
    stack: Short
    booked: U64 = 0
    booked_before: U64 = 0
    checked_tokens: U64 = 0


class Participant(Message, frozen=True):
    """convicted_until, barred_until: the last height at which it serves nobody (a convicted executor) or judges nobody (a barred
    validator); 0 = it is in good standing. suspended_until: the same for one that took part in too many inferences of which agent and
    executor say different things; it neither serves nor starts any. The reasons stay as a record. collateral_micro: without what is being
    withdrawn. leaving: the height at which node and collateral are released, 0 = it stays. origin: the first key of one whose key was
    rotated, else empty. convictions: those that are not forgotten; the next one excludes for twice as long. convicted_at: height of the last
    one of its own. clean_epochs: since then, or since one was forgotten (exclusion.py). bond_micro: what its place holds until it leaves,
    beside the collateral;
    active: the last height at which it paid for its place or was of use as an agent (places.py)."""

    node: Bytes32
    owner: Bytes32
    weight: U64
    models: tuple[Short, ...]
    reputations: Annotated[tuple[Reputation, ...], Meta(max_length=MAX_TRUSTED)] = ()
    misses: U32 = 0
    strikes: U32 = 0
    batch_nonce: U64 = 0
    convicted_until: U64 = 0
    convicted_reason: Reason = ""
    barred_until: U64 = 0
    barred_reason: Reason = ""
    collateral_micro: U64 = 0
    withdrawals: tuple[Withdrawal, ...] = ()
    leaving: U64 = 0
    origin: bytes = b""
    stacks: tuple[Short, ...] = ()
    price_floor_micro: U64 = 0
    metadata: str = ""
    suspended_until: U64 = 0
    suspended_reason: Reason = ""
    convictions: U32 = 0
    convicted_at: U64 = 0
    clean_epochs: U32 = 0
    bond_micro: U64 = 0
    active: U64 = 0

    @property
    def reputation(self) -> int:
        """The lowest that it has for anything; 0 where it has none."""
        return min((row.points for row in self.reputations), default=0)


class Past(Message, frozen=True):
    """What a participant that left has to answer for when it comes back."""

    convictions: U32 = 0
    convicted_until: U64 = 0
    convicted_reason: Reason = ""


class Partner(Message, frozen=True):
    """The other side of inferences: those on which the two records differ, and those that were never finished for this agent. Both are
    counted as far as one partner's word may count (standing.py)."""

    node: Bytes32
    differ: U32 = 0
    unfinished: U32 = 0


class Finder(Message, frozen=True):
    """A validator and how many of its 'invalid' verdicts were upheld."""

    validator: Bytes32
    found: U32


class Bound(Message, frozen=True):
    """The stack on which a participant serves a model in the running epoch (stacks.py)."""

    model: Short
    stack: Short


class Standing(Message, frozen=True):
    """One participant's counters of the running epoch. The sequential tests (evidence, shown, sight, apart, present) and the heights outlive it.

    As executor: finished, checked: inferences, whatever became of them; booked, checked_tokens: of those that were paid for by others than its
    owner; served: the same by model and stack; struck: those that did not stand; plants: revealed ones; evidence: the sequential test.
    withheld: answers that no committee could get; shown: the sequential test of that; withheld_at: the height at which one was last counted in
    it; watched_until: all its answers are checked until then, 0 = as its reputation says; bound: on which stack it serves which
    model.
    As validator: compared with others and how often odd; duties, missed; present: the sequential test of that; missed_at: the height at which a
    miss was last counted in it; faults: answers it checked that did not stand, as J6 counts them;
    blind: those of them it called valid; sight: the sequential test of that; apart: that of how far its numbers are from others' (J7).
    As agent or executor: paired, inferences of which both records were compared; partners: with whom they differed; silent_at: the height at
    which an answer that was never confirmed was last counted. finders: who found
    answers of this executor that did not stand.
    """

    finished: U64 = 0
    checked: U64 = 0
    checked_tokens: U64 = 0
    struck: U64 = 0
    plants: U64 = 0
    evidence: Evidence = Evidence()
    compared: U64 = 0
    outliers: U64 = 0
    duties: U64 = 0
    missed: U64 = 0
    paired: U64 = 0
    partners: Annotated[tuple[Partner, ...], Meta(max_length=MAX_PARTNERS)] = ()
    finders: Annotated[tuple[Finder, ...], Meta(max_length=MAX_FINDERS)] = ()
    served: Annotated[tuple[Served, ...], Meta(max_length=MAX_SERVED)] = ()
    faults: U64 = 0
    missed_faults: U64 = 0
    detection: Detector = Detector()
    distance: Detector = Detector()
    booked: U64 = 0
    withheld: U64 = 0
    withheld_at: U64 = 0
    watched_until: U64 = 0
    shown: Detector = Detector()
    present: Detector = Detector()
    missed_at: U64 = 0
    bound: Annotated[tuple[Bound, ...], Meta(max_length=MAX_SERVED)] = ()
    silent_at: U64 = 0

    @property
    def booked_before(self) -> int:
        """In the last epoch, with all models."""
        return sum(row.booked_before for row in self.served)

    @property
    def differ(self) -> int:
        return sum(partner.differ for partner in self.partners)

    @property
    def unfinished(self) -> int:
        return sum(partner.unfinished for partner in self.partners)


class Inference(Message, frozen=True):
    """One inference's life. status: a value of types.Status. due_micro: charged and not decided; paid_micro: booked for the executor
    in the epoch of end_height, which pays it at its end. outcome: the status it has as soon as the agent says the same as the executor.

    dispute_height: when a verdict 'invalid' made it a dispute, 0 = never. blame_height: when a fault in an answer to the executor's own
    owner counts as cheating unless it is revealed as planted, 0 = nothing waits. fault: what a revealed plant was.
    appeal_until: the last height at which a lost dispute may be appealed, 0 = it never could be. sampled_milli: with which probability it
    was to be checked, in thousandths, 0 = it was not.
    """

    signed_request: SignedRequest
    status: Short
    agent: Bytes32
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
    panels: tuple[Panel, ...] = ()
    dispute_height: U64 = 0
    due_micro: U64 = 0
    charged_micro: U64 = 0
    paid_micro: U64 = 0
    refunded_micro: U64 = 0
    end_height: U64 = 0
    reason: Reason = ""
    blame_height: U64 = 0
    fault: Short = ""
    streamed_tokens: U32 = 0
    outcome: Short = ""
    appeal_until: U64 = 0
    appeal: AppealSeen | None = None
    sampled_milli: U32 = 0

    @property
    def draw_height(self) -> int:
        return self.signed_request.request.draw_height

    @property
    def in_sprint(self) -> bool:
        """An answer of the epoch's race (sprint.py): checked like any other, but no client waits for it and no money moves."""
        return self.signed_request.request.account == SPRINT_ACCOUNT

    @property
    def revealed(self) -> tuple[VerdictSeen, ...]:
        """What validators of all committees said, 'withheld' included."""
        return tuple(verdict for panel in self.panels for verdict in panel.verdicts)

    @property
    def verdicts(self) -> tuple[VerdictSeen, ...]:
        """Of all committees, those about the answer itself: who had nothing to look at has no vote on it."""
        return tuple(verdict for panel in self.panels for verdict in panel.judged)

    @property
    def verdicts_on_appeal(self) -> tuple[VerdictSeen, ...]:
        """Of these, the ones of the committee that an appeal drew."""
        if self.appeal is None:
            return ()
        return tuple(verdict for panel in self.panels if panel.height >= self.appeal.height for verdict in panel.judged)

    @property
    def members(self) -> frozenset[bytes]:
        """Everybody who was asked."""
        return frozenset(node for panel in self.panels for node in panel.members)


class PlantSeen(Message, frozen=True):
    """An open commitment to a planted fault. height: of its block."""

    executor: Bytes32
    height: U64


class FaultCount(Message, frozen=True):
    """What became of revealed plants of one name: planted; of these checked at all; of these caught."""

    fault: Short
    planted: U64 = 0
    checked: U64 = 0
    caught: U64 = 0


class CheckCounters(Message, frozen=True):
    """How well the network checks, since its beginning. honest: checked inferences that stood; false_alarms: of these the ones a first
    committee accused. Answers to an executor's own owner are not among them: they may be plants."""

    faults: tuple[FaultCount, ...] = ()
    honest: U64 = 0
    false_alarms: U64 = 0
    cheats: U64 = 0


class Receipt(Message, frozen=True):
    """What became of one record: code '' = applied, else why not and which field."""

    sender: Bytes32
    index: U32
    code: Short
    field: Short


class Totals(Message, frozen=True):
    """minted = balances + escrow + due + collateral (bonds of places with it) + burnt, always. due: charged for inferences and not settled yet,
    and bonds of appeals that are not decided."""

    minted_micro: U64 = 0
    burnt_micro: U64 = 0
    escrow_micro: U64 = 0
    due_micro: U64 = 0
    collateral_micro: U64 = 0


class Earning(Message, frozen=True):
    """One participant's money of one epoch. Booked while it runs: fees_micro, work (tokens x cost factor in thousandths, without answers to
    its own owner), inferences that stand; ended: all that ended, as many as the index holds. Written at the epoch's end: paid_micro of the
    fees, reward_micro minted, duties_micro of the validators' pool, bounty_micro for cheats it found; forfeited_micro of the fees and
    slashed_micro of the collateral when it was convicted. fined_micro: for answers that did not stand, booked while the epoch runs and taken
    from its fees as far as they reach (in forfeited_micro). withheld_micro: what its duties would have earned more had it never stood alone (M17).
    owner: at the first booking, None where it was no participant."""

    owner: Bytes32 | None = None
    fees_micro: U64 = 0
    work: U64 = 0
    inferences: U64 = 0
    ended: U32 = 0
    paid_micro: U64 = 0
    reward_micro: U64 = 0
    duties_micro: U64 = 0
    bounty_micro: U64 = 0
    forfeited_micro: U64 = 0
    slashed_micro: U64 = 0
    fined_micro: U64 = 0
    withheld_micro: U64 = 0


class EpochSums(Message, frozen=True):
    """One epoch's money. height: at which it was settled, 0 = it runs. fees + slashed + penalties = paid + duties + bounty + burnt (M12);
    minted is what all rewards add up to. forfeited: the part of the fees that convicted executors lost. left_root: of the RFC 6962 tree over
    the `left` inferences that ended in it, once all have left the state; None before (leaving.py)."""

    height: U64 = 0
    minted_micro: U64 = 0
    fees_micro: U64 = 0
    slashed_micro: U64 = 0
    penalties_micro: U64 = 0
    paid_micro: U64 = 0
    duties_micro: U64 = 0
    bounty_micro: U64 = 0
    burnt_micro: U64 = 0
    forfeited_micro: U64 = 0
    work: U64 = 0
    inferences: U64 = 0
    left: U64 = 0
    left_root: Bytes32 | None = None

    @property
    def balanced(self) -> bool:
        came = self.fees_micro + self.slashed_micro + self.penalties_micro
        return came == self.paid_micro + self.duties_micro + self.bounty_micro + self.burnt_micro


class Notice(Message, frozen=True):
    """What a client is told: its inference ended as `what` (a value of types.Status) at `height`, and amount_micro came back."""

    inference_id: Bytes32
    what: Short
    amount_micro: U64
    height: U64


class Notices(Message, frozen=True):
    """The newest ones of an account, oldest first."""

    kept: Annotated[tuple[Notice, ...], Meta(max_length=MAX_NOTICES)] = ()
