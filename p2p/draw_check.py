"""What a client finds out about its draw: the beacon of the height and who was serving then. Law: from the genesis file on, behind certificates
and state proofs; what only the peer says is called so.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from p2p.codec import unpack
from p2p.consensus.light import TRUSTING_MS, Facts, LightBlock, facts_of, follow, genesis_facts
from p2p.errors import FolkmootError
from p2p.genesis import Genesis
from p2p.inference.draw import Lots
from p2p.serving_proof import ServingProof, open_serving

Question = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]  # asks the peer


class Known(StrEnum):
    """How well a receipt's draw is known."""

    PROVED = "proved"  # the serving set is in the state that a decided header stands for
    SAID = "the peer's word"  # that header was not decided yet
    UNKNOWN = "not checked"


@dataclass(slots=True)
class DrawCheck:
    """One draw at `height` of `model`. `look` right after the peer accepted, while its state knows the set; `settle` when the answer is
    here. serving: None where the peer shows none; beacon: empty where none follows from the genesis file."""

    genesis: Genesis
    model: str
    height: int
    serving: Lots | None = None
    beacon: bytes = b""
    known: Known = Known.UNKNOWN
    _app_hash: bytes = field(default=b"", repr=False)
    _stands_at: int = field(default=0, repr=False)  # the header that has this app hash

    async def look(self, ask: Question) -> None:
        try:
            answer = await ask({"op": "serving", "model": self.model, "height": self.height})
            proof = unpack(ServingProof, bytes.fromhex(answer["proof"]))
            self.serving, self._app_hash = open_serving(proof, self.model, self.height)
            self._stands_at, self.known = proof.height + 1, Known.SAID
        except (FolkmootError, KeyError, TypeError, ValueError):
            self.serving = None

    async def settle(self, ask: Question) -> None:
        """Follow headers to the draw's height, and to the one that stands for the set. A set that a header contradicts is no set."""
        facts = genesis_facts(self.genesis)
        if self.height == 0:
            self.beacon = self.genesis.hash
        else:
            block = await self._header(ask, facts, self.height)
            if block is None:
                return
            facts, self.beacon = facts_of(block, self.genesis.network), block.header.beacon
        if self.serving is None:
            return
        block = await self._header(ask, facts, self._stands_at)
        if block is not None and block.header.app_hash == self._app_hash:
            self.known = Known.PROVED
        elif block is not None:
            self.serving, self.known = None, Known.UNKNOWN

    async def _header(self, ask: Question, facts: Facts, height: int) -> LightBlock | None:
        """Header `height` where it follows from `facts`. The genesis is trusted however old it is: the client has no later header."""
        now_ms = time.time_ns() // 1_000_000
        steps = follow(facts, height, self.genesis.network, now_ms, now_ms - self.genesis.time_ms + TRUSTING_MS)
        try:
            wanted = next(steps)
            while True:
                answer = await ask({"op": "light", "height": wanted})
                wanted = steps.send(unpack(LightBlock, bytes.fromhex(answer["light"])))
        except StopIteration as trusted:
            way: list[LightBlock] = trusted.value
            return way[-1]
        except (FolkmootError, KeyError, TypeError, ValueError):
            return None
