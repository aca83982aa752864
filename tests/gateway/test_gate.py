"""Who may use the gateway, and what every answer has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import trio

from p2p.base.errors import ConfigError
from p2p.base.serving_limits import MAX_HTTP_REQUESTS
from p2p.gateway.app import new_app
from p2p.gateway.keys import Keys, load_keys
from tests.gateway.asking import ask, chat
from tests.gateway.scripted import Answer, ScriptedBackend, inference

CHAT = "/v1/chat/completions"
DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


@pytest.mark.parametrize(("headers", "status"), [
    ({}, 401), ({"Authorization": "Bearer key-number-1"}, 200), ({"authorization": "bearer key-number-2"}, 200),
    ({"x-api-key": "key-number-1"}, 200), ({"Authorization": "Bearer key-number-3"}, 401),
    ({"Authorization": "Basic key-number-1"}, 401), ({"x-api-key": "key-number-"}, 401),
])
@pytest.mark.parametrize("path", ["/v1/models", "/metrics"])
async def test_a_key_is_needed_where_there_are_keys(headers: dict[str, str], status: int, path: str) -> None:
    app = new_app(ScriptedBackend(), Keys(["key-number-1", "key-number-2"]))
    reply = await ask(app, path, headers={"Host": "my-server.example", **headers})
    assert reply.status == status
    assert ("www-authenticate" in reply.headers) == (status == 401)


@pytest.mark.parametrize("path", ["/health", "/ready"])
async def test_a_probe_needs_no_key(path: str) -> None:
    assert (await ask(new_app(ScriptedBackend(), Keys(["key-number-1"])), path)).status == 200


@pytest.mark.parametrize(("host", "status"), [
    ("127.0.0.1:8000", 200), ("localhost", 200), ("LOCALHOST:1", 200), ("[::1]:8000", 200), ("", 200),
    ("evil.example", 403), ("evil.example:8000", 403), ("127.0.0.1.evil.example", 403),
])
async def test_without_keys_only_names_of_this_machine_are_served(host: str, status: int) -> None:
    """A page may point a name of its own at 127.0.0.1."""
    assert (await ask(ScriptedBackend(), "/v1/models", headers={"Host": host})).status == status


@pytest.mark.parametrize(("host", "origin", "status"), [
    ("127.0.0.1:8000", "http://127.0.0.1:8000", 200), ("localhost:8000", "http://localhost:8000", 200),
    ("127.0.0.1:8000", "http://127.0.0.1:9000", 403), ("127.0.0.1:8000", "http://localhost:8000", 403),
    ("evil.example:8000", "http://evil.example:8000", 403), ("", "http://", 403), ("127.0.0.1:8000", "null", 403),
])
async def test_a_page_of_this_very_port_may_ask_but_not_under_a_foreign_name(
    host: str, origin: str, status: int
) -> None:
    reply = await ask(ScriptedBackend(), CHAT, chat(), headers={"Host": host, "Origin": origin})
    assert reply.status == status


async def test_a_page_of_this_very_port_needs_the_key_too() -> None:
    app = new_app(ScriptedBackend(), Keys(["key-number-1"]))
    page = {"Host": "village.example", "Origin": "https://village.example"}
    assert (await ask(app, CHAT, chat(), headers=page)).status == 401
    assert (await ask(app, CHAT, chat(), headers={**page, "x-api-key": "key-number-1"})).status == 200


async def test_pages_may_ask_only_where_they_are_allowed_to() -> None:
    origin = {"Origin": "https://a.example"}
    closed = await ask(ScriptedBackend(), CHAT, chat(), headers=origin)
    assert closed.status == 403
    assert "access-control-allow-origin" not in closed.headers
    app = new_app(ScriptedBackend(), origins=["https://a.example"])
    allowed = await ask(app, CHAT, chat(), headers=origin)
    assert (allowed.status, allowed.headers["access-control-allow-origin"]) == (200, "https://a.example")
    assert (await ask(app, CHAT, chat(), headers={"Origin": "https://b.example"})).status == 403
    preflight = await ask(app, CHAT, method="OPTIONS", headers=origin | {"Access-Control-Request-Method": "POST"})
    assert preflight.status == 200


def test_a_key_file_has_a_key_a_line(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# mine\nkey-number-1\n\n  key-number-2 \n")
    keys = load_keys(file)
    keys.check({"x-api-key": "key-number-2"})
    for wrong in ("", "short\n", "with a blank in it\n", "kéy-number-1\n"):
        file.write_text(wrong)
        with pytest.raises(ConfigError):
            load_keys(file)
    with pytest.raises(ConfigError):
        load_keys(tmp_path / "missing")


@pytest.mark.parametrize("wanted", ["", "a" * 200, "a b", "a\nb", "ä"])
async def test_an_odd_request_id_is_replaced(wanted: str) -> None:
    reply = await ask(ScriptedBackend(), "/health", headers={"X-Request-ID": wanted})
    assert re.fullmatch("req_[0-9a-f]{32}", reply.headers["x-request-id"])


async def test_more_requests_than_there_is_room_for_are_told_to_wait() -> None:
    go_on = trio.Event()
    backend = ScriptedBackend(lambda asked: Answer(pause=go_on.wait))
    app, statuses = new_app(backend), []

    async def one() -> None:
        statuses.append((await ask(app, CHAT, chat())).status)

    async with trio.open_nursery() as nursery:
        for _ in range(MAX_HTTP_REQUESTS):
            nursery.start_soon(one)
        while backend.running < MAX_HTTP_REQUESTS:
            await trio.lowlevel.checkpoint()
        reply = await ask(app, CHAT, chat())
        assert (reply.status, reply.headers["retry-after"]) == (429, "1")
        assert (await ask(app, "/health")).status == 200
        go_on.set()
    assert statuses == [200] * MAX_HTTP_REQUESTS
    assert (await ask(app, CHAT, chat())).status == 200


async def test_a_fault_of_the_program_tells_nothing_of_its_inside() -> None:
    def fault(asked: object) -> Answer:
        raise ValueError("a secret")

    reply = await ask(ScriptedBackend(fault), CHAT, chat())
    assert (reply.status, reply.error["code"]) == (500, "internal_error")
    assert b"secret" not in reply.body
    assert reply.headers["x-request-id"] in reply.error["message"]


@pytest.mark.parametrize(("path", "method", "status"), [
    ("/v1/nothing", "GET", 404), ("/", "GET", 404), (CHAT, "GET", 405), ("/health", "POST", 405),
    ("/v1/models/none", "GET", 404), ("/v1/messages", "GET", 405),
])
async def test_an_unknown_path_or_method_is_told(path: str, method: str, status: int) -> None:
    reply = await ask(ScriptedBackend(), path, method=method)
    assert reply.status == status
    assert ("allow" in reply.headers) == (status == 405)


async def test_an_inference_says_what_became_of_it() -> None:
    assert (await ask(ScriptedBackend(), f"/v1/folkmoot/inferences/{inference(0)}")).json["outcome"] == "VALID"
    assert (await ask(ScriptedBackend(), f"/v1/folkmoot/inferences/{inference(7)}")).status == 400
    assert (await ask(ScriptedBackend(), "/v1/folkmoot/inferences/xyz")).error["param"] == "id"


async def test_it_is_ready_where_models_are_served_and_paid_for() -> None:
    assert (await ask(ScriptedBackend(), "/ready")).status == 200
    assert (await ask(ScriptedBackend(cards=()), "/ready")).status == 503
    poor = await ask(ScriptedBackend(balance=0), "/ready")
    assert (poor.status, poor.error["param"]) == (503, "account")
    assert (await ask(ScriptedBackend(balance=5), "/v1/folkmoot/account")).json["balance_micro"] == 5


async def test_every_series_is_there_from_the_start_and_counts() -> None:
    app = new_app(ScriptedBackend())
    before = (await ask(app, "/metrics")).body.decode()
    assert 'folkmoot_gateway_requests_total{api="chat_completions",status="200"} 0.0' in before
    assert 'folkmoot_gateway_requests_total{api="messages",status="429"} 0.0' in before
    await ask(app, CHAT, chat())
    await ask(app, CHAT, chat(n=0))
    await ask(app, "/x" * 100)
    after = (await ask(app, "/metrics")).body.decode()
    for line in (
        'folkmoot_gateway_requests_total{api="chat_completions",status="200"} 1.0',
        'folkmoot_gateway_requests_total{api="chat_completions",status="400"} 1.0',
        'folkmoot_gateway_requests_total{api="other",status="404"} 1.0',
        'folkmoot_gateway_tokens_total{kind="completion"} 13.0', "folkmoot_gateway_sessions 1.0",
        'folkmoot_gateway_first_token_seconds_count{api="chat_completions"} 1.0',
    ):
        assert line in after

    def series(text: str) -> set[str]:
        return {line.rsplit(" ", 1)[0] for line in text.splitlines() if not line.startswith("#")}

    assert series(before) == series(after)


async def test_the_documented_metrics_are_those_that_there_are() -> None:
    text = (await ask(ScriptedBackend(), "/metrics")).body.decode()
    found = {name for name in re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE) if not name.endswith("_created")}
    assert set(re.findall(r"^\| `(folkmoot_gateway_\w+)`", DOCS.read_text(), re.MULTILINE)) == found


@pytest.mark.parametrize(("path", "advice"), [
    ("/chat/completions", "with /v1 at its end"), ("/models", "with /v1 at its end"),
    ("/v1/v1/messages", "without /v1"), ("/v1/responses/compact", "shorten the input"),
    ("/v1/embeddings", "docs/gateway.md"),
])
async def test_a_wrong_base_address_is_told(path: str, advice: str) -> None:
    reply = await ask(ScriptedBackend(), path, method="POST")
    assert reply.status == 404
    assert advice in reply.error["message"]


@pytest.mark.parametrize(("path", "body"), [("/v1/models/", None), ("/v1/models/tiny/", None), (f"{CHAT}/", chat())])
async def test_a_slash_at_the_end_changes_nothing(path: str, body: object) -> None:
    found = (await ask(ScriptedBackend(), path, body)).json
    assert set(found) == set((await ask(ScriptedBackend(), path[:-1], body)).json)
    assert "error" not in found


@pytest.mark.parametrize("path", ["/v1/models/nope", "/v1/messages/batches", "/v1/complete"])
async def test_an_error_speaks_the_callers_api(path: str) -> None:
    reply = await ask(ScriptedBackend(), path, headers={"anthropic-version": "2023-06-01"})
    assert (reply.status, reply.json["type"], reply.error["type"]) == (404, "error", "not_found_error")


@pytest.mark.parametrize("path", ["//v1/models", "/v1//models", "/v1/models//"])
async def test_addresses_that_were_joined_carelessly_are_understood(path: str) -> None:
    assert (await ask(ScriptedBackend(), path)).json["object"] == "list"


async def test_a_mark_of_utf_8_before_the_json_is_no_part_of_it() -> None:
    raw = b"\xef\xbb\xbf" + json.dumps(chat()).encode()
    assert (await ask(ScriptedBackend(), CHAT, raw=raw)).status == 200
