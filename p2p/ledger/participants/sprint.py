"""The sprint: inference at the beginning of each epoch, whose checked answers become weight (weights.py). Law: which
questions a node may answer follows from the epoch's first beacon; which answers are looked at follows from a beacon
that nobody knew when the node committed.

An opened answer is an inference like any other, FINISHED, so that committees, disputes, strikes and convictions are the
same. It is always checked, and no money moves for it (decision 017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from p2p.base import merkle
from p2p.base.body import Body, one_message
from p2p.base.codec import Message, encode, load, unpack
from p2p.base.errors import ConfigError, InvalidRequest, RemoteProtocolError
from p2p.base.genesis import Genesis
from p2p.base.keys import Domain, verify
from p2p.base.serving_limits import SPRINT_COMMIT_LEAD
from p2p.base.types import (
    SPRINT_ACCOUNT,
    U32,
    U64,
    VERSION,
    Bytes32,
    FinishReason,
    Params,
    Record,
    Request,
    Short,
    SignedFinish,
    SignedRequest,
    SprintCommit,
    SprintOpen,
    Status,
)
from p2p.ledger.conduct.stacks import bind_stack
from p2p.ledger.participants.sprint_prompts import sprint_prompt
from p2p.ledger.rules import windows
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.models import live_spec
from p2p.ledger.state import keys
from p2p.ledger.state.records import Inference
from p2p.ledger.state.view import View
from p2p.verification.duty import pick

PROMPT_TOKENS_MAX = 512  # of a question, under any chat template
MAX_SAMPLES = 64  # drawn answers of one commitment


class Sprint(Message, frozen=True):
    """The sprint of an epoch."""

    epoch: U64
    beacon: Bytes32  # of the epoch's first height; questions and seeds follow from it
    draw: bytes = b""  # the beacon that draws the samples; empty until it is there


class OpenedAnswer(Message, frozen=True):
    """A drawn answer that was shown."""

    index: U32
    inference_id: Bytes32


class Run(Message, frozen=True):
    """One node's commitment for one model, and what it has opened of it."""

    node: Bytes32
    model: Short
    root: Bytes32  # Merkle root over its finish records
    count: U32  # of answers
    height: U64  # of the commitment's block
    opened: Annotated[tuple[OpenedAnswer, ...], Meta(max_length=MAX_SAMPLES)] = ()


@dataclass(frozen=True, slots=True)
class Heights:
    """The heights of one epoch's sprint."""

    first: int  # its beacon begins the sprint
    close: int  # the last height for commitments
    draw: int  # its beacon draws the samples; after close, because a block's proposer knows its beacon before others
    end: int  # the last height to open drawn answers


def heights(genesis: Genesis, epoch: int) -> Heights:
    first = epoch * genesis.epoch_blocks + 1
    close = first + genesis.sprint.blocks
    draw = close + max(genesis.validation_delay, 1)
    return Heights(first, close, draw, draw + genesis.sprint.open_blocks)


def check_sprint(genesis: Genesis) -> None:
    """Check that the sprint fits its epoch. Raises ConfigError."""
    rules = genesis.sprint
    if not rules.blocks:
        return
    if genesis.changes:
        raise ConfigError("weights come from the sprint; plan no changes of them", field="changes")
    if rules.blocks <= SPRINT_COMMIT_LEAD:
        least = f"at least {SPRINT_COMMIT_LEAD + 1} heights, or nobody can commit in time"
        raise ConfigError(least, field="sprint.blocks")
    if found := late(genesis):
        raise ConfigError(found, field="epoch_blocks")


def late(genesis: Genesis) -> str:
    """Whether an answer can be undecided when the weights are counted, one height before the epoch's last: a padder
    could hide behind it, and what an appeal gives back would come too late. What to do about it; '' where none can.
    """
    needed = heights(genesis, 0).end + windows.life(genesis)
    if not genesis.sprint.blocks or needed < genesis.epoch_blocks:
        return ""
    return (
        f"the sprint, its committees, their dispute and its appeal may take {needed} heights, an epoch has "
        f"{genesis.epoch_blocks}: make validation_window, reveal_window, appeal_window or the sprint shorter, or "
        "epochs longer"
    )


# -- the sprint --------------------------------------------------------------------------------------------------------


def keep_beacon(ctx: Context, beacon: bytes) -> None:
    """At the end of a block: begin the sprint, or draw its samples."""
    if not ctx.genesis.sprint.blocks:
        return
    epoch = ctx.epoch
    times = heights(ctx.genesis, epoch)
    if ctx.height == times.first:
        for name in ctx.view.ids(keys.RUNS):
            ctx.view.put(keys.run_named(name), None)
        ctx.view.put(keys.RUNS, None)
        ctx.view.put(keys.SPRINT, encode(Sprint(epoch, beacon)))
    elif ctx.height == times.draw:
        ctx.view.put(keys.SPRINT, encode(Sprint(epoch, _running(ctx, epoch).beacon, beacon)))


def sprint_of(view: View) -> Sprint | None:
    """The latest one; None before the first, and where the network has none."""
    raw = view.get(keys.SPRINT)
    return load(Sprint, raw) if raw else None


def runs(view: View) -> list[Run]:
    """All commitments of the latest sprint, in the order they came."""
    return [load(Run, raw) for name in view.ids(keys.RUNS) if (raw := view.get(keys.run_named(name))) is not None]


def committed_nodes(view: View) -> set[bytes]:
    """The nodes with a commitment to the latest sprint, from the index alone: no commitment is decoded."""
    return {name[:32] for name in view.ids(keys.RUNS)}


def run_of(view: View, node: bytes, model: str) -> Run | None:
    raw = view.get(keys.run(node, model))
    return load(Run, raw) if raw else None


def question(genesis: Genesis, sprint: Sprint, node: bytes, model: str, index: int) -> tuple[Body, SignedRequest]:
    """(body, request) of answer number `index`: nobody signs it, everybody can make it. Its id binds epoch
    (deadline), beacon (body), node (signer), model and index (nonce).
    """
    body = one_message(sprint_prompt(sprint.beacon, node, model, index))
    rules, times = genesis.sprint, heights(genesis, sprint.epoch)
    request = Request(
        VERSION, genesis.network, SPRINT_ACCOUNT, index + 1, model, body.hash,
        Params(rules.temperature_milli), PROMPT_TOKENS_MAX, rules.max_tokens, 0, times.close, node, times.first,
    )
    return body, SignedRequest(request, bytes(64))


def drawn(genesis: Genesis, sprint: Sprint, run: Run) -> tuple[int, ...]:
    """The answers that must be opened; none before they are drawn."""
    if not sprint.draw:
        return ()
    return tuple(sorted(pick((b"sprint", sprint.draw, run.node, run.model.encode()), run.count, samples(genesis, run))))


def samples(genesis: Genesis, run: Run) -> int:
    return min(genesis.sprint.samples, run.count)


def check_may_commit(ctx: Context, node: bytes, model: str) -> None:
    """May `node` commit to answers of `model`? Weight is not needed: this is how one gets it. Raises InvalidRequest."""
    participant = ctx.view.participant(node)
    if participant is None or participant.leaving:
        raise InvalidRequest("the node is no participant, or is leaving", field="node")
    if participant.convicted_until or participant.suspended_until:
        raise InvalidRequest("the node is convicted or suspended", field="node")
    if participant.collateral_micro < ctx.economy.collateral_min_micro:
        raise InvalidRequest("the node has too little collateral to serve", field="collateral_micro")
    live_spec(ctx.view, model)
    if model not in participant.models:
        raise InvalidRequest("the node is not registered for this model", field="model")


# -- records -----------------------------------------------------------------------------------------------------------


def apply_sprint_commit(ctx: Context, sender: bytes, record: Record) -> None:
    commit = unpack(SprintCommit, record.body)
    if commit.node != sender:
        raise RemoteProtocolError("a node commits in its own batch only", field="node")
    _running(ctx, commit.epoch)
    if ctx.height > heights(ctx.genesis, commit.epoch).close:
        raise InvalidRequest("this epoch's sprint is closed for commitments", field="epoch")
    check_may_commit(ctx, sender, commit.model)
    if run_of(ctx.view, sender, commit.model) is not None:
        raise RemoteProtocolError("one commitment each", field="model")
    _put(ctx.view, Run(sender, commit.model, commit.root, commit.count, ctx.height))
    ctx.view.add_id(keys.RUNS, keys.run_name(sender, commit.model))


def apply_sprint_open(ctx: Context, sender: bytes, record: Record) -> None:
    """The opened answer becomes an inference that waits for its committee."""
    body = unpack(SprintOpen, record.body)
    sprint, times = _running(ctx, body.epoch), heights(ctx.genesis, body.epoch)
    if not times.draw < ctx.height <= times.end:
        raise InvalidRequest(f"drawn answers are opened at heights {times.draw + 1} to {times.end}", field="epoch")
    run = run_of(ctx.view, sender, body.model)
    if run is None:
        raise RemoteProtocolError("the sender made no commitment", field="model")
    if body.index not in drawn(ctx.genesis, sprint, run) or any(opened.index == body.index for opened in run.opened):
        raise RemoteProtocolError("this answer was not drawn, or was opened before", field="index")
    _, signed = question(ctx.genesis, sprint, sender, body.model, body.index)
    _check_finish(ctx.genesis, signed, body.finish)
    bind_stack(ctx.view, sender, body.model, body.finish.record.stack)
    if not merkle.verify(encode(body.finish), body.index, run.count, body.proof, run.root):
        raise RemoteProtocolError("this answer is not the one that was committed to", field="proof")
    _put(ctx.view, replace(run, opened=(*run.opened, OpenedAnswer(body.index, signed.inference_id))))
    finish = body.finish.record
    ctx.view.put_inference(signed.inference_id, Inference(
        signed, Status.FINISHED.value, sender, sprint.beacon, (sender,), 0, 0, ctx.height,
        finish=body.finish, finish_height=ctx.height, output_hash=finish.output_hash, output_height=ctx.height,
        streamed_tokens=finish.output_tokens,
    ))
    ctx.view.add_due(ctx.height + ctx.genesis.validation_delay, signed.inference_id)


def _check_finish(genesis: Genesis, signed: SignedRequest, finish: SignedFinish) -> None:
    record, request = finish.record, signed.request
    if record.inference_id != signed.inference_id:
        raise RemoteProtocolError("this is the answer to another question", field="inference_id")
    if record.executor != request.signer:
        raise RemoteProtocolError("this is another node's answer", field="executor")
    if not 0 < record.output_tokens <= request.max_tokens:
        raise RemoteProtocolError("more tokens than asked for, or none", field="output_tokens")
    if record.prompt_tokens > request.prompt_tokens_max:
        raise RemoteProtocolError("more prompt tokens than any template makes of it", field="prompt_tokens")
    if record.taken_over:
        raise RemoteProtocolError("in a sprint nobody takes over an answer", field="taken_over")
    short = record.output_tokens < request.max_tokens
    if record.finish_reason is FinishReason.STOPPED or (record.finish_reason is FinishReason.LENGTH and short):
        raise RemoteProtocolError("finish reason and number of tokens do not go together", field="finish_reason")
    if not verify(record.executor, Domain.FINISH, genesis.network, encode(record), finish.signature):
        raise RemoteProtocolError("not signed by the node", field="signature")


def _running(ctx: Context, epoch: int) -> Sprint:
    """The sprint of `epoch`, which must be that of `height` and have begun in an earlier block."""
    sprint = sprint_of(ctx.view)
    if sprint is None or not sprint.epoch == epoch == ctx.epoch:
        raise InvalidRequest("no sprint of this epoch runs now", field="epoch")
    return sprint


def _put(view: View, run: Run) -> None:
    view.put(keys.run(run.node, run.model), encode(run))
