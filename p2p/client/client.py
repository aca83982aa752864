"""A client of a network, for programs: questions, answers, models, accounts.

Law: everything that is told was checked here or is marked as a peer's word (answer.py, receipt.py); every wait ends.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import trio

from p2p.base.body import Body, Chat, ChatMessage, Grammar, Role, TextPrompt, Tool
from p2p.base.errors import InvalidRequest, Unavailable
from p2p.base.genesis import Genesis
from p2p.base.keys import Key
from p2p.base.serving_limits import CLIENT_FILE_S, MAX_TEMPLATE_FILE, MAX_TOKENIZER
from p2p.base.types import Params
from p2p.client.answer import Answer, collect
from p2p.client.answering import Answering
from p2p.client.events import Event
from p2p.client.links import Links, open_links
from p2p.client.model_card import NO_HASH, ModelCard, cards
from p2p.client.model_files import Ask, ModelCache, ModelFiles, fetch_file
from p2p.client.question import Payer, Question
from p2p.client.session import Session
from p2p.client.settings import client_settings
from p2p.wire.answers.accounts import AccountAnswer
from p2p.wire.answers.inferences import InferenceAnswer
from p2p.wire.answers.network import GovernanceAnswer, PricesAnswer
from p2p.wire.answers.reading import read

if TYPE_CHECKING:
    from p2p.text.model_text import ModelText

DEFAULT_MAX_TOKENS = 128


class TextOptions(TypedDict, total=False):
    """What Client.text takes by name, for the clients without trio."""

    max_tokens: int
    params: Params | None
    stop: Sequence[str]
    grammar: Grammar | None
    session: Session | None
    rows: bool
    max_price_micro: int | None
    timeout_s: float | None


class ChatOptions(TextOptions, total=False):
    """What Client.chat takes by name."""

    tools: Sequence[Tool]


@dataclass(slots=True)
class Client:
    """Open it with `Client.open`. Any number of tasks may ask at once."""

    links: Links
    payer: Payer
    cache: ModelCache
    _cards: dict[str, ModelCard] = field(default_factory=dict)  # as told last
    _texts: dict[tuple[str, str], ModelText] = field(default_factory=dict)  # by the hashes of their files

    @classmethod
    @asynccontextmanager
    async def open(
        cls, directory: Path | str | None = None, *, genesis: Genesis | None = None, key: Key | None = None,
        peers: Sequence[str] | None = None, account: bytes | None = None,
    ) -> AsyncIterator[Client]:
        """A client, connected to at least one peer.

        directory: as `folkmoot init` makes it, with account.key and genesis.cbor; it remembers which nonces were used,
        so give every process of one account the same one. Left out, `genesis` and `key` must be given, and what is
        remembered ends with the client. peers: multiaddrs with /p2p/ID; left out, the folder's. account: that pays,
        where the key is a hot key of it.

        Raises ConfigError, and Unavailable where no peer can be reached.
        """
        async with AsyncExitStack() as stack:
            if directory is None:
                directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="folkmoot-client-"))
            settings = client_settings(Path(directory), genesis, key, peers, account)
            links = await stack.enter_async_context(open_links(settings.genesis, settings.peers, settings.book))
            yield cls(links, settings.payer, ModelCache(settings.models))

    # -- answers ----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def answer(self, question: Question) -> AsyncIterator[AsyncIterator[Event]]:
        """The events of one answer (events.py), the last one is Done. Leave the block, and the answer ends; leave it at
        TermsShown, and nothing is signed. Raises FolkmootError."""
        answering = Answering(self.links, self.payer, question, self._ends(question.model))
        async with aclosing(answering.events()) as events:
            yield events

    async def complete(self, question: Question, *, timeout_s: float | None = None) -> Answer:
        """The whole answer. timeout_s: for all of it; None: as long as tokens come. Raises FolkmootError, and
        Unavailable(code='timeout')."""
        with trio.move_on_after(timeout_s if timeout_s is not None else float("inf")):
            async with self.answer(question) as events:
                return await collect(events, trio.current_time)
        raise Unavailable(f"the answer was not complete after {timeout_s} s", field="timeout_s", code="timeout")

    async def chat(
        self, model: str, messages: Sequence[ChatMessage] | str, *, tools: Sequence[Tool] = (),
        max_tokens: int = DEFAULT_MAX_TOKENS, params: Params | None = None, stop: Sequence[str] = (),
        grammar: Grammar | None = None, session: Session | None = None, rows: bool = False,
        max_price_micro: int | None = None, timeout_s: float | None = None,
    ) -> Answer:
        """The model's next message. messages: the conversation, or what the user says. session: give the same one for
        each turn, and the same executor answers, which remembers the earlier turns."""
        question = chat_question(
            model, messages, tools=tools, max_tokens=max_tokens, params=params, stop=stop, grammar=grammar,
            session=session, rows=rows, max_price_micro=max_price_micro,
        )
        return await self.complete(question, timeout_s=timeout_s)

    async def text(
        self, model: str, prompt: str, *, max_tokens: int = DEFAULT_MAX_TOKENS, params: Params | None = None,
        stop: Sequence[str] = (), grammar: Grammar | None = None, session: Session | None = None, rows: bool = False,
        max_price_micro: int | None = None, timeout_s: float | None = None,
    ) -> Answer:
        """What the model continues `prompt` with, without a chat template."""
        body = Body(TextPrompt(prompt), tuple(stop), grammar=grammar)
        question = Question(model, body, params or Params(), max_tokens, max_price_micro, session, rows)
        return await self.complete(question, timeout_s=timeout_s)

    def _ends(self, model: str) -> frozenset[int]:
        """Token ids that end an answer, as far as this client knows."""
        spec = next((spec for spec in self.links.genesis.models if spec.model == model), None)
        if spec is not None and spec.eos_ids:
            return frozenset(spec.eos_ids)
        card = self._cards.get(model)
        return frozenset(card.eos_ids) if card is not None else frozenset()

    # -- what peers say ---------------------------------------------------------------------------------------------

    async def models(self) -> tuple[ModelCard, ...]:
        """The models in use, by one peer's word. Raises Unavailable where no peer answers."""
        async def asked(ask: Ask, peer: str) -> tuple[ModelCard, ...]:
            governance = read(GovernanceAnswer, await ask({"op": "governance"}), "governance", peer)
            prices = read(PricesAnswer, await ask({"op": "prices"}), "prices", peer)
            return cards(self.links.genesis, governance, prices, peer)

        found = await self.links.ask_any(asked)
        self._cards = {card.name: card for card in found}
        return found

    async def account(self, notices_since: int = 0) -> AccountAnswer:
        """Balance, nonces, hot keys and notices of later heights, by one peer's word. `folkmoot prove account` proves
        it."""
        wanted = {"op": "account", "account": self.payer.account.hex(), "since": notices_since}
        return await self.links.ask_any(partial(_read, AccountAnswer, wanted))

    async def inference(self, inference_id: bytes) -> InferenceAnswer:
        """What became of an answer: its status, verdicts, and who was paid, by one peer's word. Raises
        InvalidRequest(code='not_found') where the chain does not have it (yet)."""
        return await self.links.ask_any(partial(_read, InferenceAnswer, {"op": "inference", "id": inference_id.hex()}))

    async def model_text(self, model: str) -> ModelFiles:
        """A model's tokenizer and chat template, from the disk or from peers, checked by their hashes. Raises
        InvalidRequest where the registry names no such model or tokenizer, Unavailable where no peer has the files."""
        card = self._cards.get(model)
        if card is None:
            card = next((card for card in await self.models() if card.name == model), None)
        if card is None:
            raise InvalidRequest(f"the network has no model {model[:60]!r} in use", field="model")
        if card.tokenizer_hash == NO_HASH:
            raise InvalidRequest(f"the registry names no tokenizer of {model[:60]!r}", field="model")
        tokenizer = await self._file(card.tokenizer_hash, MAX_TOKENIZER)
        template = (await self._file(card.template_hash, MAX_TEMPLATE_FILE)).decode("utf-8", "replace")
        return ModelFiles(card, tokenizer, template if card.has_template else None)

    async def counted(self, question: Question) -> Question:
        """The same question, with a bound on its prompt that the model's own tokenizer counted. So less of the account
        is held than by counting bytes. Raises as model_text, and InvalidRequest for a body that makes no tokens."""
        files = await self.model_text(question.model)

        def count() -> int:
            key = (files.card.tokenizer_hash, files.card.template_hash)
            if key not in self._texts:
                self._texts[key] = files.load()
            return len(self._texts[key].prompt(question.body)) + len(question.body.begun_tokens)

        return replace(question, prompt_tokens=await trio.to_thread.run_sync(count))

    async def _file(self, name: str, limit: int) -> bytes:
        """The file whose SHA-256 is `name`; empty for none."""
        wanted = bytes.fromhex(name)
        if not any(wanted):
            return b""
        kept = await trio.to_thread.run_sync(self.cache.get, wanted)
        if kept is not None:
            return kept

        async def fetched(ask: Ask, peer: str) -> bytes:
            try:
                return await fetch_file(ask, peer, wanted, limit)
            except InvalidRequest as error:  # it does not have the file, or does not know the question
                raise Unavailable(error.message, field="model", code="not_found") from error

        with trio.move_on_after(CLIENT_FILE_S):
            raw = await self.links.ask_any(fetched)
            await trio.to_thread.run_sync(self.cache.put, wanted, raw)
            return raw
        raise Unavailable(f"no peer gave the file {name[:12]} in {CLIENT_FILE_S:g} s", field="model", code="timeout")


async def _read(kind: type[Any], wanted: dict[str, Any], ask: Ask, peer: str) -> Any:
    return read(kind, await ask(wanted), wanted["op"], peer)


def chat_question(
    model: str, messages: Sequence[ChatMessage] | str, *, tools: Sequence[Tool] = (),
    max_tokens: int = DEFAULT_MAX_TOKENS, params: Params | None = None, stop: Sequence[str] = (),
    grammar: Grammar | None = None, session: Session | None = None, rows: bool = False,
    max_price_micro: int | None = None,
) -> Question:
    """A question to a chat model, as Client.chat puts it: for `Client.answer`."""
    said = (user(messages),) if isinstance(messages, str) else tuple(messages)
    body = Body(Chat(said, tuple(tools)), tuple(stop), grammar=grammar)
    return Question(model, body, params or Params(), max_tokens, max_price_micro, session, rows)


def user(text: str) -> ChatMessage:
    """What the user says."""
    return ChatMessage(Role.USER, text)


def with_answer(messages: Sequence[ChatMessage], answer: Answer, then: str) -> tuple[ChatMessage, ...]:
    """The conversation with the model's answer and what the user says to that."""
    return (*messages, ChatMessage(Role.ASSISTANT, answer.text), user(then))

