"""Answers of /v1/responses that later requests may continue. Law: bounded by number and by text; the least used one is
forgotten first, and nothing is kept on disk."""

from __future__ import annotations

from collections import OrderedDict

from p2p.base.body import ChatMessage
from p2p.base.serving_limits import MAX_STORED_RESPONSES, MAX_STORED_TEXT
from p2p.gateway.core.refusals import NotFound

Turns = tuple[ChatMessage, ...]


class Stored:
    """Conversations by the id of the response that they end with."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Turns] = OrderedDict()
        self._size = 0  # characters

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, response_id: str, turns: Turns) -> None:
        """Remember a conversation."""
        self._kept[response_id] = turns
        self._size += size_of(turns)
        while len(self._kept) > MAX_STORED_RESPONSES or self._size > MAX_STORED_TEXT:
            _, old = self._kept.popitem(last=False)
            self._size -= size_of(old)

    def conversation(self, response_id: str) -> Turns:
        """The conversation up to the end of that response. Raises NotFound(field='previous_response_id')."""
        if response_id not in self._kept:
            raise NotFound(
                f"no response {response_id[:80]!r} is remembered here (store: false, long ago, or before a restart); "
                "send the earlier turns as input", field="previous_response_id", code="previous_response_not_found",
            )
        self._kept.move_to_end(response_id)
        return self._kept[response_id]


def size_of(turns: Turns) -> int:
    """Characters of a conversation."""
    return sum(len(one.content) + sum(len(call.arguments) for call in one.calls) for one in turns)
