"""What the chain says, for peers' own parts and, as plain data, for people. Law: read only; everything on chain about it, nothing else.

Bytes are hexadecimal in plain data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from msgspec.structs import asdict

from p2p.base.genesis import Genesis, ModelSpec
from p2p.base.keys import peer_id
from p2p.base.types import FinishRecord, InferenceId, Request
from p2p.ledger.money.epoch_accounts import NOBODY
from p2p.ledger.money.notices import notices
from p2p.ledger.money.outcomes import disagree
from p2p.ledger.money.price import price_of, utilisation_milli
from p2p.ledger.rules import parameters
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.heights import epoch_of
from p2p.ledger.rules.models import models, spec_at
from p2p.ledger.state.committee import Panel
from p2p.ledger.state.open_disputes import open_disputes
from p2p.ledger.state.records import Inference, Participant
from p2p.ledger.state.view import View


@dataclass(frozen=True, slots=True)
class Draw:
    """Who drew, at which height, from which beacon, and whom."""

    agent: bytes
    height: int
    beacon: bytes
    candidates: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a validator checks against: request, finish record, draw beacon and model as of the draw. host: who has the payload, where the
    executor's key was rotated since; None: the executor. holders: who else may have it: the agent and all that were drawn to check it.
    candidates: who was drawn, in order."""

    request: Request
    finish: FinishRecord
    beacon: bytes
    spec: ModelSpec
    host: bytes | None = None
    holders: tuple[bytes, ...] = ()
    candidates: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Duty:
    """What a drawn validator has to do. height, beacon: of its committee's draw. commitment: its own on chain, then it is time to
    reveal; None: it is to check and commit. panel: how many committees were asked before. closes: the last height of the phase it is in."""

    inference_id: InferenceId
    height: int
    beacon: bytes
    commitment: bytes | None
    panel: int = 0
    closes: int = 0


def duties(view: View, node: bytes) -> list[Duty]:
    found = []
    for inference_id in view.ids(b"duty/" + node):
        inference = view.inference(inference_id)
        duty = _duty(InferenceId(inference_id), inference.panels, node) if inference is not None and inference.panels else None
        if duty is not None:
            found.append(duty)
    return found


def _duty(inference_id: InferenceId, panels: tuple[Panel, ...], node: bytes) -> Duty | None:
    panel = panels[-1]
    mine = next((seen.commitment for seen in panel.commits if seen.validator == node), None)
    said = any(seen.validator == node for seen in panel.verdicts)
    if node not in panel.members or said or panel.revealing is (mine is None):
        return None
    return Duty(inference_id, panel.height, panel.beacon, mine, len(panels) - 1, panel.closes)


def may_fetch(view: View, inference_id: bytes, peer: str) -> bool:
    """Its agent and its validators may have the payload, nobody else: the prompt is in it."""
    inference = view.inference(inference_id)
    return inference is not None and any(peer_id(view.node_now(node)) == peer for node in {inference.agent, *inference.members})


def draw_of(view: View, inference_id: bytes) -> Draw | None:
    inference = view.inference(inference_id)
    return Draw(inference.agent, inference.draw_height, inference.beacon, inference.candidates) if inference else None


def claim(view: View, inference_id: bytes) -> Claim | None:
    inference = view.inference(inference_id)
    if inference is None or inference.finish is None:
        return None
    request = inference.signed_request.request
    spec, finish = spec_at(view, request.model, inference.draw_height), inference.finish.record
    holders = tuple(sorted({view.node_now(node) for node in (inference.agent, *inference.members)}))
    return Claim(request, finish, inference.beacon, spec, view.node_now(finish.executor), holders, inference.candidates) if spec else None


def inference_view(inference_id: bytes, inference: Inference) -> dict[str, Any]:
    """Keys as in the control operation `inference`. committee: the last one drawn; all of them are under `panels`."""
    finish = inference.finish.record if inference.finish else None
    last = inference.panels[-1] if inference.panels else None
    return {
        "id": inference_id.hex(), "status": inference.status, "reason": inference.reason,
        "model": inference.signed_request.request.model, "account": inference.signed_request.request.account.hex(),
        "agent": inference.agent.hex(), "executor": finish.executor.hex() if finish else "",
        "draw_height": inference.draw_height, "candidates": [node.hex() for node in inference.candidates],
        "busy": [node.hex() for node in inference.busy if node != NOBODY],
        "start_height": inference.start_height, "finish_height": inference.finish_height,
        "output_height": inference.output_height, "end_height": inference.end_height,
        "output_matches": None if not (finish and inference.output_hash) else not disagree(inference), "outcome": inference.outcome,
        "artifact_root": finish.artifact_root.hex() if finish else "",
        "prompt_tokens": finish.prompt_tokens if finish else 0, "output_tokens": finish.output_tokens if finish else 0,
        "taken_over": finish.taken_over if finish else 0,
        "finish_reason": finish.finish_reason.name.lower() if finish else "", "streamed_tokens": inference.streamed_tokens,
        "committee": [node.hex() for node in last.members] if last else [], "committee_height": last.height if last else 0,
        "panels": [_panel_view(panel) for panel in inference.panels], "dispute_height": inference.dispute_height,
        "appeal_until": inference.appeal_until, "appeal": _appeal_view(inference),
        "verdicts": [
            {
                "validator": v.validator.hex(), "valid": v.valid, "kind": v.kind.name.lower(), "reason": v.reason, "height": v.height,
                "llr_milli": v.llr_milli, "tokens": v.tokens,
            }
            for v in inference.revealed
        ],
        "fault": inference.fault, "blame_height": inference.blame_height,
        "price_micro": inference.price_micro, "escrow_micro": inference.escrow_micro, "charged_micro": inference.charged_micro,
        "paid_micro": inference.paid_micro, "refunded_micro": inference.refunded_micro,
    }


def _appeal_view(inference: Inference) -> dict[str, Any] | None:
    """None: nobody has appealed. appeal_until says until when its executor's owner may, while it is APPEALABLE."""
    found = inference.appeal
    if found is None:
        return None
    return {
        "account": found.account.hex(), "height": found.height, "bond_micro": found.bond_micro, "burnt_micro": found.burnt_micro,
    }


def notices_view(view: View, account: bytes, since: int) -> list[dict[str, Any]]:
    return [
        {"inference_id": n.inference_id.hex(), "what": n.what, "amount_micro": n.amount_micro, "height": n.height}
        for n in notices(view, account, since)
    ]


def prices_view(ctx: Context) -> list[dict[str, Any]]:
    """What a token of each model in use costs in the next block, and how much of the capacity the last window used (-1: there is none)."""
    found = []
    for spec in models(ctx.view):
        if spec.retired:
            continue
        used = utilisation_milli(ctx, spec)
        found.append({"model": spec.model, "price_micro": price_of(ctx.view, spec), "utilisation_milli": -1 if used is None else used})
    return found


def _panel_view(panel: Panel) -> dict[str, Any]:
    return {
        "height": panel.height, "committee": [node.hex() for node in panel.members], "closes": panel.closes,
        "revealing": panel.revealing, "committed": [seen.validator.hex() for seen in panel.commits],
        "revealed": [seen.validator.hex() for seen in panel.verdicts],
    }


def verification_view(view: View, genesis: Genesis, height: int) -> dict[str, Any]:
    """How well the network checks, and each participant's standing in the running epoch."""
    counters = view.counters()
    return {
        "height": height, "epoch": epoch_of(genesis, height + 1), "honest": counters.honest, "false_alarms": counters.false_alarms,
        "cheats": counters.cheats, "conviction_milli": parameters.checks(view, genesis).conviction_milli,
        "faults": [{"fault": f.fault, "planted": f.planted, "checked": f.checked, "caught": f.caught} for f in counters.faults],
        "participants": [_standing_view(view, genesis, participant) for participant in view.participants()],
    }


def _standing_view(view: View, genesis: Genesis, participant: Participant) -> dict[str, Any]:
    seen = view.standing(participant.node)
    return {
        "node": participant.node.hex(), "owner": participant.owner.hex(), "weight": participant.weight,
        "reputation": participant.reputation, "reputations": [asdict(row) for row in participant.reputations],
        "strikes": participant.strikes, "misses": participant.misses,
        "finished": seen.finished, "booked": seen.booked, "booked_before": seen.booked_before, "checked": seen.checked,
        "checked_tokens": seen.checked_tokens, "struck": seen.struck, "plants": seen.plants, "log_e_milli": seen.evidence.log_milli(),
        "compared": seen.compared, "outliers": seen.outliers,
        "faults": seen.faults, "missed_faults": seen.missed_faults, "detection_log_e_milli": seen.detection.log_milli(),
        "distance_log_e_milli": seen.distance.log_milli(), "duties": seen.duties, "missed": seen.missed,
        "missed_log_e_milli": seen.present.log_milli(), "withheld": seen.withheld, "withheld_log_e_milli": seen.shown.log_milli(),
        "watched_until": seen.watched_until,
        "convicted": participant.convicted_until > 0, "convicted_until": participant.convicted_until,
        "convicted_reason": participant.convicted_reason, "barred": participant.barred_until > 0,
        "barred_until": participant.barred_until, "barred_reason": participant.barred_reason,
        "paired": seen.paired, "differ": seen.differ, "unfinished": seen.unfinished, "suspended": participant.suspended_until > 0,
        "suspended_until": participant.suspended_until, "suspended_reason": participant.suspended_reason,
        "convictions": participant.convictions, "clean_epochs": participant.clean_epochs, "open_cases": len(open_disputes(view, participant.node)),
        "excluded": _excluded(view, genesis, participant),
    }


def _excluded(view: View, genesis: Genesis, participant: Participant) -> str:
    """Why it serves nobody and when it returns, for people; empty when it is not excluded."""
    found, least = [], parameters.economy(view, genesis).collateral_min_micro
    if participant.convicted_until:
        found.append(
            f"excluded until height {participant.convicted_until}, because {participant.convicted_reason}; returns with reputation 0"
        )
    if participant.collateral_micro < least:
        missing = least - participant.collateral_micro
        found.append(f"excluded until {missing} micro-credits are deposited, because its collateral is below {least}")
    return "; ".join(found)
