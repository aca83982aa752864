"""A fake network for the gateway: models, a tokenizer of one token a character, and answers from a script.

Not a model: it says what the test tells it to say, and remembers what it was asked.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from p2p.base.body import Body, Chat, Grammar, GrammarKind, TextPrompt, TokenPrompt, Tool
from p2p.base.errors import FolkmootError, InvalidRequest
from p2p.gateway.core.backend import AccountCard, Asked, ModelCard
from p2p.gateway.core.pieces import CallBegin, CallDelta, CallEnd, Ended, Reason, Row, Said, Started, Usage

MODEL = "tiny"
BASE = "tiny-base"  # without a template and tools
CARDS = (
    ModelCard(MODEL, 8192, 3, "scripted", vocabulary=70_000, created=1_700_000_000),
    ModelCard(BASE, 2048, 1, has_template=False, vocabulary=70_000),
)
EXECUTOR = "ee" * 32
OPEN, CLOSE = "<call>", "</call>"
END = 0  # the token that ends an answer


class CallText:
    """How the fake model writes calls: <call>NAME {arguments}</call>."""

    def call_grammar(self, tools: Sequence[Tool], names: Sequence[str]) -> Grammar:
        return Grammar(GrammarKind.LARK, f"calls of {', '.join(names)}")

    def call_or_form(self, tools: Sequence[Tool], form: Grammar) -> Grammar | None:
        if form.kind is GrammarKind.REGEX:
            return None
        return Grammar(GrammarKind.LARK, f"calls of {', '.join(tool.name for tool in tools)}, or {form.source}")

    def reader(self, tools: Sequence[Tool]) -> Reader:
        return Reader()


class Reader:
    """Reads these calls, piece by piece."""

    def __init__(self) -> None:
        self.text = ""
        self.inside = self.named = False

    def feed(self, text: str) -> Sequence[Said | CallBegin | CallDelta | CallEnd]:
        self.text += text
        found: list[Said | CallBegin | CallDelta | CallEnd] = []
        while self._step(found):
            pass
        return found

    def end(self) -> Sequence[Said | CallBegin | CallDelta | CallEnd]:
        rest, self.text = self.text, ""
        if not rest or (self.inside and not self.named):
            return []
        return [CallDelta(0, rest)] if self.inside else [Said(rest)]

    def _step(self, found: list[Said | CallBegin | CallDelta | CallEnd]) -> bool:
        if self.inside and not self.named:
            name, blank, rest = self.text.partition(" ")
            if blank:
                found.append(CallBegin(0, "", name))
                self.named, self.text = True, rest
            return bool(blank)
        mark = CLOSE if self.inside else OPEN
        before, hit, rest = self.text.partition(mark)
        if not hit:
            held = next((n for n in range(len(mark) - 1, 0, -1) if self.text.endswith(mark[:n])), 0)
            before, rest = self.text[: len(self.text) - held], self.text[len(self.text) - held :]
        if before:
            found.append(CallDelta(0, before) if self.inside else Said(before))
        if hit and self.inside:
            found.append(CallEnd(0))
        if hit:
            self.inside, self.named = not self.inside, False
        self.text = rest
        return bool(hit)


class CharacterText:
    """Tokens are code points; the template writes `role: content` lines."""

    def __init__(self, card: ModelCard) -> None:
        self.tools = CallText() if card.tool_format != "none" else None

    def prompt(self, body: Body) -> Sequence[int]:
        if isinstance(body.prompt, TokenPrompt):
            return body.prompt.tokens
        return [ord(letter) for letter in shown(body)]

    def bytes_of(self, token: int) -> bytes:
        return b"" if token == END else chr(token).encode("utf-8", "replace")


def shown(body: Body) -> str:
    """The prompt as the fake template writes it."""
    prompt = body.prompt
    if isinstance(prompt, TextPrompt):
        return prompt.text
    assert isinstance(prompt, Chat)
    tools = "".join(f"tool {tool.name}: {tool.parameters}\n" for tool in prompt.tools)
    lines = []
    for one in prompt.messages:
        calls = "".join(f" {OPEN}{call.name} {call.arguments}{CLOSE}" for call in one.calls)
        lines.append(f"{one.role}: {one.content}{calls}\n")
    return tools + "".join(lines)


@dataclass
class Answer:
    """What is said to one question."""

    text: str = "Hello there."
    reason: Reason = Reason.STOP
    chunk: int = 3  # characters of one piece
    cached: int = 0
    wait_s: float = 0.0  # before anything comes
    fail_first: FolkmootError | None = None  # instead of an answer
    fail_after: FolkmootError | None = None  # after the text
    pause: Callable[[], Any] | None = None  # awaited after each piece


@dataclass
class ScriptedBackend:
    """The fake. say: the answer to each question, by its text; by default one fixed answer."""

    say: Callable[[Asked], Answer] = field(default=lambda asked: Answer())
    balance: int = 1_000_000
    cards: tuple[ModelCard, ...] = CARDS
    asked: list[Asked] = field(default_factory=list)
    left: list[Asked] = field(default_factory=list)  # whose answer was not taken to its end
    running: int = 0

    async def models(self) -> tuple[ModelCard, ...]:
        return self.cards

    async def text(self, model: str) -> CharacterText:
        return CharacterText(next(card for card in self.cards if card.name == model))

    async def account(self) -> AccountCard:
        return AccountCard("aa" * 32, self.balance)

    async def inference(self, inference_id: str) -> dict[str, Any]:
        if inference_id != inference(0):
            raise InvalidRequest("the network knows no such inference", field="id")
        return {"inference_id": inference_id, "outcome": "VALID", "refund_micro": 0}

    async def proof(self, inference_id: str) -> bytes:
        if inference_id != inference(0):
            raise InvalidRequest("the proof is not kept", field="id")
        return b"\x80"

    def new_session(self) -> object:
        return object()

    @asynccontextmanager
    async def answer(self, asked: Asked) -> AsyncIterator[AsyncIterator[Started | Said | Ended]]:
        self.asked.append(asked)
        number, done = len(self.asked) - 1, False
        self.running += 1

        async def pieces() -> AsyncIterator[Started | Said | Ended]:
            nonlocal done
            answer = self.say(asked)
            await trio.sleep(answer.wait_s)
            if answer.fail_first is not None:
                raise answer.fail_first
            yield Started(inference(number), EXECUTOR, 3)
            text = answer.text[: asked.max_tokens]
            for at in range(0, len(text), answer.chunk):
                part = text[at : at + answer.chunk]
                yield Said(part, tuple(map(row, part)) if asked.rows else ())
                await (answer.pause() if answer.pause is not None else trio.lowlevel.checkpoint())
            if answer.fail_after is not None:
                raise answer.fail_after
            done = True
            cut = len(text) < len(answer.text)
            if asked.rows and not cut:
                yield Said("", (Row(END, -0.25, ((END, -0.25),)),))
            used = Usage(asked.prompt_tokens, len(text) + (not cut), answer.cached)
            yield Ended(Reason.LENGTH if cut else answer.reason, used)

        found = pieces()
        try:
            yield found
        finally:
            self.running -= 1
            if not done:
                self.left.append(asked)


def inference(number: int) -> str:
    """The id of the fake's inference number `number`."""
    return f"{number:064x}"


def row(letter: str) -> Row:
    """Log-probabilities that say which letter they are of."""
    token = ord(letter)
    return Row(token, -0.5, ((token, -0.5), (ord("x"), -1.5), (ord("y"), -2.5)))


def saying(text: str, **more: Any) -> ScriptedBackend:
    """A fake that always says this."""
    return ScriptedBackend(lambda asked: Answer(text, **more))


def calling(*calls: tuple[str, Any], before: str = "") -> str:
    """The text of an answer that calls tools."""
    return before + "\n".join(f"{OPEN}{name} {json.dumps(arguments)}{CLOSE}" for name, arguments in calls)
