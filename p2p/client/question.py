"""What is asked, of which peer, and who pays. Law: data only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from p2p.base.genesis import Genesis
from p2p.base.keys import Key, NetworkId
from p2p.base.types import Params
from p2p.client.known_prices import KnownPrices
from p2p.client.nonces import Nonces
from p2p.client.tip_proof import Ground

TEMPLATE_TOKENS = 64  # room for the chat template in the client's own bound on prompt tokens


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

    model: str  # its name in the genesis file
    prompt: str
    params: Params = field(default_factory=Params)
    max_tokens: int = 128  # of the answer
    max_price_micro: int | None = None  # of a token; None: bounded by what is known of it (signing.py)

    @property
    def tokens(self) -> int:
        """The client's bound on prompt and answer together."""
        return prompt_bound(self.prompt) + self.max_tokens


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


def prompt_bound(prompt: str) -> int:
    """A bound on a prompt's tokens: no tokenizer makes more tokens of a text than it has bytes (decision 004)."""
    return len(prompt.encode()) + TEMPLATE_TOKENS
