"""What the gateway needs of the world: models, their text, answers, money. Law: protocols and data only.

`p2p/gateway/client_backend.py` is the real one; tests script another.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from p2p.base.body import Body, Grammar, Tool
from p2p.base.types import Params
from p2p.gateway.core.pieces import CallBegin, CallDelta, CallEnd, Ended, Said, Started

NO_TOOLS = "none"  # the tool format of a model that calls none


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model that the network serves."""

    name: str
    context_tokens: int  # of prompt and answer together
    price_micro: int  # micro-credits of a token now
    tool_format: str = NO_TOOLS  # how it writes calls of tools
    has_template: bool = True  # without one it continues texts and takes no conversation
    vocabulary: int = 1 << 18  # token ids are below it
    created: int = 0  # Unix time in seconds; 0: not known


@dataclass(frozen=True, slots=True)
class AccountCard:
    """Who pays."""

    account: str  # 64 hexadecimal digits
    balance_micro: int


@dataclass(frozen=True, slots=True)
class Asked:
    """One question to the network: one answer, one charge."""

    model: str
    body: Body
    params: Params
    max_tokens: int
    prompt_tokens: int  # of the body, counted with the model's own tokenizer
    session: Any = None  # what the backend's new_session made: the conversation that it belongs to
    rows: bool = False  # log-probabilities are wanted
    max_price_micro: int | None = None  # of a token; None: the backend's own bound


class CallReader(Protocol):
    """Finds the calls of tools in a text that comes piece by piece. Its pieces' `index` and `id` are not looked at."""

    def feed(self, text: str) -> Sequence[Said | CallBegin | CallDelta | CallEnd]:
        """What is certain after this text."""
        ...

    def end(self) -> Sequence[Said | CallBegin | CallDelta | CallEnd]:
        """What was held back."""
        ...


class ToolFormat(Protocol):
    """How a model writes calls of tools."""

    def call_grammar(self, tools: Sequence[Tool], names: Sequence[str]) -> Grammar:
        """The grammar of an answer that calls at least one of the tools named."""
        ...

    def call_or_form(self, tools: Sequence[Tool], form: Grammar) -> Grammar | None:
        """The grammar of an answer that either calls one of the tools or has this form; None where both cannot be
        joined."""
        ...

    def reader(self, tools: Sequence[Tool]) -> CallReader:
        """A reader for one answer."""
        ...


class ModelText(Protocol):
    """Text to tokens and back, with the model's own files."""

    def prompt(self, body: Body) -> Sequence[int]:
        """The tokens that a body makes. Raises InvalidRequest."""
        ...

    def bytes_of(self, token: int) -> bytes:
        """What a token stands for in a text; b"" for a special token."""
        ...

    @property
    def tools(self) -> ToolFormat | None:
        """How the model writes calls of tools; None: it calls none."""
        ...


class Backend(Protocol):
    """All methods raise FolkmootError: Unavailable where nobody answers, Overloaded where everyone is busy."""

    async def models(self) -> tuple[ModelCard, ...]:
        """The models that can be asked now."""
        ...

    async def text(self, model: str) -> ModelText:
        """Raises InvalidRequest(field='model')."""
        ...

    def answer(self, asked: Asked) -> AbstractAsyncContextManager[AsyncIterator[Started | Said | Ended]]:
        """The answer's pieces. Leaving the context early ends the answer; what was streamed is charged."""
        ...

    async def inference(self, inference_id: str) -> dict[str, Any]:
        """What became of an inference: verdict, refund. Raises InvalidRequest where the network knows it not."""
        ...

    async def proof(self, inference_id: str) -> bytes:
        """The proof of an answer that was asked for here lately, as `folkmoot verify` takes it. Raises InvalidRequest
        where it is not kept."""
        ...

    async def account(self) -> AccountCard:
        """Who pays."""
        ...

    def new_session(self) -> object:
        """What `Asked.session` takes for a new conversation."""
        ...
