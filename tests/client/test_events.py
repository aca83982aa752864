"""The lines of `folkmoot ask --json` keep their names."""

from __future__ import annotations

import json

import pytest

from p2p.client.events import (
    Accepted,
    Busy,
    Declined,
    Done,
    Event,
    PeerFailed,
    Resumed,
    Token,
    Trying,
    Waiting,
    plain,
)
from p2p.verification.artifact import Position
from tests.cli.receipts import receipt

NODE, HEX = bytes(range(32)), bytes(range(32)).hex()


@pytest.mark.parametrize(("event", "line"), [
    (Waiting(1.5, "full", 7), {"event": "waiting", "wait_s": 1.5, "reason": "full", "left": 7}),
    (Accepted(NODE, NODE, 7, NODE, (NODE, NODE)), {
        "event": "accepted", "inference_id": HEX, "agent": HEX, "draw_height": 7, "beacon": HEX,
        "candidates": [HEX, HEX],
    }),
    (Trying(NODE, "peer"), {"event": "executor", "node": HEX, "peer_id": "peer"}),
    (Busy(NODE, "full"), {"event": "busy", "node": HEX, "reason": "full"}),
    (Declined(NODE, "silent"), {"event": "failed", "node": HEX, "reason": "silent"}),
    (Token("a", 7), {"event": "token", "text": "a", "token": 7}),
    (Token("a", 7, Position(7, -0.5, ((7, -0.5), (8, -1.0)), -2.0)), {
        "event": "token", "text": "a", "token": 7,
        "row": {"token": 7, "logprob": -0.5, "top": [[7, -0.5], [8, -1.0]], "tail": -2.0},
    }),
    (PeerFailed("peer", "unavailable", "gone", 2), {
        "event": "peer_failed", "peer": "peer", "code": "unavailable", "reason": "gone", "left": 2,
    }),
    (Resumed("peer", NODE, 5), {"event": "resumed", "peer": "peer", "continues": HEX, "tokens": 5}),
], ids=lambda value: type(value).__name__)
def test_an_event_as_json(event: Event, line: dict[str, object]) -> None:
    assert json.loads(json.dumps(plain(event))) == line


def test_a_receipt_as_json() -> None:
    zero = "00" * 32
    line = plain(Done(receipt(), "text"))
    assert list(line) == ["event", "receipt", "text"]
    assert line["receipt"] == {
        "inference_id": zero, "executor": zero, "agent": zero, "peer": "peer", "artifact_root": zero,
        "output_hash": zero, "prompt_tokens": 5, "output_tokens": 1, "finish_reason": "stop", "draw_height": 7,
        "signature": "00" * 64, "artifact_bytes": 100, "draw": "proved", "passed_over": [zero],
        "continues": [], "cached": 0,
        "checked": True,
        "problems": [],
    }
    assert list(line["receipt"])[-2:] == ["checked", "problems"], "what people look for comes last"
    assert plain(Done(receipt("wrong"), ""))["receipt"]["checked"] is False
    assert plain(Done(receipt(), "text", "\n\n"))["stop"] == "\n\n"
