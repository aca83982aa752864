"""What the chain answers to people and clients, as plain data. Law: read only; every answer is of the state after the newest block, and of
what this peer has taken since. Bytes are hexadecimal.
"""

from __future__ import annotations

from typing import Any

from p2p.base.errors import Unavailable
from p2p.chain.proofs.state import LeftProof
from p2p.chain.reservations import Reservations
from p2p.chain.state import ChainState
from p2p.chain.stores import archive
from p2p.chain.tx_pool import TxPool
from p2p.chain.views import inferences as views
from p2p.chain.views.accounts import account_view, governance_view
from p2p.chain.views.sprint import sprint_view
from p2p.ledger.money import epoch_accounts as earnings
from p2p.ledger.statement import statement


class Answers:
    """One method for each kind of question."""

    def __init__(self, state: ChainState, pool: TxPool, reservations: Reservations) -> None:
        self._state, self._pool, self._reservations = state, pool, reservations

    def sprint(self) -> dict[str, Any]:
        return sprint_view(self._state.view(), self._state.genesis, self._state.height())

    def account(self, public: bytes, since: int = 0) -> dict[str, Any]:
        """since: only notices of later heights are given."""
        view, tip = self._state.view(), self._state.tip
        account = view.account(public)
        taken = self._reservations.nonces_of(public) + self._pool.mempool.operation_nonces(public)
        return {
            "account": public.hex(), "balance_micro": account.balance_micro,
            "next_nonce": max([account.nonce_high, *taken]) + 1, "height": tip.height, "beacon": tip.beacon.hex(),
            **account_view(view, public),
            "notices": views.notices_view(view, public, since),
        }

    def prices(self) -> dict[str, Any]:
        return {"height": self._state.height(), "prices": views.prices_view(self._state.context())}

    def earnings(self, epoch: int, node: bytes, start: int) -> dict[str, Any]:
        return {"height": self._state.height(), **statement(self._state.context(), epoch, node, start)}

    def inference(self, inference_id: bytes) -> dict[str, Any] | None:
        """Also one that left the state, where this peer keeps its record. left_epoch: the epoch it ended in; None: it did not leave."""
        inference, kept = self._state.view().inference(inference_id), None
        if inference is None:
            kept = archive.find(self._state.store, inference_id)
            inference = kept.inference() if kept else None
        if inference is None:
            return None
        return {**views.inference_view(inference_id, inference), "left_epoch": kept.epoch if kept else None}

    def left_proof(self, inference_id: bytes) -> LeftProof | None:
        """That an inference left the state with a record which this peer keeps; None where it did not. Raises Unavailable while the rest of
        its epoch is still leaving, or where this peer knows too little of that epoch."""
        kept = archive.find(self._state.store, inference_id)
        if kept is None or self._state.read(b"inf/" + inference_id) is not None:
            return None
        sums = earnings.sums(self._state.view(), kept.epoch)
        if sums.left_root is None:
            raise Unavailable(f"what ended in epoch {kept.epoch} is leaving the state; ask again some blocks later", field="id")
        path = archive.path(self._state.store, kept.epoch, kept.index, sums.left)
        if path is None:
            raise Unavailable(f"this peer began with a snapshot within epoch {kept.epoch}; ask another one", field="id")
        return LeftProof(kept.epoch, kept.index, kept.record, tuple(path))

    def governance(self) -> dict[str, Any]:
        return governance_view(self._state.view(), self._state.genesis, self._state.height())

    def verification(self) -> dict[str, Any]:
        return views.verification_view(self._state.view(), self._state.genesis, self._state.height())
