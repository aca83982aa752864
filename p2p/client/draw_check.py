"""What a client finds out about its draw: who was serving at its height, and at its session's.

Law: from the genesis file on, behind certificates and state proofs; what only the peer says is marked as its word.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from p2p.base.codec import unpack
from p2p.base.errors import FolkmootError
from p2p.base.executor_draw import session_lots
from p2p.base.genesis import Genesis
from p2p.base.weighted_draw import WeightedDraw
from p2p.chain.proofs.serving import ServingProof, open_price, open_serving
from p2p.client.session import SessionDraw
from p2p.client.tip_proof import Prover, QueryPeer
from p2p.consensus.light import Facts, genesis_facts
from p2p.wire.answers.blocks import ServingAnswer
from p2p.wire.answers.reading import read


class Known(StrEnum):
    """How well a receipt's draw is known."""

    PROVED = "proved"  # the serving set is in the state that a decided header stands for
    SAID = "the peer's word"  # that header was not decided yet
    UNKNOWN = "not checked"


@dataclass(frozen=True, slots=True)
class _Claim:
    """A serving set, by the peer's word."""

    serving: WeightedDraw
    price_micro: int | None
    app_hash: bytes
    stands_at: int  # the header that has this app hash


@dataclass(slots=True)
class DrawCheck:
    """One draw. Call `look` right after the peer accepted, while its state knows the set; `settle` when the answer is
    here."""

    genesis: Genesis
    model: str
    height: int  # of the draw
    serving: WeightedDraw | None = None  # the set of that height; None where the peer shows none
    beacon: bytes = b""  # of that height, proved before the request was signed
    known: Known = Known.UNKNOWN
    price_micro: int | None = None  # of the next token; None unless proved
    facts: Facts | None = field(default=None, repr=False)  # what is trusted already; None: the genesis file
    session: SessionDraw | None = None  # by which the executors are drawn; None: by the inference
    _claim: _Claim | None = field(default=None, repr=False)
    _claim_then: _Claim | None = field(default=None, repr=False)  # of the session's height, where it was asked for

    @property
    def lots(self) -> WeightedDraw | None:
        """Whom the executors are drawn from; None where that is not shown."""
        if self.serving is None or self.session is None:
            return self.serving
        return session_lots(self.session.serving, self.serving) if self.session.serving is not None else None

    @property
    def drawn_by(self) -> bytes:
        """The beacon that draws the executors."""
        return self.beacon if self.session is None else self.session.beacon

    async def look(self, ask: QueryPeer, peer: str = "") -> None:
        self._claim = await self._shown(ask, peer, self.height)
        self.serving, self.known = self._claim.serving if self._claim else None, Known.UNKNOWN
        session = self.session
        if session is not None and session.serving is None:
            same = session.height == self.height
            self._claim_then = self._claim if same else await self._shown(ask, peer, session.height)
            session.serving = self._claim_then.serving if self._claim_then else None
        if self.lots is not None:
            self.known = Known.SAID

    async def settle(self, ask: QueryPeer, peer: str = "") -> None:
        """Follow headers to those that stand for the sets. A set that a header contradicts is no set."""
        if self._claim is None:
            return
        holds = await self._stands(ask, peer, self._claim)
        if holds is False:
            self.serving, self.known = None, Known.UNKNOWN
        elif holds:
            self.price_micro = self._claim.price_micro
        session, then = self.session, self._claim_then
        if session is not None and then is not None and not session.is_proved:
            then_holds = holds if then is self._claim else await self._stands(ask, peer, then)
            if then_holds is False:
                session.serving, self.known = None, Known.UNKNOWN
            session.is_proved = bool(then_holds)
        if holds and self.lots is not None and (session is None or session.is_proved):
            self.known = Known.PROVED

    async def _shown(self, ask: QueryPeer, peer: str, height: int) -> _Claim | None:
        try:
            said = await ask({"op": "serving", "model": self.model, "height": height})
            answer = read(ServingAnswer, said, "serving", peer)
            proof = unpack(ServingProof, bytes.fromhex(answer.proof))
            serving, app_hash = open_serving(proof, self.model, height)
            price, root = open_price(proof, self.model)
            return _Claim(serving, price if root == app_hash else None, app_hash, proof.height + 1)
        except FolkmootError:
            return None

    async def _stands(self, ask: QueryPeer, peer: str, claim: _Claim) -> bool | None:
        """Whether a decided header says the same; None: it is not decided yet."""
        facts = self.facts or genesis_facts(self.genesis)
        if claim.stands_at <= facts.height:
            return None
        try:
            header = (await Prover(self.genesis, ask, peer).header(facts, claim.stands_at)).header
        except FolkmootError:
            return None
        return header.app_hash == claim.app_hash
