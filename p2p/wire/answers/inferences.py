"""Answers about one inference: `inference`, `payload`. Law: all that the chain has about it, and nothing else."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from p2p.wire.answers.fields import Amount, Hex, Hex32, MaybeHex32, Name, Text, Word

Nodes = Annotated[tuple[Hex32, ...], Meta(max_length=1024)]


class CommitteeRow(Struct, frozen=True):
    """One committee of validators."""

    height: Amount  # of its draw
    members: Nodes
    closes: Amount  # the last height of the phase it is in
    revealing: bool
    committed: Nodes
    revealed: Nodes


class VerdictRow(Struct, frozen=True):
    """What one validator revealed."""

    validator: Hex32
    valid: bool
    kind: Word
    reason: Text
    height: Amount
    llr_milli: int  # log-likelihood ratio, cheating against honest, thousandths of nats
    tokens: Amount  # that were compared


class AppealRow(Struct, frozen=True):
    account: Hex32
    height: Amount
    bond_micro: Amount
    burnt_micro: Amount


class InferenceAnswer(Struct, frozen=True):
    """`inference`: from its Start to the end. Heights are 0 until then; hexadecimal fields are empty until then."""

    id: Hex32
    status: Word
    reason: Text
    model: Name
    account: Hex32  # who pays
    agent: Hex32
    executor: MaybeHex32
    draw_height: Amount
    candidates: Nodes
    busy: Nodes  # candidates that signed that they were busy
    start_height: Amount
    finish_height: Amount
    output_height: Amount
    end_height: Amount
    output_matches: bool | None  # whether agent and executor name the same output; None: not both have
    outcome: Name
    artifact_root: MaybeHex32
    prompt_tokens: Amount
    output_tokens: Amount
    taken_over: Amount  # tokens that an earlier executor had streamed
    finish_reason: str
    streamed_tokens: Amount
    committee: Nodes  # the last one drawn; all of them are under `committees`
    committee_height: Amount
    committees: tuple[CommitteeRow, ...]
    dispute_height: Amount
    appeal_until: Amount  # until when the executor's owner may appeal
    appeal: AppealRow | None
    verdicts: tuple[VerdictRow, ...]
    fault: Name  # that its agent planted; empty: none, or not revealed
    blame_height: Amount
    price_micro: Amount
    escrow_micro: Amount
    charged_micro: Amount
    paid_micro: Amount
    refunded_micro: Amount
    left_epoch: Amount | None = None  # the epoch it ended in, when it left the state; None: it is in the state


class PayloadAnswer(Struct, frozen=True):
    """`payload`: what is needed to check one answer again. Only for the peer's owner, because it holds the prompt."""

    id: Hex32
    payload: Hex  # frames.Payload
    request: Hex  # Request
    finish: Hex  # FinishRecord
    beacon: Hex32
    candidates: Nodes
