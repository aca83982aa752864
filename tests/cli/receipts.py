"""Receipts for tests of what a command prints."""

from __future__ import annotations

from p2p.base.types import FinishReason
from p2p.client.draw_check import Known
from p2p.client.receipt import Receipt


def receipt(*problems: str, peer: str = "peer") -> Receipt:
    """checked where there are no problems."""
    node = bytes(32)
    return Receipt(
        node, node, node, peer, node, node, 5, 1, FinishReason.STOP, 7, bytes(64), 100, Known.PROVED, (node,), problems,
    )
