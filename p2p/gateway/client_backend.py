"""The network behind the gateway, through a client of this process (p2p/client).

Law: nothing is asked of a peer for each request that can be remembered for a while: models and prices for MODELS_S, the
files of a model as long as it keeps them. Tokens are made here, from the model's own files.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import msgspec
import trio

from p2p.base.body import Body, Grammar, Tool
from p2p.base.errors import FolkmootError, InvalidRequest
from p2p.client import model_card as client_cards
from p2p.client.client import Client
from p2p.client.events import Done, Event, Proved, Token, Trying
from p2p.client.question import Question
from p2p.client.session import Session
from p2p.gateway.client_events import ClientEvents
from p2p.gateway.core.backend import NO_TOOLS, AccountCard, Asked, ModelCard, ToolFormat
from p2p.gateway.core.pieces import CallBegin, CallDelta, CallEnd, Ended, Said, Started
from p2p.gateway.core.refusals import NotFound
from p2p.gateway.host_times import HostTimes, Watch
from p2p.gateway.kept_proofs import KeptProofs
from p2p.text.model_text import ModelText, load_model_text
from p2p.text.tool_formats.formats import FORMATS
from p2p.text.tool_formats.grammar import call_or_form
from p2p.text.tool_formats.pieces import CallArguments, Content, Parser
from p2p.text.tool_formats.pieces import CallBegin as ReadBegin
from p2p.text.tool_formats.pieces import ToolFormat as TextFormat

MODELS_S = 5.0  # between two questions for models and prices
MODELS_OLD_S = 15.0  # for which they count
KEPT_TEXTS = 8  # models whose tokenizers stay in memory: some 50 MiB each


class ClientBackend:
    """Over an open client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._cards: tuple[ModelCard, ...] = ()
        self._cards_until = -1.0
        self._files: dict[str, client_cards.ModelCard] = {}
        self._texts: OrderedDict[tuple[str, str, str], NetworkText] = OrderedDict()
        self._proofs, self.times = KeptProofs(), HostTimes()
        self._asking, self._loading = trio.Lock(), trio.Lock()  # several at once wait for one question

    async def models(self) -> tuple[ModelCard, ...]:
        async with self._asking:
            if trio.current_time() >= self._cards_until:
                await self._fetch()
        return self._cards

    async def keep_fresh(self) -> None:
        """Until cancelled: ask for models and prices again before they are old, so that no request waits for that."""
        while True:
            await trio.sleep(MODELS_S)
            with suppress(FolkmootError):  # who asks next is told
                await self._fetch()

    async def _fetch(self) -> None:
        found = await self._client.models()
        self._files = {card.name: card for card in found}
        self._cards = tuple(map(_card, found))
        self._cards_until = trio.current_time() + MODELS_OLD_S

    async def text(self, model: str) -> NetworkText:
        card = self._files.get(model)
        if card is None:
            await self.models()
            card = self._files.get(model)
        if card is None:
            raise NotFound(f"the network has no model {model[:60]!r} in use", field="model", code="model_not_found")
        key = (card.tokenizer_hash, card.template_hash, card.tool_format)
        if key not in self._texts:
            async with self._loading:
                if key not in self._texts:
                    self._texts[key] = await self._load(card)
        self._texts.move_to_end(key)
        if len(self._texts) > KEPT_TEXTS:
            self._texts.popitem(last=False)
        return self._texts[key]

    async def _load(self, card: client_cards.ModelCard) -> NetworkText:
        files = await self._client.model_text(card.name)
        tokens = dict(card.template_tokens)
        text = await trio.to_thread.run_sync(
            lambda: load_model_text(files.tokenizer, files.template, tokens, tool_format=card.tool_format)
        )
        return NetworkText(text, FORMATS.get(card.tool_format))

    @asynccontextmanager
    async def answer(self, asked: Asked) -> AsyncIterator[AsyncIterator[Started | Said | Ended]]:
        question = Question(
            asked.model, asked.body, asked.params, asked.max_tokens, asked.max_price_micro, asked.session, asked.rows,
            asked.prompt_tokens,
        )
        async with self._client.answer(question) as events, aclosing(self._pieces(events, asked)) as pieces:
            yield pieces

    async def _pieces(
        self, events: AsyncIterator[Event], asked: Asked,
    ) -> AsyncGenerator[Started | Said | Ended]:
        reading, watch = ClientEvents(asked), Watch(self.times)
        async for event in events:
            if isinstance(event, Trying):
                watch.asked(event.node.hex(), trio.current_time())
            elif isinstance(event, Token):
                watch.token(trio.current_time())
            elif isinstance(event, Proved):
                self._proofs.keep(event.proof)
            elif isinstance(event, Done):
                watch.done()
            piece = reading.feed(event)
            if piece is not None:
                yield piece

    async def proof(self, inference_id: str) -> bytes:
        found = self._proofs.get(inference_id)
        if found is None:
            raise NotFound(
                "the proof is not kept here: only those of the last answers are, while the gateway runs", field="id",
            )
        return found

    async def inference(self, inference_id: str) -> dict[str, Any]:
        try:
            found = await self._client.inference(bytes.fromhex(inference_id))
        except InvalidRequest as error:
            raise NotFound(error.message, field="id", code=error.code) from error
        plain: dict[str, Any] = msgspec.to_builtins(found)
        return plain

    async def account(self) -> AccountCard:
        found = await self._client.account()
        return AccountCard(found.account, found.balance_micro)

    def new_session(self) -> Session:
        return Session()


class NetworkText:
    """One model's text."""

    def __init__(self, text: ModelText, form: TextFormat | None) -> None:
        self._text = text
        self.tools: ToolFormat | None = None if form is None else NetworkTools(form)

    def prompt(self, body: Body) -> Sequence[int]:
        return self._text.prompt(body)

    def bytes_of(self, token: int) -> bytes:
        return self._text.vocabulary.bytes_of(token)


class NetworkTools:
    """How a model writes calls."""

    def __init__(self, form: TextFormat) -> None:
        self._form = form

    def call_grammar(self, tools: Sequence[Tool], names: Sequence[str]) -> Grammar:
        return self._form.call_grammar(tools, names)

    def call_or_form(self, tools: Sequence[Tool], form: Grammar) -> Grammar | None:
        return call_or_form(self._form.call_grammar(tools, ()), form)

    def reader(self, tools: Sequence[Tool]) -> Reader:
        return Reader(self._form.parser({tool.name for tool in tools}))


class Reader:
    """Reads the calls of one answer."""

    def __init__(self, parser: Parser) -> None:
        self._parser = parser

    def feed(self, text: str) -> Sequence[Said | CallBegin | CallDelta | CallEnd]:
        return [_read(piece) for piece in self._parser.feed(text)]

    def end(self) -> Sequence[Said | CallBegin | CallDelta | CallEnd]:
        return [_read(piece) for piece in self._parser.finish()]


def _card(card: client_cards.ModelCard) -> ModelCard:
    return ModelCard(
        card.name, card.context_tokens, card.price_micro, card.tool_format or NO_TOOLS, card.has_template,
        card.vocabulary,
    )


def _read(piece: object) -> Said | CallBegin | CallDelta | CallEnd:
    match piece:
        case Content():
            return Said(piece.text)
        case ReadBegin():
            return CallBegin(0, "", piece.name)
        case CallArguments():
            return CallDelta(0, piece.text)
    return CallEnd(0)
