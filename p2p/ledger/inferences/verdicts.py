"""What drawn validators put on chain: a commitment, then the verdict that it binds. Law: only members of the committee
at work are heard, and each reveals exactly what it committed to.
"""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from p2p.base.codec import unpack
from p2p.base.errors import InvalidRequest, RemoteProtocolError
from p2p.base.serving_limits import REVEAL_RANKS
from p2p.base.types import Record, Status, Verdict, VerdictCommit, VerdictKind, verdict_commitment
from p2p.ledger.rules.context import Context
from p2p.ledger.state.committee import CommitSeen, Committee, VerdictSeen
from p2p.ledger.state.inference_entry import InferenceEntry
from p2p.verification.duty import reveal_positions

_COMMITTING = (Status.VALIDATING.value, Status.DISPUTED.value, Status.APPEALED.value)


def apply_commit(ctx: Context, sender: bytes, record: Record) -> None:
    """Apply a VERDICT_COMMIT. Raises InvalidRequest or RemoteProtocolError."""
    commit = unpack(VerdictCommit, record.body)
    entry = ctx.entry(commit.inference_id)
    if entry is None or entry.inference.status not in _COMMITTING:
        raise InvalidRequest("this inference takes no commitments now", field="inference_id")
    committee = _committee(entry, sender, commit.validator)
    if any(seen.validator == sender for seen in committee.commits):
        raise RemoteProtocolError("this validator has committed; one commitment each", field="validator")
    committee = replace(committee, commits=(*committee.commits, CommitSeen(sender, commit.commitment, ctx.height)))
    _put_committee(ctx, entry, committee, complete=len(committee.commits) == len(committee.members))


def apply_verdict(ctx: Context, sender: bytes, record: Record) -> None:
    """Apply a VERDICT. Raises InvalidRequest or RemoteProtocolError."""
    verdict = unpack(Verdict, record.body)
    entry = ctx.entry(verdict.inference_id)
    if entry is None or entry.inference.status != Status.REVEALING.value:
        raise InvalidRequest("this inference takes no verdicts now", field="inference_id")
    committee = _committee(entry, sender, verdict.validator)
    commitment = next((seen.commitment for seen in committee.commits if seen.validator == sender), None)
    if commitment is None:
        raise RemoteProtocolError("this validator made no commitment", field="validator")
    if any(seen.validator == sender for seen in committee.verdicts):
        raise RemoteProtocolError("this validator has revealed its verdict; one verdict each", field="validator")
    if verdict_commitment(verdict) != commitment:
        raise RemoteProtocolError("this is not the verdict that was committed to", field="salt")
    _check_content(verdict, entry, committee)
    seen = VerdictSeen(
        sender, verdict.kind, verdict.reason, verdict.llr_milli, verdict.tokens, verdict.numbers, ctx.height,
    )
    committee = replace(committee, verdicts=(*committee.verdicts, seen))
    _put_committee(ctx, entry, committee, complete=len(committee.verdicts) == len(committee.commits))


def _put_committee(ctx: Context, entry: InferenceEntry, committee: Committee, *, complete: bool) -> None:
    """complete: all have spoken, so the committee moves at the end of this block."""
    ctx.save(entry.changed(committees=(*entry.inference.committees[:-1], committee)))
    if complete:
        ctx.view.add_due(ctx.height, entry.id)


def _committee(entry: InferenceEntry, sender: bytes, validator: bytes) -> Committee:
    """The committee at work. Raises RemoteProtocolError where the sender is not a member."""
    committee = entry.inference.committees[-1]
    if validator != sender or sender not in committee.members:
        raise RemoteProtocolError("this validator was not drawn", field="validator")
    return committee


def _check_content(verdict: Verdict, entry: InferenceEntry, committee: Committee) -> None:
    """Check what a verdict must contain, whatever the answer is.

    It is about all output tokens; about none for an 'invalid' without a prefill (stage 0), and for 'withheld'. It shows
    numbers of all ranks at the positions drawn for this validator.
    """
    length = entry.finish.output_tokens
    match verdict.kind:
        case VerdictKind.VALID:
            right: tuple[int, ...] = (length,)
        case VerdictKind.INVALID:
            right = (0, length)
        case VerdictKind.WITHHELD:
            right = (0,)
        case _:
            assert_never(verdict.kind)
    if verdict.tokens not in right:
        wanted_tokens = " or ".join(map(str, right))
        raise RemoteProtocolError(f"a verdict of this kind is about {wanted_tokens} tokens", field="tokens")
    if verdict.tokens == 0 and verdict.llr_milli != 0:
        raise RemoteProtocolError("nothing was measured, so the ratio must be 0", field="llr_milli")
    wanted = reveal_positions(committee.beacon, verdict.inference_id, verdict.validator, verdict.tokens)
    if tuple(row.position for row in verdict.numbers) != wanted:
        raise RemoteProtocolError("these are not the positions drawn for this validator", field="numbers")
    for row in verdict.numbers:
        if len({token for token, _ in row.candidates}) != REVEAL_RANKS:
            raise RemoteProtocolError(f"each position needs {REVEAL_RANKS} different candidates", field="numbers")
