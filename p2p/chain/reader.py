"""What the parts of a peer (agent, executor, validator, sprint runner) ask of the state.

Law: read only; every answer is of the state after the newest block.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2p.base.genesis import CheckRules, ModelSpec
from p2p.base.types import SignedRequest
from p2p.base.weighted_draw import WeightedDraw
from p2p.chain.state import ChainState
from p2p.chain.stores import archive
from p2p.chain.views import inferences as views
from p2p.chain.views.earnings import open_dispute_rows
from p2p.chain.views.inferences import Claim, Draw, Duty, Owed
from p2p.chain.views.sprint import SprintView, sprint_view
from p2p.ledger.conduct.stacks import stack_problem
from p2p.ledger.money.price import price_of
from p2p.ledger.money.requests import escrow_of
from p2p.ledger.participants.serving import Draw as ExecutorDraw
from p2p.ledger.participants.serving import draw_for, serving_at
from p2p.ledger.rules import parameters
from p2p.ledger.rules.models import model_spec, spec_at
from p2p.wire.answers.network import OpenDispute


@dataclass(frozen=True, slots=True)
class Standing:
    """What a node holds, all 0 where it is no participant."""

    weight: int = 0
    collateral_micro: int = 0
    owner_micro: int = 0  # balance of the account that registered it


class Reader:
    """Questions about participants, requests, models, draws and duties."""

    def __init__(self, state: ChainState) -> None:
        self._state = state

    def suspended(self, node: bytes) -> int:
        """The last height at which `node` may start nothing; 0 = it may."""
        participant = self._state.view().participant(node)
        return participant.suspended_until if participant else 0

    def stack_problem(self, node: bytes, model: str, stack: str) -> str:
        """Why a finish record of `node` would not be taken if it named `stack`; empty where it would."""
        return stack_problem(self._state.view(), node, model, stack)

    def standing(self, node: bytes) -> Standing:
        view = self._state.view()
        found = view.participant(node)
        if found is None:
            return Standing()
        return Standing(found.weight, found.collateral_micro, view.account(found.owner).balance_micro)

    def is_registered(self, node: bytes) -> bool:
        """Whether the chain takes batches of `node`: a participant under its key of now."""
        participant = self._state.view().participant(node)
        return participant is not None and participant.node == node

    def may_start(self, node: bytes) -> bool:
        """Whether `node` can put a Start on chain: a participant under its key of now, not suspended."""
        participant = self._state.view().participant(node)
        return participant is not None and participant.node == node and not participant.suspended_until

    def trusted_micro(self, account: bytes) -> int:
        """How much all executors together accept on an account's word before a Start holds it: what it has, as far as
        it has paid before."""
        found = self._state.view().account(account)
        return min(found.balance_micro, found.proven_micro)

    def escrow_micro(self, signed: SignedRequest) -> int:
        """What its Start would hold now."""
        spec = self.model(signed.request.model)
        return escrow_of(signed.request, price_of(self._state.view(), spec)) if spec else 0

    def is_void(self, signed: SignedRequest) -> bool:
        """Whether its account has made its Start impossible: its nonce is used by something else, or the money is
        gone."""
        account = self._state.view().account(signed.request.account)
        if not account.nonce_is_free(signed.request.client_nonce):
            return True
        return account.balance_micro < self.escrow_micro(signed)

    def has_weight(self, node: bytes) -> bool:
        participant = self._state.view().participant(node)
        return participant is not None and participant.weight > 0

    def nonce_used(self, account: bytes, nonce: int) -> bool:
        """Whether a request or an account's transaction on chain has used this nonce."""
        return not self._state.view().account(account).nonce_is_free(nonce)

    def request_status(self, signed: SignedRequest) -> str:
        """Its inference's status; 'nonce' where the chain has no such inference and the nonce is used; '' where it
        knows nothing of it."""
        view, request = self._state.view(), signed.request
        inference = view.inference(signed.inference_id)
        if inference is not None:
            return inference.status
        return "" if view.account(request.account).nonce_is_free(request.client_nonce) else "nonce"

    def model(self, name: str, height: int | None = None) -> ModelSpec | None:
        """As of now, or of a draw's height."""
        return model_spec(self._state.view(), name) if height is None else spec_at(self._state.view(), name, height)

    def price_micro(self, name: str) -> int | None:
        """What a token of a model that is in use costs now."""
        spec = self.model(name)
        return price_of(self._state.view(), spec) if spec is not None and not spec.retired else None

    def checks(self) -> CheckRules:
        return parameters.checks(self._state.view(), self._state.genesis)

    def serving_at(self, model: str, height: int) -> WeightedDraw:
        """Whom a draw at `height` is made from."""
        return serving_at(self._state.view(), model, height)

    def draw_for(self, signed: SignedRequest) -> ExecutorDraw | None:
        """By what the executors of a request are drawn; None where this peer does not have its height. Raises
        InvalidRequest(field='session_height')."""
        return draw_for(self._state.view(), signed)

    def beacon_at(self, height: int) -> bytes | None:
        return self._state.view().beacon(height)

    def batch_nonce(self, node: bytes) -> int:
        participant = self._state.view().participant(node)
        return participant.batch_nonce if participant else 0

    def pending_duties(self, node: bytes) -> list[Duty]:
        """What `node` was drawn for and has to do now."""
        return views.duties(self._state.view(), node)

    def owed(self, node: bytes) -> list[Owed]:
        """What `node` was drawn for and has not finished."""
        return views.owed(self._state.view(), node)

    def may_fetch(self, inference_id: bytes, peer: str) -> bool:
        """Whether a peer (libp2p id) has a part in this inference that needs its payload."""
        return views.may_fetch(self._state.view(), inference_id, peer)

    def draw_of(self, inference_id: bytes) -> Draw | None:
        """The draw that the chain has for a started inference."""
        return views.draw_of(self._state.view(), inference_id)

    def starter_of(self, inference_id: bytes) -> bytes | None:
        """The agent that started it; also of one that left the state, where this peer keeps its record."""
        inference = self._state.view().inference(inference_id)
        if inference is None and (kept := archive.find(self._state.store, inference_id)) is not None:
            inference = kept.inference()
        return inference.agent if inference else None

    def claim(self, inference_id: bytes) -> Claim | None:
        return views.claim(self._state.view(), inference_id)

    def sprint_view(self, node: bytes, model: str) -> SprintView | None:
        """The running sprint for `node`, if there is one."""
        return sprint_view(self._state.context(), node, model)

    def open_dispute_rows(self, node: bytes) -> tuple[OpenDispute, ...]:
        """Lost disputes of `node` that are not decided yet."""
        return open_dispute_rows(self._state.context(), node)
