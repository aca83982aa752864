"""Answers of /v1/responses that later requests may continue, name in parts, or ask for again. Law: bounded by number
and by text; the least used one is forgotten first, and nothing is kept on disk."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from p2p.base.body import ChatMessage
from p2p.base.errors import InvalidRequest
from p2p.base.serving_limits import MAX_STORED_RESPONSES, MAX_STORED_TEXT
from p2p.gateway.core.refusals import NotFound

Turns = tuple[ChatMessage, ...]
Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kept:
    """One answer."""

    turns: Turns  # the conversation up to its end
    response: bytes  # JSON, as it was answered
    inputs: bytes = b"[]"  # JSON, the items that it was asked with
    before: str = ""  # the response that it continues
    made: Mapping[str, Item] = field(default_factory=dict)  # items of the answer by their ids

    @property
    def size(self) -> int:
        """Characters, about."""
        return size_of(self.turns) + len(self.response) + len(self.inputs)


class Stored:
    """Answers by their ids."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._of_item: dict[str, str] = {}  # id of an item -> id of the response that made it
        self._size = 0  # characters

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, response: Mapping[str, Any], turns: Turns, inputs: object = ()) -> None:
        """Remember an answer. response: as it is answered. inputs: what the request said as `input`."""
        made = {item["id"]: item for item in response.get("output", ())}
        kept = Kept(
            turns, msgspec.json.encode(response), msgspec.json.encode(_with_ids(inputs)),
            response.get("previous_response_id") or "", made,
        )
        self._kept[response["id"]] = kept
        self._of_item |= dict.fromkeys(made, response["id"])
        self._size += kept.size
        while len(self._kept) > MAX_STORED_RESPONSES or self._size > MAX_STORED_TEXT:
            self._drop(next(iter(self._kept)))

    def conversation(self, response_id: str) -> Turns:
        """The conversation up to the end of that response. Raises InvalidRequest(field='previous_response_id')."""
        if response_id not in self._kept:
            raise InvalidRequest(  # 400, as the API itself says
                f"no response {response_id[:80]!r} is remembered here (store: false, long ago, or before a restart); "
                "send the earlier turns as input", field="previous_response_id", code="previous_response_not_found",
            )
        self._kept.move_to_end(response_id)
        return self._kept[response_id].turns

    def item(self, item_id: str) -> Item | None:
        """An item of an answer that is remembered."""
        found = self._of_item.get(item_id)
        if found is None:
            return None
        self._kept.move_to_end(found)
        return self._kept[found].made[item_id]

    def response(self, response_id: str) -> bytes:
        """The answer, as JSON. Raises NotFound(field='response_id')."""
        return self._get(response_id).response

    def inputs(self, response_id: str) -> list[Item]:
        """Every item before the answer, as far back as it is remembered; the oldest comes first. Raises NotFound."""
        kept: Kept | None = self._get(response_id)
        parts: list[list[Item]] = []
        while kept is not None:
            parts.append(msgspec.json.decode(kept.inputs))
            kept = self._kept.get(kept.before)
            if kept is not None:
                parts.append(list(kept.made.values()))
        return [item for part in reversed(parts) for item in part]

    def forget(self, response_id: str) -> None:
        """Raises NotFound(field='response_id')."""
        self._get(response_id)
        self._drop(response_id)

    def _get(self, response_id: str) -> Kept:
        if response_id not in self._kept:
            raise NotFound(
                f"no response {response_id[:80]!r} is remembered here (store: false, long ago, deleted, or before a "
                "restart)", field="response_id",
            )
        return self._kept[response_id]

    def _drop(self, response_id: str) -> None:
        old = self._kept.pop(response_id)
        self._size -= old.size
        for item_id in old.made:
            del self._of_item[item_id]


def _with_ids(inputs: object) -> list[Item]:
    """`input` as items that each have a type and an id."""
    if isinstance(inputs, str):
        inputs = [{"role": "user", "content": inputs}]
    assert isinstance(inputs, Sequence)
    found = []
    for item in inputs:
        said = {"type": "message"} | {name: value for name, value in item.items() if value is not None}
        if isinstance(said.get("content"), str):
            kind = "output_text" if said.get("role") == "assistant" else "input_text"
            said["content"] = [{"type": kind, "text": said["content"]}]
        found.append({"id": f"{'msg' if said['type'] == 'message' else 'item'}_{secrets.token_hex(16)}"} | said)
    return found


def size_of(turns: Turns) -> int:
    """Characters of a conversation."""
    return sum(len(one.content) + sum(len(call.arguments) for call in one.calls) for one in turns)
