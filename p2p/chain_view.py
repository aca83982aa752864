"""An inference as plain data for people and tools. Law: everything on chain about it, nothing else; bytes as hexadecimal."""

from __future__ import annotations

from typing import Any

from p2p.ledger.records import Inference


def inference_view(inference_id: bytes, inference: Inference) -> dict[str, Any]:
    """Keys as in the control operation `inference`."""
    finish = inference.finish.record if inference.finish else None
    return {
        "id": inference_id.hex(), "status": inference.status, "reason": inference.reason,
        "model": inference.signed_request.request.model, "account": inference.signed_request.request.account.hex(),
        "agent": inference.agent.hex(), "executor": finish.executor.hex() if finish else "",
        "draw_height": inference.draw_height, "candidates": [node.hex() for node in inference.candidates],
        "busy": [node.hex() for node in inference.busy],
        "start_height": inference.start_height, "finish_height": inference.finish_height,
        "output_height": inference.output_height, "end_height": inference.end_height,
        "output_matches": None if not (finish and inference.output_hash) else inference.output_hash == finish.output_hash,
        "artifact_root": finish.artifact_root.hex() if finish else "",
        "prompt_tokens": finish.prompt_tokens if finish else 0, "output_tokens": finish.output_tokens if finish else 0,
        "committee": [node.hex() for node in inference.committee], "committee_height": inference.committee_height,
        "verdicts": [
            {
                "validator": v.validator.hex(), "valid": v.valid, "reason": v.reason, "height": v.height,
                "margin_micro": v.margin_micro, "distance_micro": v.distance_micro,
            }
            for v in inference.verdicts
        ],
        "price_micro": inference.price_micro, "escrow_micro": inference.escrow_micro, "charged_micro": inference.charged_micro,
        "paid_micro": inference.paid_micro, "refunded_micro": inference.refunded_micro,
    }
