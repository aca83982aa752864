"""The Engine protocol on vLLM's OpenAI HTTP API. Law: whatever the server does, the caller gets tokens or
Unavailable within a time limit."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from copy import copy
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, NamedTuple

import httpx
import msgspec
import structlog

from p2p.base.errors import InvalidRequest, Unavailable
from p2p.base.keys import digest
from p2p.base.limits import FIRST_TOKEN_TIMEOUT_S, MIB, SCORE_TIMEOUT_S, TOKEN_TIMEOUT_S
from p2p.base.serving_limits import TOP_RANKS
from p2p.inference.vllm import tape_args
from p2p.scheduling.turns import ANSWER, priority_of
from p2p.verification.engine import Job, Row, TokenStep
from p2p.verification.marks import MarkedRow

log = structlog.get_logger()

UNIX = "unix:"  # prefix of a URL that names a Unix socket
# sent always: vLLM fills in what a request leaves out from the model's generation_config.json, a repetition penalty
# for example
ANSWER_BYTES = MIB  # of an answer, or of one line of a stream
SCORE_BYTES = MIB  # of a score, besides its entries
ENTRY_BYTES = 256  # of one candidate in a score: two numbers and its text, 90 on average
NEUTRAL = {"presence_penalty": 0.0, "frequency_penalty": 0.0, "repetition_penalty": 1.0, "min_tokens": 0}


class Look(Enum):
    """What a look at a server found."""

    THERE = 0
    SILENT = 1  # no answer, or a bad one: it may be busy
    GONE = 2  # nothing listens there, or the connection broke


UNKNOWN_ID = "out of vocabulary"  # in what vLLM says of an id that the model does not have
PRIORITY = "priority"  # the field, and the word in what a server says that orders nothing


@dataclass(slots=True)
class _Order:
    """Whether a server takes priorities, as far as it is known; shared by all clients that `by` made."""

    is_known: bool = True


class _NoPriorities(Exception):
    """A server refused a request for its priority."""


class VllmClient:
    """An Engine on a running vLLM. url: the base without /v1, or `unix:PATH` for a Unix socket. model: the served
    name. key: the server's API key. first_token_s: how long an answer may take to begin."""

    def __init__(self, url: str, model: str, *, key: str = "", first_token_s: float = FIRST_TOKEN_TIMEOUT_S) -> None:
        self.url = url.rstrip("/")
        self.model = model
        self._http = http_client(self.url, key, httpx.Timeout(10.0, read=first_token_s))
        self._due = ANSWER  # what is asked is a check, and due at that time, in seconds since 1970
        self._order = _Order()

    def by(self, due: float) -> VllmClient:
        """The same engine, for questions that let answers pass and are due at that time, in seconds since 1970
        (answers_first.py). One that was started without priorities does them in turn."""
        other = copy(self)
        other._due = priority_of(due, time.time())
        return other

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
        body: dict[str, Any] = {
            "model": self.model, "prompt": [*job.prompt_tokens, *job.begun, *job.prefix], "max_tokens": left,
            "temperature": 0.0, "stream": True, "stream_options": {"include_usage": True}, "logprobs": TOP_RANKS,
            "return_token_ids": True, "return_tokens_as_token_ids": True, "skip_special_tokens": True,
            "cache_salt": _salt(job), "vllm_xargs": tape_args.pack(job), **NEUTRAL,
        }
        if job.ends:  # exactly these end the answer, whatever the model's own files say
            body |= {"stop_token_ids": list(job.ends), "ignore_eos": True}
        last: TokenStep | None = None  # it waits for the usage, which comes after it
        async with aclosing(self._lines("/v1/completions", body)) as lines:
            async for line in lines:
                event = _event(line)
                if last is not None and event.cached:
                    last = replace(last, cached=event.cached)
                for at, step in enumerate(event.steps, 1):
                    if event.last and at == len(event.steps):
                        last = step
                    else:
                        yield step
        if last is not None:
            yield last

    async def score(self, prompt_tokens: Sequence[int], output_tokens: Sequence[int], top: int) -> tuple[Row, ...]:
        rows = await self._scores(prompt_tokens, output_tokens, top, {})
        return tuple({token: entry.logprob for token, entry in row.items()} for row in rows)

    async def replay(self, job: Job, top: int) -> tuple[Row, ...]:
        rows = await self._scores((*job.prompt_tokens, *job.begun), job.prefix, top, tape_args.pack(job))
        return tuple(_marked(row, top) for row in rows)

    async def _scores(
        self, prompt_tokens: Sequence[int], output_tokens: Sequence[int], top: int, extra: Mapping[str, tape_args.Value]
    ) -> list[dict[int, _Entry]]:
        """extra: arguments of the tape, where the answer is to be replayed (scores.py)."""
        body = {
            "model": self.model, "prompt": [*prompt_tokens, *output_tokens], "max_tokens": 1, "temperature": 0.0,
            "prompt_logprobs": top, "vllm_xargs": {**extra, tape_args.SCORE_FROM: len(prompt_tokens)}, **NEUTRAL,
        }
        if not output_tokens:
            return []
        most = SCORE_BYTES + len(output_tokens) * (top + 2) * ENTRY_BYTES
        raw = await self._post_in_order(body, most)
        try:
            rows = msgspec.json.decode(raw, type=_Scores).choices[0].prompt_logprobs[-len(output_tokens) :]
            found = [row for row in rows if row is not None]
        except (msgspec.MsgspecError, ValueError, IndexError) as error:
            raise Unavailable("the ML node's answer has no prompt_logprobs", field="ml_node") from error
        if len(found) != len(output_tokens):
            raise Unavailable("the ML node scored another number of tokens", field="ml_node")
        return found

    async def _post_in_order(self, body: dict[str, Any], most: int) -> bytes:
        """A score, with its priority where the server takes one."""
        if self._due != ANSWER and self._order.is_known:
            try:
                return await self._post_raw(
                    "/v1/completions", {**body, PRIORITY: self._due}, timeout_s=SCORE_TIMEOUT_S, most=most
                )
            except _NoPriorities:
                self._order.is_known = False
                log.warning(
                    "the ML node takes no priorities, so answers wait for checks; start it with "
                    "--scheduling-policy priority", ml_node=self.url,
                )
        return await self._post_raw("/v1/completions", body, timeout_s=SCORE_TIMEOUT_S, most=most)

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

    async def _post_raw(
        self, path: str, body: dict[str, Any], timeout_s: float = TOKEN_TIMEOUT_S, most: int = ANSWER_BYTES
    ) -> bytes:
        """The answer's bytes. most: bytes of it that are read."""
        found = bytearray()
        try:
            async with self._http.stream("POST", path, json=body, timeout=timeout_s) as answer:
                await _check_status(answer, ordered=PRIORITY in body)
                async for part in answer.aiter_bytes():
                    found += part
                    if len(found) > most:
                        why = f"the ML node's answer is larger than {most} bytes; is the tape its plugin?"
                        raise Unavailable(why, field="ml_node")
        except httpx.HTTPError as error:
            raise Unavailable(f"the ML node does not answer: {type(error).__name__}", field="ml_node") from error
        return bytes(found)

    async def _lines(self, path: str, body: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        """The lines of a streamed answer, each of at most ANSWER_BYTES."""
        rest = b""
        try:
            async with self._http.stream("POST", path, json=body) as answer:
                await _check_status(answer)
                async for part in answer.aiter_bytes():
                    *lines, rest = (rest + part).split(b"\n")
                    for line in lines:
                        yield line.rstrip(b"\r")
                    if len(rest) > ANSWER_BYTES:
                        raise Unavailable("the ML node's stream is not what vLLM sends", field="ml_node")
        except httpx.HTTPError as error:
            raise Unavailable(f"the ML node does not answer: {type(error).__name__}", field="ml_node") from error
        if rest:
            yield rest


async def _check_status(answer: httpx.Response, *, ordered: bool = False) -> None:
    """Raises Unavailable with the beginning of what the server says, unless it is the answer; _NoPriorities where that
    is about the priority of a request. ordered: it has one."""
    if answer.status_code == 200:
        return
    said = b""
    async for part in answer.aiter_bytes():
        said += part
        if len(said) > 300:
            break
    text = said[:300].decode(errors="replace")
    if answer.status_code == 400 and ordered and PRIORITY in text.lower():
        raise _NoPriorities
    if answer.status_code == 400 and UNKNOWN_ID in text:
        raise InvalidRequest(f"the ML node refuses the tokens: {text}", field="tokens")
    raise Unavailable(f"the ML node answers {answer.status_code}: {text}", field="ml_node")


def _salt(job: Job) -> str:
    """Requests find the keys and values of others with the same salt only, so nobody learns by the time it takes what
    a stranger asked. Without a session each request is alone."""
    return (digest(b"cache", job.session) if job.session else job.seed).hex()


# What a score is read into. An answer of 300 tokens is a megabyte of JSON: reading it into types holds the event loop,
# and with it consensus, for a shorter time than building dicts of everything in it.


class _Entry(msgspec.Struct, gc=False):
    logprob: float
    rank: int = 0


class _Choice(msgspec.Struct):
    prompt_logprobs: list[dict[int, _Entry] | None]  # by place in the prompt; the first has none


class _Scores(msgspec.Struct):
    choices: list[_Choice]


def _marked(row: Mapping[int, _Entry], top: int) -> MarkedRow:
    """The last two ranks are the marks' (scores.py): the winner, then the least one; one token alone is both."""
    least = next((token for token, entry in row.items() if entry.rank == top), None)
    if least is None:
        raise Unavailable("the ML node does not replay the tape; is its plugin this version's?", field="ml_node")
    winner = next((token for token, entry in row.items() if entry.rank == top - 1), least)
    return MarkedRow({token: entry.logprob for token, entry in row.items()}, winner, least)


def http_client(url: str, key: str, timeout: httpx.Timeout) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if url.startswith(UNIX):
        transport = httpx.AsyncHTTPTransport(uds=url.removeprefix(UNIX))
        return httpx.AsyncClient(base_url="http://localhost", transport=transport, timeout=timeout, headers=headers)
    return httpx.AsyncClient(base_url=url, timeout=timeout, headers=headers)


class _Event(NamedTuple):
    """One line of a stream."""

    steps: list[TokenStep]
    last: bool = False  # no more tokens come
    cached: int = 0  # prompt tokens that the prefix cache had, where the line says it


def _event(line: bytes) -> _Event:
    if not line.startswith(b"data: ") or line == b"data: [DONE]":
        return _Event([])
    try:
        event = msgspec.json.decode(line[6:])
        if "error" in event:
            raise Unavailable(f"the ML node failed: {str(event['error'])[:200]}", field="ml_node")
        if not event["choices"]:  # the usage
            return _Event([], cached=_cached(event))
        choice = event["choices"][0]
        ids, logprobs, last = choice.get("token_ids") or [], choice.get("logprobs"), choice.get("finish_reason")
        if not ids:
            return _Event([], bool(last))
        text = choice.get("text") or ""
        values, tops = logprobs["token_logprobs"], logprobs["top_logprobs"]
        return _Event([
            TokenStep(int(token), text if at == 0 else "", float(values[at]), _top(tops[at]))
            for at, token in enumerate(ids)
        ], bool(last))
    except (msgspec.MsgspecError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise Unavailable("the ML node's stream is not what vLLM sends", field="ml_node") from error


def _cached(event: dict[str, Any]) -> int:
    details = (event.get("usage") or {}).get("prompt_tokens_details") or {}
    return max(int(details.get("cached_tokens") or 0), 0)


def _top(row: dict[str, float]) -> tuple[tuple[int, float], ...]:
    pairs = [(int(name.removeprefix("token_id:")), float(value)) for name, value in row.items()]
    return tuple(sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:TOP_RANKS])
