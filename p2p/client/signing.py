"""Signs a request, on what is proved or bounded.

Law: what it may cost is known before it is signed; where something is wrong, nothing is signed and no nonce is used.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from p2p.base.codec import encode, unpack
from p2p.base.errors import InvalidRequest, Unavailable
from p2p.base.keys import Domain, public_key_of
from p2p.base.types import NO_SESSION, VERSION, Request, SignedRequest
from p2p.base.weighted_draw import WeightedDraw, draw_executors
from p2p.chain.proofs.serving import ServingProof, open_serving
from p2p.client.draw_check import DrawCheck
from p2p.client.events import TermsShown
from p2p.client.question import Endpoint, Overrides, Payer, Question
from p2p.client.recent_tips import RecentTips
from p2p.client.session import SessionDraw
from p2p.client.tip_proof import Ground, Prover, QueryPeer, next_nonce, price_limit
from p2p.wire.answers.blocks import ServingAnswer
from p2p.wire.answers.reading import read

NONCE_TRIES = 48  # below the ledger's window: a nonce chosen ahead leaves those of the account's other requests free


@dataclass(frozen=True, slots=True)
class RequestSigner:
    """Signs one question for one peer, in three steps: `ground`, `terms`, `sign`. Each raises FolkmootError; then
    nothing is signed."""

    to: Endpoint
    question: Question
    payer: Payer
    overrides: Overrides
    query: QueryPeer  # asks that peer
    tips: RecentTips | None = None

    @property
    def _prover(self) -> Prover:
        return Prover(self.to.genesis, self.query, self.to.peer_id)

    async def ground(self) -> Ground:
        """The newest header that the peer shows, proved, and what it says of the account and the model."""
        payer, given = self.payer, self.overrides.ground
        if given is not None:
            return given
        if self.tips is None or payer.nonces is None:
            return await self._prover.ground(payer.account, self.question.model, payer.notices_since)
        return await self.tips.ground(self._prover, payer.account, self.question.model, payer.notices_since)

    def forget_tip(self) -> bool:
        """Ask the peer for its tip next time. Returns whether that may help."""
        return self.tips is not None and self.tips.forget(self.to.peer_id, self.payer.account, self.question.model)

    async def terms(self, ground: Ground) -> TermsShown:
        """What it may cost. Raises InvalidRequest where a token costs more than is allowed."""
        question, prover, seen = self.question, self._prover, ground.tip.price_micro
        if seen is None:
            raise InvalidRequest(f"peer {prover.peer} knows no model {question.model[:60]!r}", field="model")
        known = self.payer.known_prices.get(question.model) if self.payer.known_prices is not None else None
        if known is None:
            known = next((model.price_micro for model in prover.genesis.models if model.model == question.model), None)
        if known is None and question.max_price_micro is None:  # it came by a vote, and was never asked for from here
            known = await prover.price(ground.facts, question.model, ground.height)
        limit = price_limit(question.model, seen, known or seen, question.max_price_micro)
        return TermsShown(seen, limit, question.tokens, ground.tip.balance_micro)

    async def sign(
        self, ground: Ground, terms: TermsShown, nonce: int | None = None
    ) -> tuple[SignedRequest, DrawCheck]:
        """The signed request, and what is known of its draw. nonce: to be used again; None: the next one."""
        lowest, account = ground.tip.next_nonce, self.payer.account
        if self.overrides.ground is None:
            lowest = await next_nonce(self._prover, ground, account, self.payer.nonces)
        model = self.question.model
        wanted, session = self.overrides.choose_executor, self.question.session
        if wanted is not None and session is not None:
            raise InvalidRequest("no nonce changes whom a session draws; ask without one", field="choose_executor")
        serving = await self._serving(ground.height) if wanted is not None else None
        # from here to the signature nothing waits, so a session begins once
        draw = session.at(model, ground.height, ground.beacon) if session is not None else None
        drawn = DrawCheck(
            self.to.genesis, model, ground.height, beacon=ground.beacon, facts=ground.facts, session=draw
        )
        request = self._request(ground, terms, draw)

        def choose(lowest: int) -> int:
            if wanted is None:
                return lowest
            for nonce in range(lowest, lowest + NONCE_TRIES):
                if serving is None:
                    break
                inference_id = self._signed(request, nonce).inference_id
                if draw_executors(ground.beacon, inference_id, serving, request.agent, 1) == (wanted,):
                    return nonce
            raise Unavailable("no nonce draws the executor wanted; does it serve the model?", field="choose_executor")

        if nonce is None:
            nonces = self.payer.nonces
            nonce = choose(lowest) if nonces is None else nonces.take(account, lowest, choose)
        return self._signed(request, nonce), drawn

    async def _serving(self, height: int) -> WeightedDraw:
        """From whom a draw at `height` is made, by the peer's word: for a choice of nonce, which proves nothing."""
        model = self.question.model
        answer = await self.query({"op": "serving", "model": model, "height": height})
        proof = read(ServingAnswer, answer, "serving", self.to.peer_id).proof
        return open_serving(unpack(ServingProof, bytes.fromhex(proof)), model, height)[0]

    def _request(self, ground: Ground, terms: TermsShown, draw: SessionDraw | None) -> Request:
        """Without its nonce."""
        question = self.question
        return Request(
            VERSION, self.to.network, self.payer.account, 0, question.model, question.body.hash, question.params,
            question.prompt_bound, question.max_tokens, terms.max_price_micro,
            ground.height + self.overrides.deadline_ahead, self.payer.key.public, ground.height,
            public_key_of(self.to.peer_id), *((draw.id, draw.height) if draw is not None else (NO_SESSION, 0)),
        )

    def _signed(self, request: Request, nonce: int) -> SignedRequest:
        whole = replace(request, client_nonce=nonce)
        return SignedRequest(whole, self.payer.key.sign(Domain.REQUEST, whole.network, encode(whole)))
