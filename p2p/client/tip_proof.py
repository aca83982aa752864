"""What a client signs on: the height and beacon of its draw, its nonce, its price.

Law: nothing is signed on a peer's word alone. The height is proved by the header's certificate, from the genesis file
on; a nonce is near the last one used here, or proved; a price is near one that was proved, or its user said so. A proof
of a value of the state waits for the next block. So it is asked for only where a peer's word is far from what is known.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import trio

from p2p.base.codec import unpack
from p2p.base.errors import FolkmootError, InvalidRequest, RemoteProtocolError, Unavailable
from p2p.base.genesis import Genesis
from p2p.base.serving_limits import MAX_NONCE_AHEAD
from p2p.chain.proofs.serving import ServingProof, open_price
from p2p.chain.proofs.state import key_of
from p2p.client.nonces import Nonces
from p2p.consensus.light import TRUSTING_MS, Facts, LightBlock, facts_of, follow, genesis_facts
from p2p.ledger.state.proofs import TreeProof, implied_root
from p2p.ledger.state.records import NONCE_WINDOW, Account
from p2p.ledger.state.tree import app_hash
from p2p.wire.answers.accounts import Tip
from p2p.wire.answers.blocks import Light, Proved, ServingAnswer
from p2p.wire.answers.reading import read

QueryPeer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]  # asks the peer

NONCES_ON_WORD = NONCE_WINDOW  # so far beyond the last nonce used here a peer is believed
PRICE_FACTOR = 2  # of the price known: what is signed for when its user says nothing
HEADER_WAIT_S = 30.0
ASK_AGAIN_S = 0.3


@dataclass(frozen=True, slots=True)
class Ground:
    """Of the newest header a peer shows, and what the peer says beside it. facts: that header's, trusted."""

    height: int
    beacon: bytes
    facts: Facts
    tip: Tip


@dataclass(frozen=True, slots=True)
class Prover:
    """Asks one peer and believes what follows from the genesis file."""

    genesis: Genesis
    ask: QueryPeer
    peer: str

    async def ground(self, account: bytes, model: str, notices_since: int = 0) -> Ground:
        """One question and, where validators have changed much, some headers in between."""
        question = {"op": "tip", "account": account.hex(), "model": model, "since": notices_since}
        tip = read(Tip, await self.ask(question), "tip", self.peer)
        start = genesis_facts(self.genesis)
        if any(notice.height > tip.height for notice in tip.notices):
            raise RemoteProtocolError("a notice is of a height that the peer's chain has not", field="notices")
        if tip.height == 0:
            return Ground(0, self.genesis.hash, start, tip)
        if tip.light is None:
            raise RemoteProtocolError(f"peer {self.peer} does not show its block {tip.height}", field="light")
        block = await self.header(start, tip.height, self._block(tip.light))
        return Ground(tip.height, block.header.beacon, facts_of(block, self.genesis.network), tip)

    def _block(self, light: str) -> LightBlock:
        return unpack(LightBlock, bytes.fromhex(light))

    async def header(self, facts: Facts, height: int, first: LightBlock | None = None) -> LightBlock:
        """Header `height`, which follows from `facts`. first: that header, where the peer gave it already. The genesis
        file is trusted however old it is, because a client has no later header. Raises FolkmootError."""
        now_ms = time.time_ns() // 1_000_000
        steps = follow(facts, height, self.genesis.network, now_ms, now_ms - self.genesis.time_ms + TRUSTING_MS)
        try:
            wanted = next(steps)
            while True:
                found, first = first, None
                if found is None or found.header.height != wanted:
                    answer = read(Light, await self.ask({"op": "light", "height": wanted}), "light", self.peer)
                    found = self._block(answer.light)
                wanted = steps.send(found)
        except StopIteration as trusted:
            way: list[LightBlock] = trusted.value
            return way[-1]

    async def header_soon(self, facts: Facts, height: int) -> LightBlock:
        """The same of a header that is decided in the next moments. Raises Unavailable when it does not come."""
        with trio.move_on_after(HEADER_WAIT_S):
            while True:
                try:
                    return await self.header(facts, height)
                except FolkmootError as error:
                    if error.code != "not_found":
                        raise
                await trio.sleep(ASK_AGAIN_S)
        raise Unavailable(
            f"block {height}, which would prove what peer {self.peer} says, did not come in {HEADER_WAIT_S:g} s",
            field="height",
        )

    async def account(self, facts: Facts, account: bytes) -> Account:
        """As the state has it, proved; waits for the next block."""
        answer = await self.ask({"op": "prove", "kind": "account", "id": account.hex()})
        found = read(Proved, answer, "prove", self.peer)
        value = None if found.value is None else bytes.fromhex(found.value)
        root = implied_root(key_of("account", account), value, unpack(TreeProof, bytes.fromhex(found.proof)))
        await self._stands(facts, found.height + 1, app_hash(root) if root is not None else None)
        return Account() if value is None else unpack(Account, value)

    async def price(self, facts: Facts, model: str, height: int) -> int | None:
        """Of a token, proved, None where the model was never asked for; waits for the next block."""
        answer = await self.ask({"op": "serving", "model": model, "height": height})
        proof = unpack(ServingProof, bytes.fromhex(read(ServingAnswer, answer, "serving", self.peer).proof))
        price, root = open_price(proof, model)
        await self._stands(facts, proof.height + 1, root)
        return price

    async def _stands(self, facts: Facts, height: int, root: bytes | None) -> None:
        if not facts.height < height < 1 << 32:
            raise RemoteProtocolError(
                f"peer {self.peer} proves something of height {height - 1}, older than its own tip", field="proof"
            )
        if root is None or (await self.header_soon(facts, height)).header.app_hash != root:
            raise RemoteProtocolError(f"peer {self.peer} proves what the chain does not say", field="proof")


async def next_nonce(prover: Prover, ground: Ground, account: bytes, nonces: Nonces | None) -> int:
    """The lowest nonce that may be signed next: the peer's word where it is near the last one used here, otherwise a
    proved one. Nonces that were signed here and never came on chain are given up when they are far above: then they can
    count no more, or only once."""
    offered, last = ground.tip.next_nonce, nonces.last(account) if nonces is not None else 0
    if last - MAX_NONCE_AHEAD // 2 <= offered <= last + NONCES_ON_WORD:
        return offered
    high = (await prover.account(ground.facts, account)).nonce_high
    if nonces is not None and last > high + MAX_NONCE_AHEAD // 2:
        nonces.lower(account, high, last)
    return high + 1


def price_limit(model: str, seen_micro: int, known_micro: int, said_micro: int | None) -> int:
    """The most per token that is signed, in micro-credits. Raises InvalidRequest when a token costs more.

    seen: what the peer says it costs now. known: proved, or of the genesis file. said: the user's own bound.
    """
    most = said_micro if said_micro is not None else PRICE_FACTOR * known_micro
    if seen_micro > most:
        why = f"more than {PRICE_FACTOR} times the {known_micro} it cost last"
        if said_micro is not None:
            why = "more than --max-price allows"
        raise InvalidRequest(
            f"a token of {model} costs {seen_micro} micro-credits now, says the peer: {why}; to pay that, say"
            f" --max-price {seen_micro}", field="max_price",
        )
    return most if said_micro is not None else min(most, PRICE_FACTOR * seen_micro)
