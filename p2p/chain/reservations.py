"""Requests that this peer took as their agent and that are not on chain yet.

Law: a nonce is taken once, and an account's requests together never hold more than it has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from p2p.base.errors import InvalidRequest
from p2p.base.types import SignedRequest, Status
from p2p.chain.state import ChainState
from p2p.ledger.money.requests import check_request
from p2p.ledger.state.view import View

RESERVED_HEIGHTS = 20  # how long a request counts against its account without a Start on chain


@dataclass(frozen=True, slots=True)
class _Reserved:
    signer: bytes
    escrow_micro: int
    height: int  # at which it was taken


class Reservations:
    """By account and nonce.

    escrow_micro: what a request's Start would hold now. waits: whether an account's transaction with this nonce is on
    its way to the chain.
    """

    def __init__(
        self, state: ChainState, escrow_micro: Callable[[SignedRequest], int], waits: Callable[[bytes, int], bool]
    ) -> None:
        self._state, self._escrow_micro, self._waits = state, escrow_micro, waits
        self._reserved: dict[tuple[bytes, int], _Reserved] = {}

    def __len__(self) -> int:
        return len(self._reserved)

    def check_new(self, signed: SignedRequest) -> None:
        """Before an agent takes a request. Raises InvalidRequest naming the field."""
        request = signed.request
        place = (request.account, request.client_nonce)
        if place in self._reserved or self._waits(*place):
            raise InvalidRequest(f"nonce {request.client_nonce} was used", field="client_nonce")
        mine = [one for (account, _), one in self._reserved.items() if account == request.account]
        check_request(
            self._state.context(), signed,
            reserved_micro=sum(one.escrow_micro for one in mine),
            signer_reserved_micro=sum(one.escrow_micro for one in mine if one.signer == request.signer),
        )

    def check_forwarded(self, signed: SignedRequest) -> None:
        """Before an executor works for a request; its Start may be on chain already. Raises InvalidRequest naming the
        field."""
        ctx = self._state.context()
        inference = ctx.view.inference(signed.inference_id)
        if inference is None or inference.status != Status.STARTED.value:
            check_request(ctx, signed)

    def reserve(self, signed: SignedRequest) -> None:
        """The agent took this request: its nonce and escrow count here until the chain holds them."""
        request = signed.request
        self._reserved[request.account, request.client_nonce] = _Reserved(
            request.signer, self._escrow_micro(signed), self._state.height()
        )

    def micro_of(self, account: bytes) -> int:
        """What its requests hold here."""
        return sum(one.escrow_micro for (owner, _), one in self._reserved.items() if owner == account)

    def nonces_of(self, account: bytes) -> list[int]:
        return [nonce for owner, nonce in self._reserved if owner == account]

    def after_block(self, view: View, height: int) -> None:
        """After block `height`, which left the state `view`: forget what is on chain, and what never came there."""
        self._reserved = {
            (account, nonce): one for (account, nonce), one in self._reserved.items()
            if height - one.height < RESERVED_HEIGHTS and view.account(account).nonce_is_free(nonce)
        }
