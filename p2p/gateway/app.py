"""The gateway's application: every path, behind the gate.

Law: this file joins, it decides nothing. What a path does is in answer.py or in one function here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import trio
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route, Router

from p2p.base.errors import FolkmootError, InvalidRequest, Unavailable
from p2p.gateway.adapters.models import model, model_list
from p2p.gateway.answer import Endpoint, Shared, card_of
from p2p.gateway.apis import all_apis
from p2p.gateway.core.backend import Backend
from p2p.gateway.core.request import GatewayRequest, to_questions
from p2p.gateway.core.sessions import Sessions
from p2p.gateway.exchange import headers_of, read_body, send_bytes, send_json
from p2p.gateway.gate import Gate
from p2p.gateway.http.asgi import App, Receive, Scope, Send
from p2p.gateway.kept_responses import KeptResponses
from p2p.gateway.keys import Keys
from p2p.gateway.metrics import CONTENT_TYPE, Metrics
from p2p.gateway.stored import Stored
from p2p.gateway.types import messages, responses
from p2p.metrics.registry import Registry

_SHOWN = ("x-request-id", "retry-after", "x-folkmoot-inference", "x-folkmoot-executor", "x-folkmoot-price",
          "x-folkmoot-ignored", "server-timing")  # headers that a web page may read


def new_app(
    backend: Backend, keys: Keys | None = None, origins: Collection[str] = (),
    connections: Callable[[], int] = lambda: 0, registry: Registry | None = None,
) -> App:
    """The application. origins: of web pages that may ask; none by default. connections: how many are open. registry:
    of the peer that the gateway is a part of."""
    sessions = Sessions(backend.new_session)
    shared = Shared(backend, sessions, Metrics(connections, lambda: len(sessions), registry))
    stored = Stored()
    apis, paths, kept = all_apis(stored), _Paths(shared, stored), KeptResponses(stored)
    routes = [Route(api.path, Endpoint(api, shared), methods=["POST"]) for api in apis]
    routes += [
        Route("/v1/messages/count_tokens", _App(paths.count_tokens), methods=["POST"]),
        Route("/v1/responses/input_tokens", _App(paths.input_tokens), methods=["POST"]),
        Route("/v1/responses/compact", _App(kept.compact), methods=["POST"]),
        Route("/v1/responses/{id}", _App(kept.response), methods=["GET", "DELETE"]),
        Route("/v1/responses/{id}/input_items", _App(kept.input_items), methods=["GET"]),
        Route("/v1/responses/{id}/cancel", _App(kept.cancel), methods=["POST"]),
        Route("/v1/models", _App(paths.models), methods=["GET"]),
        Route("/v1/models/{name:path}", _App(paths.model), methods=["GET"]),
        Route("/v1/folkmoot/inferences/{id}", _App(paths.inference), methods=["GET"]),
        Route("/v1/folkmoot/inferences/{id}/proof", _App(paths.proof), methods=["GET"]),
        Route("/v1/folkmoot/account", _App(paths.account), methods=["GET"]),
        Route("/health", _App(paths.health), methods=["GET"]),
        Route("/ready", _App(paths.ready), methods=["GET"]),
        Route("/metrics", _App(paths.metrics), methods=["GET"]),
    ]
    names = {api.path: api.name for api in apis} | {
        "/v1/messages/count_tokens": "count_tokens", "/v1/models": "models", "/v1/models/": "models",
        "/v1/responses/input_tokens": "count_tokens", "/v1/responses/": "responses",
        "/v1/folkmoot/inferences/": "inferences",
    }
    router = Router(routes, redirect_slashes=False, default=_unknown)
    gate = Gate(router, keys or Keys(), shared.metrics, origins, names)
    if not origins:
        return gate
    return CORSMiddleware(
        gate, allow_origins=list(origins), allow_methods=["GET", "POST"], allow_headers=["*"], expose_headers=_SHOWN,
    )


class _App:
    """An application of one function: no more than Starlette needs to tell it from a view."""

    def __init__(self, answer: App) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(scope, receive, send)


def _wanted_id(scope: Scope) -> str:
    wanted = str(scope["path_params"]["id"]).lower()
    if len(wanted) != 64 or not set(wanted) <= set("0123456789abcdef"):
        raise InvalidRequest("give the 64 hexadecimal digits of X-Folkmoot-Inference", field="id")
    return wanted


async def _unknown(scope: Scope, receive: Receive, send: Send) -> None:
    raise HTTPException(404)


class _Paths:
    """The paths that answer with something else than the network's words."""

    def __init__(self, shared: Shared, stored: Stored) -> None:
        self._shared = shared
        self._stored = stored
        self._backend = shared.backend

    async def models(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, model_list(await self._backend.models()))

    async def model(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, model(await card_of(self._backend, scope["path_params"]["name"])))

    async def count_tokens(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        request = messages.read(await read_body(headers, receive), headers, counts_only=True)
        await send_json(send, {"input_tokens": await self._tokens_of(request)})

    async def input_tokens(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        request = responses.read(await read_body(headers, receive), headers, self._stored).request
        await send_json(send, {"object": "response.input_tokens", "input_tokens": await self._tokens_of(request)})

    async def _tokens_of(self, request: GatewayRequest) -> int:
        """Tokens of the prompt."""
        card, text = await card_of(self._backend, request.model), await self._backend.text(request.model)
        questions = await trio.to_thread.run_sync(to_questions, request, card, text)
        return questions[0].prompt_tokens

    async def inference(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, await self._backend.inference(_wanted_id(scope)))

    async def proof(self, scope: Scope, receive: Receive, send: Send) -> None:
        wanted = _wanted_id(scope)
        name = f'attachment; filename="{wanted[:12]}.proof"'
        more = [(b"content-disposition", name.encode()), (b"cache-control", b"no-store")]
        await send_bytes(send, await self._backend.proof(wanted), b"application/cbor", 200, more)

    async def account(self, scope: Scope, receive: Receive, send: Send) -> None:
        card = await self._backend.account()
        await send_json(send, {"account": card.account, "balance_micro": card.balance_micro})

    async def health(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, {"status": "ok"})

    async def ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Whether a request could be answered and paid for now."""
        try:
            served, account = await self._backend.models(), await self._backend.account()
        except FolkmootError as error:
            raise Unavailable(error.message, field=error.field) from error
        if not served:
            raise Unavailable("no model is served", field="model")
        if account.balance_micro <= 0:
            raise Unavailable(f"the account {account.account} has no credits; send it some", field="account")
        await send_json(send, {"status": "ready", "models": len(served)})

    async def metrics(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_bytes(send, self._shared.metrics.text(), CONTENT_TYPE.encode())
