"""The compliance templates of the OpenResponses project, written anew from what they ask and what they demand.

Each sends one request to /v1/responses and checks every field that the specification requires of the answer, and of
each event of a stream. Three things differ from the originals, because a model of 135 million parameters is no matter
of the protocol: tools are asked for with tool_choice 'required', the temperature is 0 with at most MOST tokens, and
the questions are such that it comes to an end.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
from cases import BASE, CITIES, KEY, MODEL, PLACE, WEATHER, case

NULL = type(None)
NUMBER = (int, float)
# field -> its types; every one must be there (null where None is among the types)
RESPONSE: dict[str, tuple[type, ...]] = {
    "id": (str,), "object": (str,), "created_at": (int,), "completed_at": (int, NULL), "status": (str,),
    "incomplete_details": (dict, NULL), "model": (str,), "previous_response_id": (str, NULL),
    "instructions": (str, NULL), "output": (list,), "error": (dict, NULL), "tools": (list,), "tool_choice": (str, dict),
    "truncation": (str,), "parallel_tool_calls": (bool,), "text": (dict,), "top_p": NUMBER, "presence_penalty": NUMBER,
    "frequency_penalty": NUMBER, "top_logprobs": (int,), "temperature": NUMBER, "reasoning": (dict, NULL),
    "usage": (dict, NULL), "max_output_tokens": (int, NULL), "max_tool_calls": (int, NULL), "store": (bool,),
    "background": (bool,), "service_tier": (str,), "metadata": (object,), "safety_identifier": (str, NULL),
    "prompt_cache_key": (str, NULL),
}
USAGE: dict[str, tuple[type, ...]] = {
    "input_tokens": (int,), "output_tokens": (int,), "total_tokens": (int,), "input_tokens_details": (dict,),
    "output_tokens_details": (dict,),
}
MESSAGE: dict[str, tuple[type, ...]] = {
    "type": (str,), "id": (str,), "status": (str,), "role": (str,), "content": (list,),
}
CALL: dict[str, tuple[type, ...]] = {
    "type": (str,), "id": (str,), "call_id": (str,), "name": (str,), "arguments": (str,), "status": (str,),
}
TEXT: dict[str, tuple[type, ...]] = {"type": (str,), "text": (str,), "annotations": (list,), "logprobs": (list,)}
TOOL: dict[str, tuple[type, ...]] = {
    "type": (str,), "name": (str,), "description": (str, NULL), "parameters": (dict, NULL), "strict": (bool, NULL),
}
ITEM = {"output_index": (int,), "item": (dict, NULL)}
PART = {"item_id": (str,), "output_index": (int,), "content_index": (int,)}
ARGUMENTS = {"item_id": (str,), "output_index": (int,)}
EVENTS: dict[str, dict[str, tuple[type, ...]]] = {
    **{f"response.{state}": {"response": (dict,)} for state in (
        "created", "queued", "in_progress", "completed", "incomplete", "failed",
    )},
    "response.output_item.added": ITEM, "response.output_item.done": ITEM,
    "response.content_part.added": {**PART, "part": (dict,)}, "response.content_part.done": {**PART, "part": (dict,)},
    "response.output_text.delta": {**PART, "delta": (str,), "logprobs": (list,)},
    "response.output_text.done": {**PART, "text": (str,), "logprobs": (list,)},
    "response.function_call_arguments.delta": {**ARGUMENTS, "delta": (str,)},
    "response.function_call_arguments.done": {**ARGUMENTS, "arguments": (str,)},
}
MOST = 256
STEADY = {"temperature": 0, "max_output_tokens": MOST}
ENDS = ("response.completed", "response.incomplete", "response.failed")
ASK = {"type": "message", "role": "user", "content": "What is the weather in Paris?"}
TOOLS = {"tools": [{"type": "function", **WEATHER}], "tool_choice": "required"}

client = httpx.Client(base_url=BASE, headers={"authorization": f"Bearer {KEY}"}, timeout=180, trust_env=False)


def user(text: str) -> dict[str, str]:
    return {"type": "message", "role": "user", "content": text}


def faults(value: dict[str, Any], shape: dict[str, tuple[type, ...]], at: str) -> list[str]:
    """What is missing in `value`, or has a wrong type."""
    missing = [f"{at}.{name} is missing" for name in shape if name not in value]
    wrong = [
        f"{at}.{name} is {type(value[name]).__name__}" for name, kinds in shape.items()
        if name in value and (not isinstance(value[name], kinds) or (isinstance(value[name], bool) and bool not in kinds
                                                                     and object not in kinds))
    ]
    return missing + wrong


def resource(value: dict[str, Any], at: str = "response") -> list[str]:
    """Faults of a whole response."""
    found = faults(value, RESPONSE, at)
    if value.get("usage"):
        found += faults(value["usage"], USAGE, f"{at}.usage")
    for tool in value.get("tools") or []:
        found += faults(tool, TOOL, f"{at}.tools[]")
    for item in value.get("output") or []:
        found += item_faults(item, f"{at}.output[]")
    return found


def item_faults(item: dict[str, Any], at: str) -> list[str]:
    if item.get("type") == "function_call":
        return faults(item, CALL, at)
    found = faults(item, MESSAGE, at)
    for part in item.get("content") or []:
        found += faults(part, TEXT, f"{at}.content[]")
    return found


def ask(*turns: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One request without a stream; the answer has no faults."""
    answer = client.post("/responses", json={"model": MODEL, "input": list(turns), "stream": False, **STEADY, **more})
    assert answer.status_code == 200, f"HTTP {answer.status_code}: {answer.text[:300]}"
    value: dict[str, Any] = answer.json()
    none(resource(value))
    assert value["output"], "no output items"
    return value


def none(found: list[str]) -> None:
    assert not found, f"{len(found)} faults: {'; '.join(dict.fromkeys(found))}"


def stream(*turns: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    """The events of one request; each names its kind twice, and none has faults."""
    events: list[dict[str, Any]] = []
    found: list[str] = []
    body = {"model": MODEL, "input": list(turns), "stream": True, **STEADY, **more}
    with client.stream("POST", "/responses", json=body) as answer:
        assert answer.status_code == 200, f"HTTP {answer.status_code}: {answer.read()[:300]!r}"
        assert answer.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in answer.iter_lines():
            if line.startswith("event:"):
                name = line.removeprefix("event:").strip()
            elif line.startswith("data:") and line != "data: [DONE]":
                event = json.loads(line.removeprefix("data:"))
                kind = event.get("type", "")
                if name != kind:
                    found.append(f"the event is called {name!r}, its type is {kind!r}")
                if kind not in EVENTS:
                    found.append(f"unknown event {kind!r}")
                found += faults(event, {"sequence_number": (int,), **EVENTS.get(kind, {})}, kind)
                if isinstance(event.get("response"), dict):
                    found += resource(event["response"], f"{kind}.response")
                events.append(event)
    none(found)
    numbers = [event["sequence_number"] for event in events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), f"sequence numbers {numbers}"
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] in ENDS
    return events


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


@case("basic text")
def _() -> str:
    said = ask(user("Say hello in exactly 3 words."))
    assert said["status"] == "completed", said["status"]
    return f"{said['usage']['output_tokens']} tokens"


@case("streaming")
def _() -> str:
    events = stream(user("Say hello."))
    last = events[-1]["response"]
    assert last["status"] == "completed", last["status"]
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    done = next(event["text"] for event in events if event["type"] == "response.output_text.done")
    assert text == done == last["output"][0]["content"][0]["text"]
    return f"{len(events)} events"


@case("system prompt")
def _() -> str:
    system = {"type": "message", "role": "system", "content": "You are a pirate. Always respond in pirate speak."}
    said = ask(system, user("Say hello."))
    assert said["status"] == "completed", said["status"]
    return repr(said["output"][0]["content"][0]["text"][:60])


@case("tool calling")
def _() -> str:
    said = ask(ASK, **TOOLS)
    call = next(item for item in said["output"] if item["type"] == "function_call")
    assert call["name"] == "get_weather"
    assert json.loads(call["arguments"])["city"] in CITIES
    return call["arguments"]


@case("tool calling, streaming")
def _() -> str:
    events = stream(ASK, **TOOLS)
    items = [event["item"]["type"] for event in events if event["type"] == "response.output_item.added"]
    ended = [event["item"]["type"] for event in events if event["type"] == "response.output_item.done"]
    assert "function_call" in items, f"no function_call among the added items {items}"
    assert "function_call" in ended, f"no function_call among the done items {ended}"
    assert "response.function_call_arguments.delta" in kinds(events)
    done = next(event["arguments"] for event in events if event["type"] == "response.function_call_arguments.done")
    text = "".join(e["delta"] for e in events if e["type"] == "response.function_call_arguments.delta")
    assert text == done, (text, done)
    assert json.loads(done)["city"] in CITIES
    return f"{len(events)} events"


@case("tool calling, left to the model")
def _() -> str:
    said = ask(ASK, tools=TOOLS["tools"])
    return ", ".join(item["type"] for item in said["output"])


@case("multi-turn")
def _() -> str:
    said = ask(
        user("My name is Alice."),
        {"type": "message", "role": "assistant", "content": "Hello Alice! Nice to meet you. How can I help you today?"},
        user("What is my name?"),
    )
    assert said["status"] == "completed", said["status"]
    return ""


@case("image input is refused")
def _() -> str:
    parts = [
        {"type": "input_text", "text": "What do you see in this image?"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
    ]
    turn = {"type": "message", "role": "user", "content": parts}
    answer = client.post("/responses", json={"model": MODEL, "input": [turn]})
    assert answer.status_code == 400, f"HTTP {answer.status_code}: {answer.text[:200]}"
    error = answer.json()["error"]
    assert "image" in error["message"].lower() or "multimodal" in error["message"].lower(), error
    return str(error["message"])


@case("the request is echoed")
def _() -> str:
    said = ask(
        user("Say hello."), instructions="Be brief.", temperature=0.5, top_p=0.9, max_output_tokens=20,
        metadata={"a": "b"}, store=False, text={"format": {"type": "json_schema", "name": "place", "schema": PLACE,
                                                           "strict": True}},
    )
    assert said["instructions"] == "Be brief."
    assert (said["temperature"], said["top_p"], said["max_output_tokens"]) == (0.5, 0.9, 20)
    assert said["metadata"] == {"a": "b"}
    assert said["text"]["format"]["type"] == "json_schema", said["text"]
    return ""
