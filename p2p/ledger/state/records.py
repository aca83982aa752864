"""What the ledger keeps: accounts, participants, inferences, money. Law: canonical values under fixed keys (keys.py);
nothing else is state.

A field's place in its record is part of the state's bytes: a new one is added at the end, none is moved. Amounts are
micro-credits, ids and keys 32 bytes, heights those of blocks; a height of 0 means never.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from p2p.base.codec import Message
from p2p.base.serving_limits import MAX_NONCE_AHEAD
from p2p.base.types import SPRINT_ACCOUNT, U32, U64, Bytes32, Reason, Short, SignedFinish, SignedRequest
from p2p.ledger.state.committee import AppealSeen, Committee, VerdictSeen
from p2p.verification.sequential import Detector, Evidence

NONCE_WINDOW = 64  # bits of Account.nonce_mask
MAX_PARTNERS = 64  # of one participant that an epoch tells apart; faults with further ones are not counted
MAX_FINDERS = 64  # validators that share a bounty
MAX_NOTICES = 32  # kept for one account
MAX_SERVED = 32  # pairs of model and stack of one participant that are counted in an epoch
MAX_REPUTATIONS = 16  # of these, pairs with reputation


# -- accounts ----------------------------------------------------------------------------------------------------------


class Account(Message, frozen=True):
    balance_micro: U64 = 0
    nonce_high: U64 = 0  # the highest nonce that was used
    nonce_mask: U64 = 0  # bit i is set: nonce_high - i was used. Transactions and requests may overtake each other
    # How far executors work for this account ahead of the chain: its balance in the genesis file and what it has paid
    # for good in fees to others, less what it has moved to other accounts since.
    proven_micro: U64 = 0

    def nonce_is_free(self, nonce: int) -> bool:
        """A nonce more than MAX_NONCE_AHEAD above the highest is not: one signature under the greatest number would
        end the account."""
        behind = self.nonce_high - nonce
        return nonce > 0 and (
            -MAX_NONCE_AHEAD <= behind < 0 or (0 <= behind < NONCE_WINDOW - 1 and not self.nonce_mask >> behind & 1)
        )

    def with_nonce(self, nonce: int) -> tuple[int, int]:
        """(nonce_high, nonce_mask) after `nonce`, which must be free, was used."""
        keep = (1 << (NONCE_WINDOW - 1)) - 1
        if nonce > self.nonce_high:
            return nonce, ((self.nonce_mask << min(nonce - self.nonce_high, NONCE_WINDOW)) | 1) & keep
        return self.nonce_high, self.nonce_mask | 1 << (self.nonce_high - nonce)


class Notice(Message, frozen=True):
    """What a client is told: an inference ended, and money came back."""

    inference_id: Bytes32
    what: Short  # a value of types.Status
    amount_micro: U64  # that came back
    height: U64  # at which it ended


class Notices(Message, frozen=True):
    kept: Annotated[tuple[Notice, ...], Meta(max_length=MAX_NOTICES)] = ()  # an account's newest ones, oldest first


# -- participants ------------------------------------------------------------------------------------------------------


class Withdrawal(Message, frozen=True):
    """Collateral on its way back to the owner; until then it can be slashed."""

    amount_micro: U64
    height: U64  # at whose end it is paid back


class Reputation(Message, frozen=True):
    """Earned with one model on one stack (conduct/reputation.py)."""

    model: Short
    stack: Short
    points: U32  # 0 to reputation.MAX_REPUTATION


class Served(Message, frozen=True):
    """What an executor did with one model on one stack in the running epoch."""

    model: Short
    stack: Short
    booked: U64 = 0  # inferences that accounts other than its owner's paid for
    booked_before: U64 = 0  # the same, of the last epoch
    checked_tokens: U64 = 0  # output tokens of those that were checked and stood


class Participant(Message, frozen=True):
    """A registered node: who owns it, what it offers, what it holds and what it is excluded from."""

    node: Bytes32  # its key now
    owner: Bytes32  # the account that registered it
    weight: U64  # its share in draws, votes and consensus; earned in sprints
    models: tuple[Short, ...]  # that it serves and checks
    reputations: Annotated[tuple[Reputation, ...], Meta(max_length=MAX_REPUTATIONS)] = ()
    misses: U32 = 0  # inferences it was drawn for and never finished
    strikes: U32 = 0  # answers of it that did not stand
    batch_nonce: U64 = 0  # of its last batch of records
    convicted_until: U64 = 0  # last height at which it is excluded as a convicted executor, 0 = it is not
    convicted_reason: Reason = ""  # of the last conviction; stays when that is over, like the two other reasons
    barred_until: U64 = 0  # last height at which its verdicts count for nothing and it serves nobody, 0 = not barred
    barred_reason: Reason = ""
    collateral_micro: U64 = 0  # without what is being withdrawn
    withdrawals: tuple[Withdrawal, ...] = ()
    leaving: U64 = 0  # height at which node and collateral are released, 0 = it stays
    origin: bytes = b""  # its first key, where the key was rotated
    stacks: tuple[Short, ...] = ()  # on which it may say that it made an answer; empty = any
    price_floor_micro: U64 = 0  # least price of a token for which it works
    metadata: str = ""  # for people
    suspended_until: U64 = 0  # last height at which it neither serves nor starts inferences, 0 = it may
    suspended_reason: Reason = ""
    convictions: U32 = 0  # that are not forgotten; the next one excludes for twice as long
    convicted_at: U64 = 0  # height of the last conviction of its own
    clean_epochs: U32 = 0  # since then, or since a conviction was forgotten (conduct/convictions.py)
    bond_micro: U64 = 0  # what its place holds until it leaves, in addition to the collateral
    active: U64 = 0  # last height at which it paid for its place or was useful as an agent (participants/places.py)

    @property
    def reputation(self) -> int:
        """The lowest that it has for any model and stack; 0 where it has none."""
        return min((row.points for row in self.reputations), default=0)


class PastConvictions(Message, frozen=True):
    """What a participant that left has to answer for when it comes back."""

    convictions: U32 = 0
    convicted_until: U64 = 0
    convicted_reason: Reason = ""


class Partner(Message, frozen=True):
    """What the other side of inferences says against a participant, counted as far as one partner's word may count
    (executor_conduct.most_of_one_partner)."""

    node: Bytes32
    differ: U32 = 0  # inferences on which the records of agent and executor differ
    unfinished: U32 = 0  # inferences that were never finished for this agent


class Finder(Message, frozen=True):
    validator: Bytes32
    found: U32  # of its verdicts 'invalid' against one executor, how many were upheld


class BoundStack(Message, frozen=True):
    """The stack on which a participant serves a model in the running epoch (conduct/stacks.py)."""

    model: Short
    stack: Short


class Conduct(Message, frozen=True):
    """One participant's counters of the running epoch. The sequential tests and the heights outlive the epoch."""

    # as executor
    finished: U64 = 0  # inferences, whatever became of them
    checked: U64 = 0  # inferences that were checked and decided
    checked_tokens: U64 = 0  # output tokens of the checked ones that stood, for accounts other than its owner's
    struck: U64 = 0  # answers that did not stand
    plants: U64 = 0  # planted faults that it revealed
    evidence: Evidence = Evidence()  # sequential test: answers not made by the model
    # as validator
    compared: U64 = 0  # comparisons of its numbers with those of others
    outliers: U64 = 0  # comparisons in which it stood alone (J1)
    duties: U64 = 0  # committees it was drawn for
    missed: U64 = 0  # of these, without a verdict about the answer
    # as agent or executor
    paired: U64 = 0  # inferences of which the records of agent and executor were compared
    partners: Annotated[tuple[Partner, ...], Meta(max_length=MAX_PARTNERS)] = ()
    # as executor
    finders: Annotated[tuple[Finder, ...], Meta(max_length=MAX_FINDERS)] = ()  # who found its faulty answers
    served: Annotated[tuple[Served, ...], Meta(max_length=MAX_SERVED)] = ()  # its work by model and stack
    # as validator
    faults: U64 = 0  # answers it judged that did not stand (J6)
    missed_faults: U64 = 0  # of these, those it called valid
    detection: Detector = Detector()  # sequential test of missed_faults
    distance: Detector = Detector()  # sequential test: its numbers are too far from those of others (J7)
    # as executor
    booked: U64 = 0  # inferences that accounts other than its owner's paid for
    withheld: U64 = 0  # answers that no committee could get
    withheld_at: U64 = 0  # height at which one was last counted in `shown`
    watched_until: U64 = 0  # all its answers are checked up to this height, 0 = as its reputation says
    shown: Detector = Detector()  # sequential test of withheld answers
    # as validator
    present: Detector = Detector()  # sequential test of missed duties
    missed_at: U64 = 0  # height at which a missed duty was last counted in `present`
    # as executor
    bound: Annotated[tuple[BoundStack, ...], Meta(max_length=MAX_SERVED)] = ()  # one stack for each model it serves
    # as agent or executor
    silent_at: U64 = 0  # height at which an answer that its agent never confirmed was last counted

    @property
    def booked_before(self) -> int:
        """Inferences booked in the last epoch, with all models and stacks."""
        return sum(row.booked_before for row in self.served)

    @property
    def differ(self) -> int:
        return sum(partner.differ for partner in self.partners)

    @property
    def unfinished(self) -> int:
        return sum(partner.unfinished for partner in self.partners)


# -- inferences --------------------------------------------------------------------------------------------------------


class Inference(Message, frozen=True):
    """One inference from its Start to its end."""

    signed_request: SignedRequest
    status: Short  # a value of types.Status
    agent: Bytes32
    beacon: Bytes32  # from which its executors were drawn
    candidates: tuple[Bytes32, ...]  # the drawn executors, in order
    price_micro: U64  # of a token, locked at the Start
    escrow_micro: U64  # held at the Start
    start_height: U64
    finish: SignedFinish | None = None
    finish_height: U64 = 0
    output_hash: Bytes32 | None = None  # of what the agent says it streamed; None until it says so
    output_height: U64 = 0
    busy: tuple[Bytes32, ...] = ()  # drawn executors that said they are busy
    committees: tuple[Committee, ...] = ()  # its committees, the one at work last
    dispute_height: U64 = 0  # at which a verdict 'invalid' made it a dispute
    due_micro: U64 = 0  # charged, and not yet decided whose it is
    charged_micro: U64 = 0  # at the finish
    paid_micro: U64 = 0  # booked for the executor in the epoch of end_height, which pays at its end
    refunded_micro: U64 = 0
    end_height: U64 = 0
    reason: Reason = ""  # for people: why it ended so
    # A fault in an answer to the executor's own owner is blamed at this height, unless it is revealed as planted
    # before.
    blame_height: U64 = 0
    fault: Short = ""  # name of the planted fault that was revealed
    streamed_tokens: U32 = 0  # as the agent says
    outcome: Short = ""  # the status it gets as soon as the agent confirms what the executor finished
    appeal_until: U64 = 0  # last height at which its lost dispute may be appealed
    appeal: AppealSeen | None = None
    sampled_milli: U32 = 0  # with which probability it was to be checked, in thousandths; 0 = it was not

    @property
    def draw_height(self) -> int:
        return self.signed_request.request.draw_height

    @property
    def in_sprint(self) -> bool:
        """Whether it is an answer of a sprint (participants/sprint.py): checked like any other, but no client waits
        and no money moves."""
        return self.signed_request.request.account == SPRINT_ACCOUNT

    @property
    def revealed(self) -> tuple[VerdictSeen, ...]:
        """The verdicts of all committees, 'withheld' included."""
        return tuple(verdict for committee in self.committees for verdict in committee.verdicts)

    @property
    def verdicts(self) -> tuple[VerdictSeen, ...]:
        """The verdicts of all committees about the answer: a validator without the payload has no vote on it."""
        return tuple(verdict for committee in self.committees for verdict in committee.judged)

    @property
    def verdicts_on_appeal(self) -> tuple[VerdictSeen, ...]:
        """Of `verdicts`, those of the committee that an appeal drew."""
        if self.appeal is None:
            return ()
        asked = (committee for committee in self.committees if committee.height >= self.appeal.height)
        return tuple(verdict for committee in asked for verdict in committee.judged)

    @property
    def members(self) -> frozenset[bytes]:
        """The members of all its committees."""
        return frozenset(node for committee in self.committees for node in committee.members)


class PlantSeen(Message, frozen=True):
    """An open commitment to a planted fault."""

    executor: Bytes32
    height: U64  # of the block it is in


class FaultCount(Message, frozen=True):
    """What became of the planted faults of one name that were revealed."""

    fault: Short
    planted: U64 = 0
    checked: U64 = 0  # of the planted ones
    caught: U64 = 0  # of the checked ones


class CheckCounters(Message, frozen=True):
    """How well the network checks, since its beginning. Answers to an executor's own owner count in `faults` only:
    they may be planted."""

    faults: tuple[FaultCount, ...] = ()
    honest: U64 = 0  # checked inferences that stood
    false_alarms: U64 = 0  # of these, those a first committee accused
    cheats: U64 = 0  # checked inferences that did not stand


class Receipt(Message, frozen=True):
    """What became of one record of a block."""

    sender: Bytes32
    index: U32  # in the sender's batch
    code: Short  # "" = it was applied, else why not
    field: Short  # that is wrong


# -- money -------------------------------------------------------------------------------------------------------------


class Totals(Message, frozen=True):
    """After every block: minted = balances of all accounts + escrow + due + collateral + burnt."""

    minted_micro: U64 = 0
    burnt_micro: U64 = 0
    escrow_micro: U64 = 0  # held for inferences that are not finished
    due_micro: U64 = 0  # charged for inferences that are not settled, and bonds of appeals that are not decided
    collateral_micro: U64 = 0  # with withdrawals on their way back and bonds of places


class Earning(Message, frozen=True):
    """One participant's money of one epoch."""

    # booked while the epoch runs
    owner: Bytes32 | None = None  # at the first booking; None where the node was no participant
    fees_micro: U64 = 0
    work: U64 = 0  # tokens x cost factor in thousandths, without answers to its own owner
    inferences: U64 = 0  # that stand
    ended: U32 = 0  # inferences that ended, whatever became of them: as many as the index holds (keys.ended)
    # written at its end
    paid_micro: U64 = 0  # of the fees
    reward_micro: U64 = 0  # minted
    duties_micro: U64 = 0  # of the validators' pool
    bounty_micro: U64 = 0  # for cheats it found
    forfeited_micro: U64 = 0  # of the fees: all when it was convicted, else its fines as far as the fees reach
    slashed_micro: U64 = 0  # of the collateral, when it was convicted
    fined_micro: U64 = 0  # for answers that did not stand; booked while the epoch runs
    withheld_micro: U64 = 0  # what its duties would have earned more, had it never stood alone (M17)
    unshared_micro: U64 = 0  # of the fees, held back for kernels that nobody shares (M20); booked while the epoch runs


class EpochSums(Message, frozen=True):
    """One epoch's money. fees + slashed + penalties = paid + duties + bounty + burnt (M12)."""

    height: U64 = 0  # at which it was settled, 0 = it runs
    minted_micro: U64 = 0  # the rewards of all participants
    fees_micro: U64 = 0
    slashed_micro: U64 = 0
    penalties_micro: U64 = 0
    paid_micro: U64 = 0
    duties_micro: U64 = 0
    bounty_micro: U64 = 0
    burnt_micro: U64 = 0
    forfeited_micro: U64 = 0  # of the fees
    work: U64 = 0
    inferences: U64 = 0  # that stand
    left: U64 = 0  # inferences that ended in it and have left the state
    left_root: Bytes32 | None = None  # RFC 6962 root over these, once all have left (inferences/pruning.py)

    @property
    def balanced(self) -> bool:
        came = self.fees_micro + self.slashed_micro + self.penalties_micro
        return came == self.paid_micro + self.duties_micro + self.bounty_micro + self.burnt_micro
