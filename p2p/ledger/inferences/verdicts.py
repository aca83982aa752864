"""What drawn validators put on chain: a commitment, then the verdict it binds. Law: nobody outside the committee changes anything,
and nobody can say other than what it committed to.
"""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from p2p.base.codec import unpack
from p2p.base.errors import InvalidRequest, RemoteProtocolError
from p2p.base.limits import REVEAL_RANKS
from p2p.base.types import Record, Status, Verdict, VerdictCommit, VerdictKind, verdict_commitment
from p2p.ledger.rules.context import Context
from p2p.ledger.state.committee import CommitSeen, Panel, VerdictSeen
from p2p.ledger.state.records import Inference
from p2p.verification.duty import reveal_positions

_COMMITTING = (Status.VALIDATING.value, Status.DISPUTED.value, Status.APPEALED.value)


def apply_commit(ctx: Context, sender: bytes, record: Record) -> None:
    commit = unpack(VerdictCommit, record.body)
    inference = ctx.view.inference(commit.inference_id)
    if inference is None or inference.status not in _COMMITTING:
        raise InvalidRequest("no commitments are taken for this inference now", field="inference_id")
    panel = _panel(inference, sender, commit.validator)
    if any(seen.validator == sender for seen in panel.commits):
        raise RemoteProtocolError("one commitment each", field="validator")
    panel = replace(panel, commits=(*panel.commits, CommitSeen(sender, commit.commitment, ctx.height)))
    ctx.view.put_inference(commit.inference_id, replace(inference, panels=(*inference.panels[:-1], panel)))
    if len(panel.commits) == len(panel.members):
        ctx.view.add_due(ctx.height, commit.inference_id)


def apply_verdict(ctx: Context, sender: bytes, record: Record) -> None:
    verdict = unpack(Verdict, record.body)
    inference = ctx.view.inference(verdict.inference_id)
    if inference is None or inference.status != Status.REVEALING.value:
        raise InvalidRequest("no verdicts are taken for this inference now", field="inference_id")
    panel = _panel(inference, sender, verdict.validator)
    commitment = next((seen.commitment for seen in panel.commits if seen.validator == sender), None)
    if commitment is None:
        raise RemoteProtocolError("this validator made no commitment", field="validator")
    if any(seen.validator == sender for seen in panel.verdicts):
        raise RemoteProtocolError("one verdict each", field="validator")
    if verdict_commitment(verdict) != commitment:
        raise RemoteProtocolError("this is not the verdict that was committed to", field="salt")
    _check_content(verdict, inference, panel)
    seen = VerdictSeen(sender, verdict.kind, verdict.reason, verdict.llr_milli, verdict.tokens, verdict.numbers, ctx.height)
    panel = replace(panel, verdicts=(*panel.verdicts, seen))
    ctx.view.put_inference(verdict.inference_id, replace(inference, panels=(*inference.panels[:-1], panel)))
    if len(panel.verdicts) == len(panel.commits):
        ctx.view.add_due(ctx.height, verdict.inference_id)


def _panel(inference: Inference, sender: bytes, validator: bytes) -> Panel:
    """The committee at work, of which the sender must be."""
    panel = inference.panels[-1]
    if validator != sender or sender not in panel.members:
        raise RemoteProtocolError("this validator was not drawn", field="validator")
    return panel


def _check_content(verdict: Verdict, inference: Inference, panel: Panel) -> None:
    """All tokens or, for an 'invalid' of stage 0, none; for 'withheld' none, as nothing was there; the numbers at the drawn positions, all
    ranks."""
    assert inference.finish is not None
    length = inference.finish.record.output_tokens
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
        raise RemoteProtocolError("a verdict is about all output tokens; a refusal without a prefill about none", field="tokens")
    if verdict.tokens == 0 and verdict.llr_milli != 0:
        raise RemoteProtocolError("nothing was measured, so there is no ratio", field="llr_milli")
    wanted = reveal_positions(panel.beacon, verdict.inference_id, verdict.validator, verdict.tokens)
    if tuple(row.position for row in verdict.numbers) != wanted:
        raise RemoteProtocolError("these are not the positions drawn for this validator", field="numbers")
    for row in verdict.numbers:
        if len({token for token, _ in row.candidates}) != REVEAL_RANKS:
            raise RemoteProtocolError(f"{REVEAL_RANKS} different candidates are wanted at each position", field="numbers")
