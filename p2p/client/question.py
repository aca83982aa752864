"""What is asked, by whom, and who is told what on the way. Law: data only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from p2p.base.genesis import Genesis
from p2p.base.keys import Key, NetworkId
from p2p.base.types import Params, SignedRequest
from p2p.client.answer_proof import AnswerProof
from p2p.client.known_prices import KnownPrices
from p2p.client.nonces import Nonces

if TYPE_CHECKING:
    from p2p.client.tip_proof import Ground

TEMPLATE_TOKENS = 64  # room for the chat template in the client's own bound on prompt tokens


@dataclass(frozen=True, slots=True)
class Terms:
    """What a request is about to cost: shown before it is signed."""

    price_micro: int  # of a token now, by the peer's word
    max_price_micro: int  # of a token, as it is signed
    tokens: int  # the most of prompt and answer together
    balance_micro: int

    @property
    def most_micro(self) -> int:
        return self.max_price_micro * self.tokens


@dataclass(frozen=True, slots=True)
class AskSpec:
    """One question to one peer."""

    peer: str  # multiaddr with /p2p/ID
    key: Key  # signs the request
    network: NetworkId
    model: str
    prompt: str
    params: Params = field(default_factory=Params)
    max_tokens: int = 128
    max_price_micro: int | None = None  # of a token; None: bounded by what is known of it (signing.py)
    deadline_ahead: int = 300  # heights after the draw's
    nonce: int | None = None  # None: the next one
    nonces: Nonces | None = None  # what was used before, from here
    genesis: Genesis | None = None  # without it nothing can be proved, and nothing is signed
    choose_executor: bytes | None = None  # for test networks: search a nonce whose draw puts this node first
    # gets the proof of the answer before the event `done`, whatever the receipt says
    on_proof: Callable[[AnswerProof], None] | None = None
    on_signed: Callable[[SignedRequest], None] | None = None  # gets the request before it is sent
    account: bytes | None = None  # who pays, where `key` is a hot key of that account
    notices_since: int = 0  # only notices of later heights are wanted
    # gets what the peer says became of earlier inferences, when there is anything; its word only
    on_notices: Callable[[list[dict[str, Any]]], None] | None = None
    # gets what it will cost, before anything is signed; what it raises ends the question
    on_terms: Callable[[Terms], None] | None = None
    known_prices: KnownPrices | None = None
    # of the asking peer's own chain, where there is one: the other peer is not asked for it
    ground: Ground | None = None

    @property
    def agent(self) -> str:
        """The peer's id."""
        return id_of(self.peer)

    @property
    def payer(self) -> bytes:
        return self.account or self.key.public

    @property
    def tokens(self) -> int:
        """The client's bound on prompt and answer together."""
        return prompt_bound(self.prompt) + self.max_tokens


def id_of(multiaddr: str) -> str:
    """The peer id at the end of a multiaddr."""
    return multiaddr.rsplit("/p2p/", 1)[-1]


def prompt_bound(prompt: str) -> int:
    """A bound on a prompt's tokens: no tokenizer makes more tokens of a text than it has bytes (decision 004)."""
    return len(prompt.encode()) + TEMPLATE_TOKENS
