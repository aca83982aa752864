"""What the chain answers to people and clients, as typed values (wire/answers).

Law: read only; every answer is of the state after the newest block, and of what this peer has taken since.
"""

from __future__ import annotations

from p2p.base.codec import encode
from p2p.base.errors import InvalidRequest, Unavailable
from p2p.chain.block_answers import block_answer
from p2p.chain.proofs.serving import prove_serving
from p2p.chain.proofs.state import ArchiveProof, key_of
from p2p.chain.reader import Reader
from p2p.chain.reservations import Reservations
from p2p.chain.state import ChainState
from p2p.chain.stores import archive
from p2p.chain.stores.blocks import BlockStore
from p2p.chain.stores.payloads import Payloads
from p2p.chain.tx_pool import TxPool
from p2p.chain.views.accounts import account_answer, escrow_rows
from p2p.chain.views.conduct import verification_answer
from p2p.chain.views.earnings import earnings_answer
from p2p.chain.views.governance import governance_answer, price_rows
from p2p.chain.views.inferences import inference_answer
from p2p.chain.views.sprint import sprint_answer
from p2p.ledger.money import epoch_accounts
from p2p.ledger.state import keys
from p2p.wire.answers.accounts import AccountAnswer, HeldAnswer, Tip
from p2p.wire.answers.blocks import BlockAnswer, Light, Proved, ServingAnswer
from p2p.wire.answers.inferences import InferenceAnswer, PayloadAnswer
from p2p.wire.answers.network import (
    EarningsAnswer,
    GovernanceAnswer,
    PricesAnswer,
    SprintAnswer,
    VerificationAnswer,
)


class Answers:
    """One method for each kind of question. What is not here raises InvalidRequest with the code 'not_found'."""

    def __init__(
        self, state: ChainState, reader: Reader, pool: TxPool, reservations: Reservations, blocks: BlockStore,
        payloads: Payloads,
    ) -> None:
        self._state, self._reader, self._pool, self._reservations = state, reader, pool, reservations
        self._blocks, self._payloads = blocks, payloads

    # -- accounts -------------------------------------------------------------------------------------------------

    def account(self, public: bytes, since: int = 0) -> AccountAnswer:
        """since: only notices of later heights are given."""
        view, tip = self._state.view(), self._state.tip
        taken = self._reservations.nonces_of(public) + self._pool.mempool.operation_nonces(public)
        next_nonce = max([view.account(public).nonce_high, *taken]) + 1
        return account_answer(
            view, public, next_nonce=next_nonce, height=tip.height, beacon=tip.beacon, since=since
        )

    def held(self, public: bytes) -> HeldAnswer:
        """What of an account's money is bound now, and which of its transactions wait."""
        height = self._state.height()
        rows, until = escrow_rows(self._state.view(), public, height)
        pending = self._pool.mempool.operation_nonces(public)
        return HeldAnswer(
            public.hex(), height, sum(row.amount_micro for row in rows), rows, until,
            self._reservations.micro_of(public), tuple(pending),
        )

    def tip(self, public: bytes, model: str | None, since: int = 0) -> Tip:
        """What a client wants to know before it signs a request, in one answer."""
        found, top = self.account(public, since), self._state.height()
        light = self._blocks.light_block(top) if top else None
        price_micro = self._reader.price_micro(model) if model is not None else None
        return Tip(
            top, encode(light).hex() if light else None, found.next_nonce, found.balance_micro, price_micro,
            found.notices,
        )

    def earnings(self, epoch: int, node: bytes, start: int) -> EarningsAnswer:
        """One page of a participant's epoch, from inference number `start` on."""
        return earnings_answer(self._state.context(), epoch, node, start)

    # -- inferences -----------------------------------------------------------------------------------------------

    def inference(self, inference_id: bytes) -> InferenceAnswer:
        """Also one that left the state, where this peer keeps its record."""
        inference = self._state.view().inference(inference_id)
        if inference is not None:
            return inference_answer(inference_id, inference)
        kept = archive.find(self._state.store, inference_id)
        if kept is None:
            what = "the chain has no such inference, or not yet; one that ended epochs ago is kept by archives only"
            raise InvalidRequest(what, field="id", code="not_found")
        return inference_answer(inference_id, kept.inference(), kept.epoch)

    def payload(self, inference_id: bytes) -> PayloadAnswer:
        """What is needed to check one answer again; only for this peer's owner, because it holds the prompt."""
        payload, claim = self._payloads.read(inference_id), self._reader.claim(inference_id)
        if payload is None:
            raise InvalidRequest(
                "the payload is not here; agent, executor and drawn validators have it until the inference leaves the"
                " state", field="id", code="not_found",
            )
        if claim is None:
            raise InvalidRequest("the chain has no finish record of it (yet)", field="id", code="not_found")
        return PayloadAnswer(
            inference_id.hex(), payload.hex(), encode(claim.request).hex(), encode(claim.finish).hex(),
            claim.beacon.hex(), tuple(node.hex() for node in claim.candidates),
        )

    # -- blocks and proofs ----------------------------------------------------------------------------------------

    def block(self, height: int) -> BlockAnswer:
        found = self._blocks.block(height)
        if found is None:
            raise self._no_block(height)
        return block_answer(*found, self._blocks.receipts(height))

    def light(self, height: int) -> Light:
        """What a light client needs of one block."""
        found = self._blocks.light_block(height)
        if found is None:
            raise self._no_block(height)
        return Light(height, encode(found).hex())

    def _no_block(self, height: int) -> InvalidRequest:
        return InvalidRequest(f"no block {height}; the top is {self._state.height()}", field="height", code="not_found")

    def prove(self, kind: str, id_: bytes) -> Proved:
        """A value of the state after the top height and its place in the tree; header height + 1 will hold its root. Of
        an inference that left the state: the sums of its epoch, and the path from its record to their root."""
        key = key_of(kind, id_)
        left = self.archive_proof(id_) if kind == "inference" else None
        value, proof = self._state.prove(keys.epoch_sums(left.epoch) if left else key)
        return Proved(
            self._state.height(), None if value is None else value.hex(), encode(proof).hex(),
            encode(left).hex() if left else None,
        )

    def archive_proof(self, inference_id: bytes) -> ArchiveProof | None:
        """That an inference left the state with a record which this peer keeps; None where it did not. Raises
        Unavailable while the rest of its epoch is still leaving, or where this peer knows too little of that epoch."""
        kept = archive.find(self._state.store, inference_id)
        if kept is None or self._state.read(keys.inference(inference_id)) is not None:
            return None
        sums = epoch_accounts.sums(self._state.view(), kept.epoch)
        if sums.left_root is None:
            raise Unavailable(
                f"inferences of epoch {kept.epoch} are leaving the state; ask again some blocks later", field="id"
            )
        path = archive.path(self._state.store, kept.epoch, kept.index, sums.left)
        if path is None:
            raise Unavailable(f"this peer began with a snapshot within epoch {kept.epoch}; ask another one", field="id")
        return ArchiveProof(kept.epoch, kept.index, kept.record, tuple(path))

    def serving(self, model: str, height: int) -> ServingAnswer:
        """From whom a draw of `model` at `height` is made."""
        proof = prove_serving(self._state.prove, self._state.height(), model, height)
        return ServingAnswer(proof.height, encode(proof).hex())

    # -- the network ----------------------------------------------------------------------------------------------

    def prices(self) -> PricesAnswer:
        return PricesAnswer(self._state.height(), price_rows(self._state.context()))

    def governance(self) -> GovernanceAnswer:
        return governance_answer(self._state.context())

    def verification(self) -> VerificationAnswer:
        return verification_answer(self._state.context())

    def sprint(self) -> SprintAnswer:
        return sprint_answer(self._state.context())
