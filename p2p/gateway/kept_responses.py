"""The paths below /v1/responses that ask about answers which were given before.

Law: what is remembered is answered as it was; whatever else OpenAI's API does there is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs

from p2p.base.errors import InvalidRequest
from p2p.gateway.core.fields import Fields
from p2p.gateway.core.refusals import NotFound
from p2p.gateway.exchange import send_bytes, send_json
from p2p.gateway.http.asgi import Receive, Scope, Send
from p2p.gateway.stored import Stored

_PAGE, _MOST = 20, 100  # items of one answer: where no limit is sent, and at most


class KeptResponses:
    """Of one gateway."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored

    async def response(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET or DELETE /v1/responses/ID."""
        wanted = scope["path_params"]["id"]
        if scope["method"] == "DELETE":
            self._stored.forget(wanted)
            await send_json(send, {"id": wanted, "object": "response", "deleted": True})
            return
        found = self._stored.response(wanted)
        if _query(scope).get("stream", "").lower() == "true":
            raise InvalidRequest("is not supported: the answer is complete; ask for it without stream", field="stream",
                                 code="unsupported_parameter")
        await send_bytes(send, found, b"application/json")

    async def input_items(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET /v1/responses/ID/input_items."""
        found, query = self._stored.inputs(scope["path_params"]["id"]), _query(scope)
        if Fields(query).one_of("order", ("asc", "desc"), "desc") == "desc":
            found.reverse()
        if after := query.get("after"):
            at = next((at for at, item in enumerate(found) if item["id"] == after), None)
            if at is None:
                raise InvalidRequest(f"no item {after[:80]!r} is in the input", field="after")
            found = found[at + 1 :]
        text = query.get("limit", str(_PAGE))
        limit = Fields({"limit": int(text) if text.isascii() and text.isdigit() and len(text) < 6 else text})
        page = found[: limit.whole("limit", 1, _MOST)]
        first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
        about = {"first_id": first, "last_id": last, "has_more": len(page) < len(found)}
        await send_json(send, {"object": "list", "data": page, **about})

    async def cancel(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /v1/responses/ID/cancel."""
        self._stored.response(scope["path_params"]["id"])
        raise InvalidRequest("only an answer in the background can be cancelled, and there are none; to end an answer, "
                             "close its connection", field="response_id")

    async def compact(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /v1/responses/compact."""
        raise NotFound("there is no /v1/responses/compact; shorten the input yourself", code="unknown_url")


def _query(scope: Scope) -> Mapping[str, str]:
    """The query's values by name; of several with one name, the last."""
    found = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=64)
    return {name: values[-1] for name, values in found.items()}
