"""The Engine protocol on vLLM's OpenAI HTTP API. Law: whatever the server does, the caller gets tokens or
Unavailable within a time limit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from enum import Enum
from typing import Any

import httpx
import msgspec

from p2p.base.errors import Unavailable
from p2p.base.limits import FIRST_TOKEN_TIMEOUT_S, SCORE_TIMEOUT_S, TOKEN_TIMEOUT_S, TOP_RANKS
from p2p.inference.vllm import tape_args
from p2p.verification.engine import Job, Row, Tokens, TokenStep

UNIX = "unix:"  # prefix of a URL that names a Unix socket
# sent always: vLLM fills in what a request leaves out from the model's generation_config.json, a repetition penalty
# for example
NEUTRAL = {"presence_penalty": 0.0, "frequency_penalty": 0.0, "repetition_penalty": 1.0, "min_tokens": 0}
DEFAULT_EOS = frozenset({2})  # <|im_end|> of SmolLM2; `eos_ids` asks the server's own tokenizer


class Look(Enum):
    """What a look at a server found."""

    THERE = 0
    SILENT = 1  # no answer, or a bad one: it may be busy
    GONE = 2  # nothing listens there, or the connection broke


class VllmClient:
    """An Engine on a running vLLM. url: the base without /v1, or `unix:PATH` for a Unix socket. model: the served
    name. key: the server's API key."""

    def __init__(self, url: str, model: str, *, key: str = "") -> None:
        self.url = url.rstrip("/")
        self.model = model
        self._http = http_client(self.url, key, httpx.Timeout(10.0, read=FIRST_TOKEN_TIMEOUT_S))

    async def health(self) -> bool:
        return await self.look() is Look.THERE

    async def look(self) -> Look:
        try:
            return Look.THERE if (await self._http.get("/health", timeout=5.0)).status_code == 200 else Look.SILENT
        except httpx.NetworkError:  # what answers next may be another server
            return Look.GONE
        except httpx.HTTPError:
            return Look.SILENT

    async def models(self) -> dict[str, int] | None:
        """The names that it serves, each with its context in tokens (0 where it does not say). None when the answer
        is not that of an OpenAI API."""
        try:
            answer = await self._http.get("/v1/models", timeout=5.0)
            if answer.status_code != 200:
                return None
            return {str(one["id"]): int(one.get("max_model_len") or 0) for one in answer.json()["data"]}
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
            return None

    async def tokenize_chat(self, prompt: str) -> Tokens:
        body = {"model": self.model, "messages": [{"role": "user", "content": prompt}], "add_generation_prompt": True}
        return _tokens(await self._post("/tokenize", body))

    async def eos_ids(self) -> frozenset[int]:
        """Token ids that end an answer: the end-of-turn token of the chat template."""
        answer = await self._post(
            "/tokenize", {"model": self.model, "prompt": "<|im_end|>", "add_special_tokens": False}
        )
        tokens = _tokens(answer)
        return frozenset(tokens) if len(tokens) == 1 else DEFAULT_EOS

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of token ids, special ones included."""
        answer = await self._post("/detokenize", {"model": self.model, "tokens": list(tokens)})
        if not isinstance(answer.get("prompt"), str):
            raise Unavailable("the ML node's /detokenize gives no text", field="ml_node")
        return str(answer["prompt"])

    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        left = job.max_tokens - len(job.prefix)
        if left <= 0:
            return
        body = {
            "model": self.model, "prompt": [*job.prompt_tokens, *job.prefix], "max_tokens": left, "temperature": 0.0,
            "stream": True, "logprobs": TOP_RANKS, "return_token_ids": True, "return_tokens_as_token_ids": True,
            "skip_special_tokens": True, "vllm_xargs": tape_args.pack(job), **NEUTRAL,
        }
        try:
            async with self._http.stream("POST", "/v1/completions", json=body) as answer:
                if answer.status_code != 200:
                    text = (await answer.aread())[:300].decode(errors="replace")
                    raise Unavailable(f"the ML node answers {answer.status_code}: {text}", field="ml_node")
                async for line in answer.aiter_lines():
                    for step in _steps(line):
                        yield step
        except httpx.HTTPError as error:
            raise Unavailable(f"the ML node does not answer: {type(error).__name__}", field="ml_node") from error

    async def score(self, prompt_tokens: Sequence[int], output_tokens: Sequence[int], top: int) -> tuple[Row, ...]:
        body = {
            "model": self.model, "prompt": [*prompt_tokens, *output_tokens], "max_tokens": 1, "temperature": 0.0,
            "prompt_logprobs": top,
        }
        raw = await self._post_raw("/v1/completions", body, timeout_s=SCORE_TIMEOUT_S)
        try:
            rows = msgspec.json.decode(raw, type=_Scores).choices[0].prompt_logprobs[len(prompt_tokens) :]
            found = tuple({token: entry.logprob for token, entry in row.items()} for row in rows if row is not None)
        except (msgspec.MsgspecError, ValueError, IndexError) as error:
            raise Unavailable("the ML node's answer has no prompt_logprobs", field="ml_node") from error
        if len(found) != len(output_tokens):
            raise Unavailable("the ML node scored another number of tokens", field="ml_node")
        return found

    async def close(self) -> None:
        await self._http.aclose()

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        raw = await self._post_raw(path, body)
        try:
            value = msgspec.json.decode(raw)
        except (msgspec.MsgspecError, ValueError) as error:
            raise Unavailable("the ML node's answer is not JSON", field="ml_node") from error
        if not isinstance(value, dict):
            raise Unavailable("the ML node's answer is not an object", field="ml_node")
        return value

    async def _post_raw(self, path: str, body: dict[str, Any], timeout_s: float = TOKEN_TIMEOUT_S) -> bytes:
        try:
            answer = await self._http.post(path, json=body, timeout=timeout_s)
        except httpx.HTTPError as error:
            raise Unavailable(f"the ML node does not answer: {type(error).__name__}", field="ml_node") from error
        if answer.status_code != 200:
            raise Unavailable(f"the ML node answers {answer.status_code}: {answer.text[:300]}", field="ml_node")
        return answer.content


# What a score is read into. An answer of 300 tokens is a megabyte of JSON: reading it into types holds the event loop,
# and with it consensus, for a shorter time than building dicts of everything in it.


class _Entry(msgspec.Struct, gc=False):
    logprob: float


class _Choice(msgspec.Struct):
    prompt_logprobs: list[dict[int, _Entry] | None]  # by place in the prompt; the first has none


class _Scores(msgspec.Struct):
    choices: list[_Choice]


def http_client(url: str, key: str, timeout: httpx.Timeout) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if url.startswith(UNIX):
        transport = httpx.AsyncHTTPTransport(uds=url.removeprefix(UNIX))
        return httpx.AsyncClient(base_url="http://localhost", transport=transport, timeout=timeout, headers=headers)
    return httpx.AsyncClient(base_url=url, timeout=timeout, headers=headers)


def _tokens(answer: dict[str, Any]) -> Tokens:
    tokens = answer.get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
        raise Unavailable("the ML node's /tokenize gives no token ids", field="ml_node")
    return tuple(tokens)


def _steps(line: str) -> list[TokenStep]:
    """The tokens of one server-sent event; [] for other lines."""
    if not line.startswith("data: ") or line == "data: [DONE]":
        return []
    try:
        event = msgspec.json.decode(line[6:])
        if "error" in event:
            raise Unavailable(f"the ML node failed: {str(event['error'])[:200]}", field="ml_node")
        choice = event["choices"][0]
        ids, logprobs = choice.get("token_ids") or [], choice.get("logprobs")
        if not ids:
            return []
        text = choice.get("text") or ""
        values, tops = logprobs["token_logprobs"], logprobs["top_logprobs"]
        return [
            TokenStep(int(token), text if at == 0 else "", float(values[at]), _top(tops[at]))
            for at, token in enumerate(ids)
        ]
    except (msgspec.MsgspecError, ValueError, KeyError, IndexError, TypeError) as error:
        raise Unavailable("the ML node's stream is not what vLLM sends", field="ml_node") from error


def _top(row: dict[str, float]) -> tuple[tuple[int, float], ...]:
    pairs = [(int(name.removeprefix("token_id:")), float(value)) for name, value in row.items()]
    return tuple(sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:TOP_RANKS])
