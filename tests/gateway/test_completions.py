"""What /v1/completions makes of a request."""

from __future__ import annotations

from typing import Any

import pytest

from p2p.base.body import TextPrompt, TokenPrompt
from p2p.gateway.core.backend import Asked
from tests.gateway.asking import Reply, ask
from tests.gateway.scripted import Answer, ScriptedBackend, saying, shown

PATH = "/v1/completions"


async def complete(backend: ScriptedBackend | None = None, **more: Any) -> Reply:
    return await ask(backend or ScriptedBackend(), PATH, {"model": "tiny-base", "prompt": "Once", **more})


@pytest.mark.parametrize(("prompt", "bodies"), [
    ("Once", [TextPrompt("Once")]), (["a", "b"], [TextPrompt("a"), TextPrompt("b")]),
    ([1, 2], [TokenPrompt(b"\0\0\0\1\0\0\0\2")]), ([[1], [2]], [TokenPrompt(b"\0\0\0\1"), TokenPrompt(b"\0\0\0\2")]),
])
async def test_texts_and_tokens_are_continued_as_they_are(prompt: Any, bodies: list[Any]) -> None:
    backend = ScriptedBackend()
    assert (await complete(backend, prompt=prompt)).status == 200
    assert sorted((asked.body.prompt for asked in backend.asked), key=str) == sorted(bodies, key=str)
    assert all(asked.max_tokens == 16 for asked in backend.asked)


async def test_several_prompts_and_answers_come_in_order() -> None:
    def say(asked: Asked) -> Answer:
        return Answer(f"after {shown(asked.body)}")

    found = (await complete(ScriptedBackend(say), prompt=["a", "b"], n=2)).json["choices"]
    assert [(one["index"], one["text"]) for one in found] == [
        (0, "after a"), (1, "after a"), (2, "after b"), (3, "after b"),
    ]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_prompt_is_repeated_where_it_is_wanted(stream: bool) -> None:
    reply = await complete(saying(" upon a time"), echo=True, stream=stream)
    texts = [event["choices"][0]["text"] for _, event in reply.events[:-1]] if stream else [
        reply.json["choices"][0]["text"]]
    assert "".join(texts) == "Once upon a time"


@pytest.mark.parametrize(("sent", "param"), [
    ({"echo": True, "logprobs": 1}, "echo"), ({"echo": True, "prompt": [1]}, "echo"), ({"prompt": ""}, "prompt"),
    ({"prompt": []}, "prompt"), ({"prompt": [1, "a"]}, "prompt[1]"), ({"prompt": [-1]}, "prompt[0]"),
    ({"prompt": [[]]}, "prompt[0]"), ({"prompt": ["a"] * 17}, "prompt"), ({"prompt": ["a", "b"], "n": 9}, "n"),
    ({"suffix": "end"}, "suffix"), ({"best_of": 3}, "best_of"), ({"max_tokens": 0}, "max_tokens"),
    ({"logprobs": 6}, "logprobs"), ({"prompt": {"a": 1}}, "prompt"),
])
async def test_what_cannot_be_followed_is_refused_by_its_name(sent: dict[str, Any], param: str) -> None:
    reply = await complete(**sent)
    assert (reply.status, reply.error["param"]) == (400, param)
    assert reply.error["message"]


async def test_log_probabilities_are_parallel_lists_in_a_stream_too() -> None:
    whole = (await complete(saying("hé you", chunk=2), logprobs=2)).json["choices"][0]["logprobs"]
    assert whole["tokens"] == ["h", "é", " ", "y", "o", "u"]
    assert whole["text_offset"] == [0, 1, 2, 3, 4, 5]
    assert whole["top_logprobs"][0] == {"h": -0.5, "x": -1.5}
    joined: dict[str, list[Any]] = {name: [] for name in whole}
    for _, event in (await complete(saying("hé you", chunk=2), logprobs=2, stream=True)).events[:-1]:
        for name, values in (event["choices"][0]["logprobs"] or {}).items():
            joined[name] += values
    assert joined == whole


async def test_best_of_as_many_as_are_shown_chooses_nothing() -> None:
    assert len((await complete(n=2, best_of=2)).json["choices"]) == 2
    assert (await complete(best_of=1)).status == 200
