"""What the chain says about inferences: to the parts of a peer (draws, duties, claims), and as an answer for people.

Law: read only. Bytes are hexadecimal in answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from p2p.base.genesis import ModelSpec
from p2p.base.keys import peer_id
from p2p.base.types import FinishRecord, InferenceId, Request
from p2p.ledger.money.epoch_accounts import NOBODY
from p2p.ledger.money.outcomes import disagree
from p2p.ledger.rules.models import spec_at
from p2p.ledger.state import keys
from p2p.ledger.state.committee import Committee
from p2p.ledger.state.records import Inference
from p2p.ledger.state.view import View
from p2p.wire.answers.inferences import AppealRow, CommitteeRow, InferenceAnswer, VerdictRow


@dataclass(frozen=True, slots=True)
class Draw:
    """A draw of executors."""

    agent: bytes
    height: int
    beacon: bytes  # of that height
    candidates: tuple[bytes, ...]  # who was drawn, in order


@dataclass(frozen=True, slots=True)
class Claim:
    """What a validator checks an answer against."""

    request: Request
    finish: FinishRecord
    beacon: bytes  # of the draw
    spec: ModelSpec  # the model as of the draw
    host: bytes | None = None  # who has the payload, under its key of now; None: the executor
    holders: tuple[bytes, ...] = ()  # who else may have it: the agent and all that were drawn to check it
    candidates: tuple[bytes, ...] = ()  # who was drawn, in order


@dataclass(frozen=True, slots=True)
class Duty:
    """What a drawn validator has to do."""

    inference_id: InferenceId
    height: int  # of its committee's draw
    beacon: bytes  # of that height
    commitment: bytes | None  # its own on chain: it is to reveal; None: it is to check and commit
    earlier: int = 0  # committees of the same inference that were drawn before
    closes: int = 0  # the last height of the phase it is in


@dataclass(frozen=True, slots=True)
class Owed:
    """What a drawn validator has not finished, whether or not there is something to do for it now."""

    height: int  # of its committee's draw
    committed: bool  # it is to reveal, now or when all others have committed


def duties(view: View, node: bytes) -> list[Duty]:
    """What `node` was drawn for and has to do now."""
    return [
        Duty(inference_id, committee.height, committee.beacon, mine, earlier, committee.closes)
        for inference_id, committee, mine, earlier in _unfinished(view, node)
        if committee.revealing is (mine is not None)
    ]


def owed(view: View, node: bytes) -> list[Owed]:
    """What `node` was drawn for and can still finish."""
    return [
        Owed(committee.height, mine is not None) for _, committee, mine, _ in _unfinished(view, node)
        if mine is not None or not committee.revealing
    ]


def _unfinished(view: View, node: bytes) -> Iterator[tuple[InferenceId, Committee, bytes | None, int]]:
    """Committees at work to which `node` has not said its verdict, with its commitment and the number of earlier
    committees."""
    for inference_id in view.ids(keys.duties(node)):
        inference = view.inference(inference_id)
        if inference is None or not inference.committees:
            continue
        committee = inference.committees[-1]
        if node in committee.members and all(seen.validator != node for seen in committee.verdicts):
            mine = next((seen.commitment for seen in committee.commits if seen.validator == node), None)
            yield InferenceId(inference_id), committee, mine, len(inference.committees) - 1


def may_fetch(view: View, inference_id: bytes, peer: str) -> bool:
    """Whether a peer (libp2p id) may have the payload. Only its agent and validators may: the prompt is in it."""
    inference = view.inference(inference_id)
    if inference is None:
        return False
    return any(peer_id(view.node_now(node)) == peer for node in {inference.agent, *inference.members})


def draw_of(view: View, inference_id: bytes) -> Draw | None:
    inference = view.inference(inference_id)
    if inference is None:
        return None
    return Draw(inference.agent, inference.draw_height, inference.beacon, inference.candidates)


def claim(view: View, inference_id: bytes) -> Claim | None:
    inference = view.inference(inference_id)
    if inference is None or inference.finish is None:
        return None
    request = inference.signed_request.request
    spec, finish = spec_at(view, request.model, inference.draw_height), inference.finish.record
    holders = tuple(sorted({view.node_now(node) for node in (inference.agent, *inference.members)}))
    if spec is None:
        return None
    host = view.node_now(finish.executor)
    return Claim(request, finish, inference.beacon, spec, host, holders, inference.candidates)


def inference_answer(inference_id: bytes, inference: Inference, left_epoch: int | None = None) -> InferenceAnswer:
    """left_epoch: the epoch it ended in, where it left the state."""
    finish = inference.finish.record if inference.finish else None
    last = inference.committees[-1] if inference.committees else None
    request = inference.signed_request.request
    return InferenceAnswer(
        id=inference_id.hex(), status=inference.status, reason=inference.reason, model=request.model,
        account=request.account.hex(), agent=inference.agent.hex(), executor=finish.executor.hex() if finish else "",
        draw_height=inference.draw_height, candidates=_hex(inference.candidates),
        busy=_hex(node for node in inference.busy if node != NOBODY),
        start_height=inference.start_height, finish_height=inference.finish_height,
        output_height=inference.output_height, end_height=inference.end_height,
        output_matches=None if not (finish and inference.output_hash) else not disagree(inference),
        outcome=inference.outcome, artifact_root=finish.artifact_root.hex() if finish else "",
        prompt_tokens=finish.prompt_tokens if finish else 0, output_tokens=finish.output_tokens if finish else 0,
        taken_over=finish.taken_over if finish else 0,
        finish_reason=finish.finish_reason.name.lower() if finish else "", streamed_tokens=inference.streamed_tokens,
        committee=_hex(last.members) if last else (), committee_height=last.height if last else 0,
        committees=tuple(map(_committee, inference.committees)), dispute_height=inference.dispute_height,
        appeal_until=inference.appeal_until, appeal=_appeal(inference), verdicts=_verdicts(inference),
        fault=inference.fault, blame_height=inference.blame_height, price_micro=inference.price_micro,
        escrow_micro=inference.escrow_micro, charged_micro=inference.charged_micro, paid_micro=inference.paid_micro,
        refunded_micro=inference.refunded_micro, left_epoch=left_epoch,
    )


def _committee(committee: Committee) -> CommitteeRow:
    return CommitteeRow(
        committee.height, _hex(committee.members), committee.closes, committee.revealing,
        _hex(seen.validator for seen in committee.commits), _hex(seen.validator for seen in committee.verdicts),
    )


def _verdicts(inference: Inference) -> tuple[VerdictRow, ...]:
    return tuple(
        VerdictRow(v.validator.hex(), v.valid, v.kind.name.lower(), v.reason, v.height, v.llr_milli, v.tokens)
        for v in inference.revealed
    )


def _appeal(inference: Inference) -> AppealRow | None:
    found = inference.appeal
    return AppealRow(found.account.hex(), found.height, found.bond_micro, found.burnt_micro) if found else None


def _hex(nodes: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(node.hex() for node in nodes)
