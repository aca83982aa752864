"""Answers about the network: prices, governance, verification, sprint, earnings. Law: as the state has it, after the
newest block."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from p2p.wire.answers.fields import MAX_ROWS, Amount, Height, Hex32, Name, Price, Text, Word

Rules = dict[str, Any]  # rule -> value, named as in governance proposals


class PriceRow(Struct, frozen=True):
    model: Name
    price_micro: Price  # of a token in the next block
    utilisation_milli: int  # of the capacity in the last window; -1: there is no capacity


class PricesAnswer(Struct, frozen=True):
    height: Height
    prices: Annotated[tuple[PriceRow, ...], Meta(max_length=MAX_ROWS)]


class ChangeRow(Struct, frozen=True, omit_defaults=True):
    """One of: rules with fields, add_model, change_model with fields, retire_model."""

    rules: str | UnsetType = UNSET  # 'checks' or 'economy'
    add_model: Rules | UnsetType = UNSET
    change_model: str | UnsetType = UNSET
    retire_model: str | UnsetType = UNSET
    fields: Rules | UnsetType = UNSET


class ProposalRow(Struct, frozen=True):
    proposal: Hex32
    account: Hex32
    change: ChangeRow
    opened: Height
    closes: Height
    state: Word
    yes_weight: Amount
    no_weight: Amount
    total_weight: Amount
    reason: Text


class GovernanceAnswer(Struct, frozen=True):
    """Proposals, oldest first, and what is in force."""

    height: Height
    proposals: tuple[ProposalRow, ...]
    checks: Rules
    economy: Rules
    models: tuple[Rules, ...]


class FaultRow(Struct, frozen=True):
    """How often one planted fault was checked and found."""

    fault: Name
    planted: Amount
    checked: Amount
    caught: Amount


class ConductRow(Struct, frozen=True):
    """What the chain holds of one participant. log_e: logarithm of an e-process, thousandths of nats."""

    node: Hex32
    owner: Hex32
    weight: Amount
    reputation: int
    reputations: tuple[Rules, ...]  # by model and stack
    strikes: Amount
    misses: Amount
    finished: Amount
    booked: Amount
    booked_before: Amount
    checked: Amount
    checked_tokens: Amount
    struck: Amount
    plants: Amount
    log_e_milli: int
    compared: Amount
    outliers: Amount
    faults: Amount
    missed_faults: Amount
    detection_log_e_milli: int
    distance_log_e_milli: int
    duties: Amount
    missed: Amount
    missed_log_e_milli: int
    withheld: Amount
    withheld_log_e_milli: int
    watched_until: Amount
    convicted: bool
    convicted_until: Amount
    convicted_reason: Text
    barred: bool
    barred_until: Amount
    barred_reason: Text
    paired: Amount
    differ: Amount
    unfinished: Amount
    suspended: bool
    suspended_until: Amount
    suspended_reason: Text
    convictions: Amount
    clean_epochs: Amount
    open_disputes: Amount
    excluded: Text  # why it serves nobody and when it returns; empty: it is not excluded


class VerificationAnswer(Struct, frozen=True):
    """How well the network checks, and each participant's conduct in the running epoch."""

    height: Height
    epoch: Amount
    honest: Amount
    false_alarms: Amount
    cheats: Amount
    conviction_milli: Amount
    faults: tuple[FaultRow, ...]
    participants: tuple[ConductRow, ...]


class RunRow(Struct, frozen=True):
    """One node's run in a sprint."""

    node: Hex32
    model: Name
    count: Amount  # answers it committed to
    samples: Amount  # that it must open
    opened: Amount
    checked: Amount  # opened answers that stood
    refused: Amount  # opened answers that did not stand
    withheld: Amount  # not opened, and too late
    answers: tuple[Hex32, ...]  # inferences made of what was opened


class SprintWeight(Struct, frozen=True):
    node: Hex32
    owner: Hex32
    weight: Amount
    weight_next: Amount  # if the epoch ended now


class SprintAnswer(Struct, frozen=True):
    """The sprint of the running epoch. A network without sprints has only the first three."""

    height: Height
    epoch: Amount
    phase: Word  # none, waiting (for the epoch's first beacon), answer, draw, open, checks
    first: Amount | UnsetType = UNSET  # heights at which the phases begin and end
    close: Amount | UnsetType = UNSET
    draw: Amount | UnsetType = UNSET
    end: Amount | UnsetType = UNSET
    runs: tuple[RunRow, ...] | UnsetType = UNSET
    participants: tuple[SprintWeight, ...] | UnsetType = UNSET


class EarningRow(Struct, frozen=True):
    """One inference of a participant, with the rule that decided where its money went (docs/economics.md)."""

    id: Hex32
    what: Word
    rule: Name
    status: Word
    reason: Text
    height: Amount
    fee_micro: Amount
    refunded_micro: Amount
    price_micro: Amount
    bond_micro: Amount
    burnt_micro: Amount


class OpenDispute(Struct, frozen=True):
    """A lost dispute that is not decided yet."""

    id: Hex32
    rule: Name
    status: Word
    reason: Text
    until: Amount  # its owner may appeal until this height
    appealed: bool
    due_micro: Amount
    bond_micro: Amount  # held, or what an appeal would hold


class OwnSums(Struct, frozen=True):
    """A participant's sums of one epoch."""

    fees_micro: Amount
    work: Amount
    paid_micro: Amount
    reward_micro: Amount
    duties_micro: Amount
    bounty_micro: Amount
    forfeited_micro: Amount
    slashed_micro: Amount
    fined_micro: Amount
    withheld_micro: Amount
    unshared_micro: Amount


class EpochSumsRow(Struct, frozen=True):
    """The sums of all participants in one epoch."""

    settled_at: Amount  # 0: not settled yet
    minted_micro: Amount
    fees_micro: Amount
    slashed_micro: Amount
    penalties_micro: Amount
    paid_micro: Amount
    duties_micro: Amount
    bounty_micro: Amount
    burnt_micro: Amount
    forfeited_micro: Amount
    work: Amount
    count: Amount


class EarningsAnswer(Struct, frozen=True):
    """`earnings`: a page of a participant's epoch."""

    height: Height
    epoch: Amount
    first_height: Amount
    last_height: Amount
    node: Hex32
    kept: bool  # whether the epoch's single inferences are in the state
    inferences: tuple[EarningRow, ...]
    next: int  # where the next page starts; -1: this is the last one
    own: OwnSums
    sums: EpochSumsRow
    open: tuple[OpenDispute, ...]  # whatever the epoch
