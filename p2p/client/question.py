"""What is asked, of which peer, and who pays. Law: data only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from p2p.base.body import Body, Chat, ChatMessage, TextPrompt
from p2p.base.genesis import Genesis
from p2p.base.keys import Key, NetworkId
from p2p.base.token_ids import TOKEN_BYTES
from p2p.base.types import Params
from p2p.client.known_prices import KnownPrices
from p2p.client.nonces import Nonces
from p2p.client.session import Session
from p2p.client.tip_proof import Ground

# Room for the chat template in the client's own bound on prompt tokens.
TEMPLATE_TOKENS = 64  # around the whole, with a system prompt of the template's own
MESSAGE_TOKENS = 16  # around each further message: role, separators
TOOLS_TOKENS = 512  # the template's own words about tools
CALL_TOKENS = 32  # around each call of a tool


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The peer that is asked."""

    address: str  # multiaddr with /p2p/ID
    genesis: Genesis  # of its network; what proofs begin with

    @property
    def peer_id(self) -> str:
        return id_of(self.address)

    @property
    def network(self) -> NetworkId:
        return self.genesis.network


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked."""

    model: str  # its name in the registry
    body: Body  # what is continued, and how the answer must look
    params: Params = field(default_factory=Params)
    max_tokens: int = 128  # of the answer
    max_price_micro: int | None = None  # of a token; None: bounded by what is known of it (signing.py)
    session: Session | None = None  # the conversation that it belongs to; None: to none
    rows: bool = False  # Token events carry log-probabilities
    # The bound on the prompt's tokens, where it was counted with the model's own tokenizer; None: by the bytes.
    prompt_tokens: int | None = None

    @property
    def prompt_bound(self) -> int:
        """The client's bound on the tokens of the prompt, those of `Body.begun` included."""
        return prompt_bound(self.body) if self.prompt_tokens is None else self.prompt_tokens

    @property
    def tokens(self) -> int:
        """The client's bound on prompt and answer together."""
        return self.prompt_bound + self.max_tokens


@dataclass(frozen=True, slots=True)
class Payer:
    """Who pays, and what is remembered of its earlier requests."""

    key: Key  # signs the request
    nonces: Nonces | None = None  # what was used before, from here
    known_prices: KnownPrices | None = None
    hot_key_of: bytes | None = None  # the account that pays, where `key` is a hot key of it
    notices_since: int = 0  # only notices of later heights are wanted

    @classmethod
    def load(cls, folder: Path, *, hot_key_of: bytes | None = None, notices_since: int = 0) -> Payer:
        """With the key in `folder`/account.key, and nonces and prices beside it. Raises ConfigError."""
        key, nonces = Key.load(folder / "account.key"), Nonces(folder / "nonces")
        return cls(key, nonces, KnownPrices(folder / "prices"), hot_key_of, notices_since)

    @property
    def account(self) -> bytes:
        """The account that pays."""
        return self.hot_key_of or self.key.public


@dataclass(frozen=True, slots=True)
class Overrides:
    """What test networks, and a peer with a chain of its own, set themselves."""

    nonce: int | None = None  # None: the next one
    choose_executor: bytes | None = None  # search a nonce whose draw puts this node first
    deadline_ahead: int = 300  # heights after the draw's
    # of the asking peer's own chain, where there is one: the other peer is not asked for it
    ground: Ground | None = None


NO_OVERRIDES = Overrides()


def id_of(multiaddr: str) -> str:
    """The peer id at the end of a multiaddr."""
    return multiaddr.rsplit("/p2p/", 1)[-1]


def prompt_bound(body: Body) -> int:
    """A bound on a prompt's tokens: no tokenizer makes more tokens of a text than it has bytes (decision 004)."""
    prompt, begun = body.prompt, len(body.begun) // TOKEN_BYTES
    if isinstance(prompt, Chat):
        return begun + TEMPLATE_TOKENS + _chat_bound(prompt)
    if isinstance(prompt, TextPrompt):
        return begun + TEMPLATE_TOKENS + len(prompt.text.encode())
    return begun + len(prompt.ids) // TOKEN_BYTES


def _chat_bound(chat: Chat) -> int:
    found = MESSAGE_TOKENS * (len(chat.messages) - 1) + sum(map(_message_bound, chat.messages))
    if chat.tools:
        # a template may write their JSON with a blank after each sign
        whole = sum(len((tool.name + tool.description + tool.parameters).encode()) for tool in chat.tools)
        found += TOOLS_TOKENS + 2 * whole + CALL_TOKENS * len(chat.tools)
    return found + len(chat.template_args.encode())


def _message_bound(message: ChatMessage) -> int:
    calls = sum(len((call.id + call.name).encode()) + 2 * len(call.arguments.encode()) for call in message.calls)
    said = message.content + message.name + message.call_id
    return len(said.encode()) + calls + CALL_TOKENS * len(message.calls)
