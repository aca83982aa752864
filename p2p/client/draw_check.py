"""What a client finds out about its draw: who was serving at its height.

Law: from the genesis file on, behind certificates and state proofs; what only the peer says is marked as its word.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from p2p.base.codec import unpack
from p2p.base.errors import FolkmootError
from p2p.base.genesis import Genesis
from p2p.base.weighted_draw import WeightedDraw
from p2p.chain.proofs.serving import ServingProof, open_price, open_serving
from p2p.client.tip_proof import Prover, QueryPeer
from p2p.consensus.light import Facts, genesis_facts
from p2p.wire.answers.blocks import ServingAnswer
from p2p.wire.answers.reading import read


class Known(StrEnum):
    """How well a receipt's draw is known."""

    PROVED = "proved"  # the serving set is in the state that a decided header stands for
    SAID = "the peer's word"  # that header was not decided yet
    UNKNOWN = "not checked"


@dataclass(slots=True)
class DrawCheck:
    """One draw. Call `look` right after the peer accepted, while its state knows the set; `settle` when the answer is
    here."""

    genesis: Genesis
    model: str
    height: int  # of the draw
    serving: WeightedDraw | None = None  # the set it is made from; None where the peer shows none
    beacon: bytes = b""  # of that height, proved before the request was signed
    known: Known = Known.UNKNOWN
    price_micro: int | None = None  # of the next token; None unless proved
    facts: Facts | None = field(default=None, repr=False)  # what is trusted already; None: the genesis file
    _price: int | None = field(default=None, repr=False)
    _app_hash: bytes = field(default=b"", repr=False)
    _stands_at: int = field(default=0, repr=False)  # the header that has this app hash

    async def look(self, ask: QueryPeer, peer: str = "") -> None:
        try:
            said = await ask({"op": "serving", "model": self.model, "height": self.height})
            answer = read(ServingAnswer, said, "serving", peer)
            proof = unpack(ServingProof, bytes.fromhex(answer.proof))
            self.serving, self._app_hash = open_serving(proof, self.model, self.height)
            price, root = open_price(proof, self.model)
            self._price = price if root == self._app_hash else None
            self._stands_at, self.known = proof.height + 1, Known.SAID
        except FolkmootError:
            self.serving = None

    async def settle(self, ask: QueryPeer, peer: str = "") -> None:
        """Follow headers to the one that stands for the set. A set that a header contradicts is no set."""
        facts = self.facts or genesis_facts(self.genesis)
        if self.serving is None or self._stands_at <= facts.height:
            return
        try:
            header = (await Prover(self.genesis, ask, peer).header(facts, self._stands_at)).header
        except FolkmootError:
            return  # not decided yet
        if header.app_hash == self._app_hash:
            self.known, self.price_micro = Known.PROVED, self._price
        else:
            self.serving, self.known = None, Known.UNKNOWN
