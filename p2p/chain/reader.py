"""What the others ask of a chain. Law: read only; all from the state after the top height, and from what this peer has taken since."""

from __future__ import annotations

from typing import Any

from p2p.base.codec import Message
from p2p.base.errors import Unavailable
from p2p.base.genesis import CheckRules, Genesis, ModelSpec
from p2p.base.types import SignedRequest
from p2p.base.weighted_draw import WeightedDraw
from p2p.chain.mempool import Mempool
from p2p.chain.proofs.state import LeftProof
from p2p.chain.stores import archive
from p2p.chain.stores.payloads import Payloads
from p2p.chain.views import inferences as chain_view
from p2p.chain.views.accounts import account_view, governance_view
from p2p.chain.views.inferences import Claim, Draw, Duty
from p2p.chain.views.sprint import Race, race, sprint_view
from p2p.consensus.messages import CommitCertificate
from p2p.ledger.conduct.stacks import stack_problem
from p2p.ledger.money import epoch_accounts as earnings
from p2p.ledger.money.price import price_of
from p2p.ledger.money.requests import escrow_of
from p2p.ledger.participants.serving import serving_at
from p2p.ledger.rules import parameters
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.models import model_spec, spec_at
from p2p.ledger.state.proofs import TreeProof, prove
from p2p.ledger.state.view import View
from p2p.ledger.statement import open_cases, statement
from p2p.store.lmdb import Store


class Tip(Message, frozen=True):
    """Where the chain stands; height 0 is the genesis."""

    height: int
    app_hash: bytes
    block_id: bytes
    beacon: bytes
    time_ms: int
    commit: CommitCertificate | None


class Answers:
    """The reading half of chain.Chain."""

    store: Store
    payloads: Payloads
    genesis: Genesis
    _tip: Tip
    mempool: Mempool
    _reserved: dict[bytes, tuple[bytes, bytes, int, int]]  # account and nonce -> (account, signer, escrow, height)

    def _read_state(self, key: bytes) -> bytes | None:
        return self.store.read("state", key)

    def _view(self) -> View:
        return View(self._read_state)

    def _ctx(self) -> Context:
        """What the next block begins with."""
        return Context(self._view(), self.genesis, self._tip.height + 1)

    def suspended(self, node: bytes) -> int:
        """The last height at which `node` may start nothing; 0 = it may."""
        participant = self._view().participant(node)
        return participant.suspended_until if participant else 0

    def stack_problem(self, node: bytes, model: str, stack: str) -> str:
        """Why a finish record of `node` would not be taken if it named `stack`; empty where it would."""
        return stack_problem(self._view(), node, model, stack)

    def is_registered(self, node: bytes) -> bool:
        """Whether the chain takes batches of `node`: a participant under its key of now."""
        participant = self._view().participant(node)
        return participant is not None and participant.node == node

    def may_start(self, node: bytes) -> bool:
        """Whether `node` can put a Start on chain: a participant under its key of now, not suspended."""
        participant = self._view().participant(node)
        return participant is not None and participant.node == node and not participant.suspended_until

    def trusted_micro(self, account: bytes) -> int:
        """What is taken on an account's word before a Start holds it, by all executors together: what it has, as far as it has proven itself."""
        found = self._view().account(account)
        return min(found.balance_micro, found.proven_micro)

    def escrow_micro(self, signed: SignedRequest) -> int:
        """What its Start would hold now."""
        spec = self.model(signed.request.model)
        return escrow_of(signed.request, price_of(self._view(), spec)) if spec else 0

    def is_void(self, signed: SignedRequest) -> bool:
        """Whether its account has made its Start impossible: another request or order has its nonce, or the money is gone."""
        account = self._view().account(signed.request.account)
        return not account.nonce_is_free(signed.request.client_nonce) or account.balance_micro < self.escrow_micro(signed)

    def has_weight(self, node: bytes) -> bool:
        participant = self._view().participant(node)
        return participant is not None and participant.weight > 0

    def nonce_used(self, account: bytes, nonce: int) -> bool:
        """By a request or an order that is on chain."""
        return not self._view().account(account).nonce_is_free(nonce)

    def request_status(self, signed: SignedRequest) -> str:
        """Its inference's status; 'nonce' where the chain has none of it and its nonce is used, by whichever request; '' where nothing."""
        view, request = self._view(), signed.request
        inference = view.inference(signed.inference_id)
        if inference is not None:
            return inference.status
        return "" if view.account(request.account).nonce_is_free(request.client_nonce) else "nonce"

    def model(self, name: str, height: int | None = None) -> ModelSpec | None:
        """As of now, or of a draw's height."""
        return model_spec(self._view(), name) if height is None else spec_at(self._view(), name, height)

    def price_micro(self, name: str) -> int | None:
        """What a token of a model that is in use costs now."""
        spec = self.model(name)
        return price_of(self._view(), spec) if spec is not None and not spec.retired else None

    def checks(self) -> CheckRules:
        return parameters.checks(self._view(), self.genesis)

    def serving_at(self, model: str, height: int) -> WeightedDraw:
        """Whom a draw at `height` is made from."""
        return serving_at(self._view(), model, height)

    def beacon_at(self, height: int) -> bytes | None:
        return self._view().beacon(height)

    def batch_nonce(self, node: bytes) -> int:
        participant = self._view().participant(node)
        return participant.batch_nonce if participant else 0

    def pending_duties(self, node: bytes) -> list[Duty]:
        """What `node` was drawn for and has to do now."""
        return chain_view.duties(self._view(), node)

    def may_fetch(self, inference_id: bytes, peer: str) -> bool:
        """Whether a peer (libp2p id) has a part in this inference that needs its payload."""
        return chain_view.may_fetch(self._view(), inference_id, peer)

    def draw_of(self, inference_id: bytes) -> Draw | None:
        """The draw that the chain has for a started inference."""
        return chain_view.draw_of(self._view(), inference_id)

    def starter_of(self, inference_id: bytes) -> bytes | None:
        """The agent that started it; also of one that left the state, where this peer keeps its record."""
        inference = self._view().inference(inference_id)
        if inference is None and (kept := archive.find(self.store, inference_id)) is not None:
            inference = kept.inference()
        return inference.agent if inference else None

    def claim(self, inference_id: bytes) -> Claim | None:
        return chain_view.claim(self._view(), inference_id)

    def payload(self, inference_id: bytes) -> bytes | None:
        return self.payloads.read(inference_id)

    def race(self, node: bytes, model: str) -> Race | None:
        """The running sprint for `node`, if there is one."""
        return race(self._view(), self.genesis, self._tip.height, node, model)

    def sprint_view(self) -> dict[str, Any]:
        return sprint_view(self._view(), self.genesis, self._tip.height)

    def account_view(self, public: bytes, since: int = 0) -> dict[str, Any]:
        """since: of the notices, those of later heights."""
        view = self._view()
        account = view.account(public)
        taken = [int.from_bytes(key[32:], "big") for key in self._reserved if key[:32] == public] + self.mempool.operation_nonces(public)
        return {
            "account": public.hex(), "balance_micro": account.balance_micro,
            "next_nonce": max([account.nonce_high, *taken]) + 1, "height": self._tip.height, "beacon": self._tip.beacon.hex(),
            **account_view(view, public),
            "notices": chain_view.notices_view(view, public, since),
        }

    def prices_view(self) -> dict[str, Any]:
        return {"height": self._tip.height, "prices": chain_view.prices_view(self._ctx())}

    def earnings_view(self, epoch: int, node: bytes, start: int) -> dict[str, Any]:
        return {"height": self._tip.height, **statement(self._ctx(), epoch, node, start)}

    def open_cases(self, node: bytes) -> list[dict[str, Any]]:
        """Lost disputes of `node` that are not decided yet."""
        return open_cases(self._ctx(), node)

    def inference_view(self, inference_id: bytes) -> dict[str, Any] | None:
        """Also of one that left the state, where this peer keeps its record; left_epoch: the one it ended in, None: it did not leave."""
        inference, kept = self._view().inference(inference_id), None
        if inference is None:
            kept = archive.find(self.store, inference_id)
            inference = kept.inference() if kept else None
        if inference is None:
            return None
        return {**chain_view.inference_view(inference_id, inference), "left_epoch": kept.epoch if kept else None}

    def proved(self, key: bytes) -> tuple[bytes | None, TreeProof]:
        """The value of a key of the state after the top height, None where there is none, and the proof against its app hash."""
        return self._read_state(key), prove(lambda position: self.store.read("tree", position), key)

    def proved_left(self, inference_id: bytes) -> LeftProof | None:
        """That it left the state with a record which this peer keeps; None where it does not. Raises Unavailable while the rest of its epoch
        is still leaving, or where this peer knows too little of that epoch."""
        kept = archive.find(self.store, inference_id)
        if kept is None or self._read_state(b"inf/" + inference_id) is not None:
            return None
        sums = earnings.sums(self._view(), kept.epoch)
        if sums.left_root is None:
            raise Unavailable(f"what ended in epoch {kept.epoch} is leaving the state; ask again some blocks later", field="id")
        path = archive.path(self.store, kept.epoch, kept.index, sums.left)
        if path is None:
            raise Unavailable(f"this peer began with a snapshot within epoch {kept.epoch}; ask another one", field="id")
        return LeftProof(kept.epoch, kept.index, kept.record, tuple(path))

    def governance_view(self) -> dict[str, Any]:
        return governance_view(self._view(), self.genesis, self._tip.height)

    def verification_view(self) -> dict[str, Any]:
        return chain_view.verification_view(self._view(), self.genesis, self._tip.height)
