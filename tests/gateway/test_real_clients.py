"""Clients from PyPI, as their users install them, against the gateway on a port of this machine."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pytest
import trio

from p2p.base.errors import Overloaded
from p2p.gateway.app import new_app
from p2p.gateway.core.backend import Asked
from p2p.gateway.http.server import HttpServer
from p2p.gateway.keys import Keys
from tests.gateway.scripted import Answer, ScriptedBackend, calling, shown

KEY = "local-key-1"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@contextmanager
def gateway(backend: ScriptedBackend) -> Iterator[str]:
    """The address of a gateway, which runs in a thread of its own."""
    bound, stop = socket.create_server(("127.0.0.1", 0)), Event()

    async def run() -> None:
        bound.setblocking(False)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(bound))
        over = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(HttpServer(new_app(backend, Keys([KEY]))).serve, [listener], over)
            await trio.to_thread.run_sync(stop.wait)
            over.set()

    thread = Thread(target=trio.run, args=(run,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        stop.set()
        thread.join()


@contextmanager
def openai_client(say: Callable[[Asked], Answer] | ScriptedBackend, **more: Any) -> Iterator[Any]:
    openai = pytest.importorskip("openai")
    backend = say if isinstance(say, ScriptedBackend) else ScriptedBackend(say)
    with gateway(backend) as url, openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, **more) as client:
        yield client


@contextmanager
def anthropic_client(say: Callable[[Asked], Answer], **more: Any) -> Iterator[Any]:
    anthropic = pytest.importorskip("anthropic")
    with gateway(ScriptedBackend(say)) as url, anthropic.Anthropic(base_url=url, api_key=KEY, **more) as client:
        yield client


def weather(asked: Asked) -> Answer:
    """Calls the tool, and says what it said."""
    prompt = shown(asked.body)
    return Answer("It is sunny." if "tool: " in prompt else calling(("weather", {"city": "Oslo"})))


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


# -- openai


def test_openai_lists_and_names_models() -> None:
    with openai_client(lambda asked: Answer()) as client:
        assert [model.id for model in client.models.list()] == ["tiny", "tiny-base"]
        assert client.models.retrieve("tiny").owned_by == "folkmoot"


def test_openai_chats() -> None:
    with openai_client(lambda asked: Answer("Hello")) as client:
        found = client.chat.completions.create(model="tiny", messages=user("hi"))
        assert found.choices[0].message.content == "Hello"
        assert found.usage.total_tokens == found.usage.prompt_tokens + 6
        raw = client.chat.completions.with_raw_response.create(model="tiny", messages=user("hi"))
        assert len(raw.headers["x-folkmoot-inference"]) == 64
        assert raw.parse()._request_id == raw.headers["x-request-id"]


def test_openai_streams_with_usage() -> None:
    with openai_client(lambda asked: Answer("Hello wörld")) as client:
        chunks = list(client.chat.completions.create(
            model="tiny", messages=user("hi"), stream=True, stream_options={"include_usage": True},
        ))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "Hello wörld"
        assert chunks[-1].usage.completion_tokens == 12


def test_openai_helper_joins_a_stream() -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]
    with openai_client(weather) as client:
        with client.chat.completions.stream(model="tiny", messages=user("Oslo?"), tools=tools) as stream:
            stream.until_done()
            message = stream.get_final_completion().choices[0].message
        assert json.loads(message.tool_calls[0].function.arguments) == {"city": "Oslo"}


def test_openai_runs_a_tool() -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]
    with openai_client(weather) as client:
        turns: list[Any] = user("Oslo?")
        first = client.chat.completions.create(model="tiny", messages=turns, tools=tools).choices[0]
        assert first.finish_reason == "tool_calls"
        turns += [first.message, {"role": "tool", "tool_call_id": first.message.tool_calls[0].id, "content": "sunny"}]
        second = client.chat.completions.create(model="tiny", messages=turns, tools=tools)
        assert second.choices[0].message.content == "It is sunny."


def test_openai_reads_structured_output() -> None:
    pydantic = pytest.importorskip("pydantic")
    city = pydantic.create_model("City", name=(str, ...))
    with openai_client(lambda asked: Answer('{"name":"Oslo"}')) as client:
        found = client.chat.completions.parse(model="tiny", messages=user("?"), response_format=city)
        assert found.choices[0].message.parsed.name == "Oslo"


def test_openai_completes() -> None:
    with openai_client(lambda asked: Answer(" upon a time")) as client:
        assert client.completions.create(model="tiny-base", prompt="Once").choices[0].text == " upon a time"
        parts = client.completions.create(model="tiny-base", prompt="Once", stream=True)
        assert "".join(part.choices[0].text for part in parts) == " upon a time"


def test_openai_responds_and_continues() -> None:
    backend = ScriptedBackend(lambda asked: Answer("Hello Ann"))
    with openai_client(backend) as client:
        first = client.responses.create(model="tiny", input="I am Ann.", instructions="be brief")
        assert (first.output_text, first.status) == ("Hello Ann", "completed")
        client.responses.create(model="tiny", input="Who am I?", previous_response_id=first.id)
        assert shown(backend.asked[1].body) == "user: I am Ann.\nassistant: Hello Ann\nuser: Who am I?\n"


def test_openai_streams_responses_and_calls() -> None:
    tools = [{"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": True}]
    with openai_client(weather) as client:
        with client.responses.stream(model="tiny", input="Oslo?", tools=tools) as stream:
            for _ in stream:
                pass
            call = stream.get_final_response().output[0]
        assert (call.type, json.loads(call.arguments)) == ("function_call", {"city": "Oslo"})
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        second = client.responses.create(model="tiny", input=[*user("Oslo?"), call, result], tools=tools)
        assert second.output_text == "It is sunny."


def test_openai_parses_a_response() -> None:
    pydantic = pytest.importorskip("pydantic")
    city = pydantic.create_model("City", name=(str, ...))
    with openai_client(lambda asked: Answer('{"name":"Oslo"}')) as client:
        assert client.responses.parse(model="tiny", input="?", text_format=city).output_parsed.name == "Oslo"


def test_openai_raises_its_own_errors() -> None:
    openai = pytest.importorskip("openai")
    with openai_client(lambda asked: Answer(), max_retries=0) as client:
        with pytest.raises(openai.NotFoundError) as missing:
            client.chat.completions.create(model="gpt-4", messages=user("hi"))
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as bad:
            client.chat.completions.create(model="tiny", messages=user("hi"), temperature=3)
        assert (bad.value.param, bad.value.type) == ("temperature", "invalid_request_error")
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="wrong").models.list()


@pytest.mark.parametrize("size", [5_000_000, 100_000_000])
def test_openai_reads_that_its_request_is_too_large(size: int) -> None:
    openai = pytest.importorskip("openai")
    with openai_client(lambda asked: Answer(), max_retries=0) as client, pytest.raises(openai.APIStatusError) as error:
        client.chat.completions.create(model="tiny", messages=user("x" * size))
    assert (error.value.status_code, error.value.code) == (413, "request_too_large")


def test_openai_raises_an_error_in_a_stream() -> None:
    openai = pytest.importorskip("openai")
    say = Answer("Hel", fail_after=Overloaded("all are busy"))
    with openai_client(lambda asked: say) as client, pytest.raises(openai.APIError, match="all are busy"):
        list(client.chat.completions.create(model="tiny", messages=user("hi"), stream=True))


def test_openai_asks_again_where_all_are_busy() -> None:
    backend = ScriptedBackend()
    backend.say = lambda asked: Answer(fail_first=Overloaded("busy") if len(backend.asked) == 1 else None)
    with openai_client(backend, max_retries=1) as client:
        assert client.chat.completions.create(model="tiny", messages=user("hi")).choices[0].message.content
    assert len(backend.asked) == 2


# -- anthropic


def test_anthropic_lists_models() -> None:
    with anthropic_client(lambda asked: Answer()) as client:
        assert [model.id for model in client.models.list()] == ["tiny", "tiny-base"]


def test_anthropic_messages() -> None:
    with anthropic_client(lambda asked: Answer("Hello", cached=2)) as client:
        found = client.messages.create(
            model="tiny", max_tokens=20, messages=user("hi"),
            system=[{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
        )
        assert (found.content[0].text, found.stop_reason) == ("Hello", "end_turn")
        assert (found.usage.cache_read_input_tokens, found.usage.output_tokens) == (2, 6)


def test_anthropic_streams() -> None:
    with (
        anthropic_client(lambda asked: Answer("Hello wörld")) as client,
        client.messages.stream(model="tiny", max_tokens=20, messages=user("hi")) as stream,
    ):
        assert "".join(stream.text_stream) == "Hello wörld"
        assert stream.get_final_message().usage.output_tokens == 12


def test_anthropic_runs_a_tool() -> None:
    tools = [{"name": "weather", "input_schema": PARAMETERS}]
    with anthropic_client(weather) as client:
        with client.messages.stream(model="tiny", max_tokens=99, messages=user("Oslo?"), tools=tools) as stream:
            first = stream.get_final_message()
        assert (first.stop_reason, first.content[0].input) == ("tool_use", {"city": "Oslo"})
        result = {"type": "tool_result", "tool_use_id": first.content[0].id, "content": "sunny"}
        turns = [*user("Oslo?"), {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
        second = client.messages.create(model="tiny", max_tokens=99, messages=turns, tools=tools)
        assert second.content[0].text == "It is sunny."


def test_anthropic_counts_tokens() -> None:
    with anthropic_client(lambda asked: Answer()) as client:
        assert client.messages.count_tokens(model="tiny", messages=user("hi")).input_tokens == len("user: hi\n")


def test_anthropic_raises_its_own_errors() -> None:
    anthropic = pytest.importorskip("anthropic")
    with anthropic_client(lambda asked: Answer(), max_retries=0) as client:
        with pytest.raises(anthropic.NotFoundError):
            client.messages.create(model="claude", max_tokens=1, messages=user("hi"))
        with pytest.raises(anthropic.BadRequestError, match=r"thinking\.type"):
            client.messages.create(
                model="tiny", max_tokens=2000, messages=user("hi"), thinking={"type": "enabled", "budget_tokens": 1024},
            )
        with pytest.raises(anthropic.AuthenticationError):
            client.with_options(api_key="wrong").models.list()
