"""Answers of /v1/models. Law: one form that the clients of OpenAI, vLLM and Anthropic all read: each finds its own
members, and Folkmoot's are more of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from p2p.gateway.core.backend import ModelCard

OWNER = "folkmoot"


def model_list(cards: Sequence[ModelCard]) -> dict[str, Any]:
    """All models."""
    data = [model(card) for card in cards]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"object": "list", "data": data, "has_more": False, "first_id": first, "last_id": last}


def model(card: ModelCard) -> dict[str, Any]:
    """One model."""
    created = datetime.fromtimestamp(card.created, UTC).isoformat().replace("+00:00", "Z")
    return {
        "id": card.name, "object": "model", "created": card.created, "owned_by": OWNER,
        "type": "model", "display_name": card.name, "created_at": created,
        "max_model_len": card.context_tokens, "max_input_tokens": card.context_tokens,
        "price_micro": card.price_micro, "tool_format": card.tool_format, "has_template": card.has_template,
    }
