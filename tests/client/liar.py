"""A peer with a true chain, for clients: it answers queries, and lies where a test wants it to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio
from msgspec.structs import replace

from p2p.base.body import one_message
from p2p.base.genesis import Genesis
from p2p.base.keys import Key
from p2p.base.types import SignedRequest
from p2p.chain.account_transactions import AccountTransactions
from p2p.chain.chain import Chain
from p2p.chain.queries import Queries
from p2p.client.draw_check import DrawCheck
from p2p.client.known_prices import KnownPrices
from p2p.client.nonces import Nonces
from p2p.client.question import NO_OVERRIDES, Endpoint, Payer, Question
from p2p.client.session import Session
from p2p.client.signing import RequestSigner
from tests.chain.test_sync import now_ms
from tests.chains import extend
from tests.sim.run import KEYS, genesis_of
from tests.sim.scenario import Scenario
from tests.sim.traffic import CLIENT, MODEL

BY_KEY = {key.public: key for key in KEYS}
PEER = Key(b"\x09" * 32)
Change = Callable[[dict[str, Any]], Any]


def a_genesis(**fields: Any) -> Genesis:
    """Of four peers that serve MODEL, long enough ago for blocks since. fields: instead of its own."""
    return replace(genesis_of(Scenario(0, (1, 1, 1, 1))), time_ms=now_ms() - 100_000, **fields)


class Liar:
    """A peer with a true chain, which grows when somebody waits for a block. lies: operation -> what it makes of its
    answer."""

    def __init__(self, folder: Path, genesis: Genesis | None = None) -> None:
        self.folder = folder
        self.chain = Chain.open(folder / "peer", genesis or a_genesis())
        self.queries, self.lies = Queries(
            self.chain, dict, tuple, AccountTransactions(self.chain).fate
        ), dict[str, Change]()
        self.asked: list[str] = []
        self.nonces = Nonces(folder / "nonces")
        self.prices = KnownPrices(folder / "prices")
        self.grow(5)

    def grow(self, heights: int) -> None:
        begin = now_ms() - 60_000
        extend(self.chain, self.chain.height() + heights, BY_KEY, lambda height: begin + height)

    async def question(self, body: dict[str, Any]) -> Any:
        await trio.lowlevel.checkpoint()
        self.asked.append(body["op"])
        if body["op"] == "light" and body["height"] > self.chain.height():
            self.grow(1)
        answer = self.queries.answer_public(json.loads(json.dumps(body)))
        return self.lies.get(body["op"], lambda found: found)(answer)

    @property
    def to(self) -> Endpoint:
        return Endpoint(f"/ip4/127.0.0.1/tcp/1/p2p/{PEER.peer_id}", self.chain.genesis)

    @property
    def payer(self) -> Payer:
        return Payer(CLIENT, self.nonces, self.prices)

    async def signed(
        self, max_price_micro: int | None = None, session: Session | None = None
    ) -> tuple[SignedRequest, DrawCheck]:
        asked = Question(
            MODEL, one_message("hello"), max_tokens=10, max_price_micro=max_price_micro, session=session
        )
        signer = RequestSigner(self.to, asked, self.payer, NO_OVERRIDES, self.question)
        ground = await signer.ground()
        return await signer.sign(ground, await signer.terms(ground))

    async def request(self, max_price_micro: int | None = None) -> SignedRequest:
        return (await self.signed(max_price_micro))[0]

    def says(self, **fields: Any) -> None:
        self.lies["tip"] = lambda answer: {**answer, **fields}
