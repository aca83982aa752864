"""Transactions on their way into a block: takes them from gossip and clients, and chooses them for a block.

Law: cheap checks come before costly ones, and the signature before anything is kept; a peer is not blamed for what only
a peer that knows more could judge. The error says which it is. RemoteProtocolError: the bytes are wrong for everybody.
Unavailable: this peer may not know enough. InvalidRequest: known, used up, or against a rule as things stand here.
Overloaded: no room.
"""

from __future__ import annotations

from collections.abc import Sequence

from p2p.base.errors import FolkmootError, InvalidRequest, RemoteProtocolError, Unavailable
from p2p.base.limits import MAX_BATCHES_AHEAD, MAX_TXS_PER_BLOCK, TX_TTL_HEIGHTS
from p2p.base.outcome import Outcome
from p2p.base.types import SignedBatch
from p2p.chain.execution import try_operation
from p2p.chain.mempool import Mempool, Share, Waiting
from p2p.chain.state import ChainState
from p2p.chain.transaction_fates import NOT_SEEN, USED_BY_ANOTHER, Fate, Fates, TransactionState
from p2p.chain.verified_batches import VerifiedBatches
from p2p.ledger.money.accounts import why_not
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.ops import SignedOp
from p2p.ledger.state import keys
from p2p.ledger.state.view import View
from p2p.ledger.transactions import Transaction, check_signature, parse


class TxPool:
    """Takes transactions in and chooses them for a block."""

    def __init__(self, state: ChainState) -> None:
        self._state = state
        self.mempool = Mempool()
        self.fates = Fates()
        self.verified = VerifiedBatches()

    # -- into the mempool -----------------------------------------------------------------------------------------

    def hear(self, raw: bytes) -> Outcome:
        """One that gossip brought. Handed on once for its content, and again when it has waited long."""
        try:
            if not self.mempool.known(raw):
                self.add(raw)
        except RemoteProtocolError:
            return Outcome.REJECT
        except FolkmootError:
            return Outcome.IGNORE
        return Outcome.ACCEPT if self.mempool.is_news(raw, self._state.height()) else Outcome.IGNORE

    def add(self, raw: bytes) -> None:
        """Into the mempool. Raises FolkmootError; the module says which."""
        if self.mempool.known(raw):
            raise InvalidRequest("known already", field="transaction", code="known")
        if self.mempool.was_refused(raw):
            raise RemoteProtocolError("refused before", field="transaction")
        try:
            known = self.verified.find(raw)
            tx = known or parse(self._state.genesis, raw)
            waiting = self._operation_waits(raw, tx) if isinstance(tx, SignedOp) else self._batch_waits(raw, tx)
            self.mempool.check_room(waiting)
            if known is None:
                check_signature(self._state.genesis, tx)
        except RemoteProtocolError:
            self.mempool.refuse(raw)
            raise
        if isinstance(tx, SignedOp):
            self._try_operation(tx)
        self.verified.keep(raw, tx)
        pushed = self.mempool.add(waiting)
        if isinstance(tx, SignedOp):
            self.fates.note(tx.op_id, Fate(TransactionState.WAITING, self._state.height()))
        self._tell_dropped([(one, "accounts with more behind them need the room") for one in pushed])

    def _batch_waits(self, raw: bytes, signed: SignedBatch) -> Waiting:
        batch, participant = signed.batch, self._state.view().participant(signed.batch.sender)
        if participant is None:
            raise Unavailable(
                "the sender is no participant as far as this peer knows", field="sender", code="unknown_sender"
            )
        if participant.node != batch.sender:
            raise InvalidRequest("the sender's key was given up for another", field="sender")
        if batch.nonce <= participant.batch_nonce:
            raise InvalidRequest(f"nonce {batch.nonce} was used", field="nonce")
        if batch.nonce > participant.batch_nonce + MAX_BATCHES_AHEAD:
            following = participant.batch_nonce + 1
            raise Unavailable(f"the next nonce is {following}, at most {MAX_BATCHES_AHEAD} are kept", field="nonce")
        share = Share.WEIGHTY if participant.weight > 0 else Share.WEIGHTLESS
        return Waiting(raw, batch.sender, batch.nonce, share, self._state.height())

    def _operation_waits(self, raw: bytes, signed: SignedOp) -> Waiting:
        view, op = self._state.view(), signed.op
        account = view.account(op.account)
        if not account.nonce_is_free(op.nonce):
            code = "nonce_used" if op.nonce <= account.nonce_high else "nonce_ahead"
            raise InvalidRequest(why_not(account, op.nonce), field="nonce", code=code)
        stake = stake_of(view, op.account)
        if not stake:
            raise Unavailable(
                "the account has neither money nor a node as far as this peer knows; its transactions need one of them"
                " behind them", field="account", code="unknown_account",
            )
        return Waiting(raw, op.account, op.nonce, Share.ACCOUNTS, self._state.height(), stake)

    def _try_operation(self, signed: SignedOp) -> None:
        """Check that it could be carried out after those of its account that wait already. Raises InvalidRequest
        where it could not as things stand here, which is no fault of its bytes."""
        view = self._state.view()
        for raw in self.mempool.operations_of(signed.op.account):
            waiting = self.verified.find(raw) or parse(self._state.genesis, raw)
            assert isinstance(waiting, SignedOp)
            self._try_on(view, waiting)
        wrong = self._try_on(view, signed)
        if wrong is not None:
            raise InvalidRequest(wrong.message, field=wrong.field, code=wrong.code)

    def _try_on(self, view: View, signed: SignedOp) -> FolkmootError | None:
        """Carry it out in the next block on `view`. The error where that is refused; then `view` is as before."""
        return try_operation(Context(view, self._state.genesis, self._state.height() + 1), signed)

    def _batch_nonce(self, node: bytes) -> int:
        participant = self._state.view().participant(node)
        return participant.batch_nonce if participant else 0

    def operation_waits(self, account: bytes, nonce: int) -> bool:
        """Whether a transaction of this account with this nonce is on its way to the chain."""
        return nonce in self.mempool.operation_nonces(account)

    # -- into a block ---------------------------------------------------------------------------------------------

    def has_txs(self) -> bool:
        """Whether a block could take any."""
        return self.mempool.is_ready(self._batch_nonce)

    def is_next(self, raw: bytes) -> bool:
        """Whether a block could take this one, of those that wait, before any other of its sender."""
        tx = self.verified.find(raw)
        return isinstance(tx, SignedOp) or (tx is not None and tx.batch.nonce == self._batch_nonce(tx.batch.sender) + 1)

    def prepare(self, max_bytes: int) -> tuple[bytes, ...]:
        """Transactions for a new block; together they pass `validate`. Account transactions that cannot be carried out
        any more are dropped here."""
        operations, view, gone = list[bytes](), self._state.view(), list[tuple[Waiting, str]]()
        for raw in self.mempool.select_operations(max_bytes):
            signed = self.open_tx(raw)
            wrong = self._try_on(view, signed) if isinstance(signed, SignedOp) else signed
            if isinstance(wrong, FolkmootError):
                gone.append((self.mempool.drop(raw), str(wrong)))
            else:
                operations.append(raw)
        self._tell_dropped(gone)
        room = max_bytes - sum(len(raw) + 8 for raw in operations)
        batches = self.mempool.select(room, self._batch_nonce, count=MAX_TXS_PER_BLOCK - len(operations))
        return tuple(self.acceptable((*operations, *batches)))

    def acceptable(self, txs: Sequence[bytes]) -> list[bytes]:
        """Those that may be in the next block: right by themselves, each sender's nonces following the chain's
        without a gap, and no nonce of an account used or twice."""
        found, last, ordered = list[bytes](), dict[bytes, int](), set[tuple[bytes, int]]()
        for raw in txs:
            signed = self.open_tx(raw)
            if isinstance(signed, SignedOp):
                place = (signed.op.account, signed.op.nonce)
                if place in ordered:
                    continue
                ordered.add(place)
                found.append(raw)
            elif isinstance(signed, SignedBatch):
                sender, nonce = signed.batch.sender, signed.batch.nonce
                if nonce == last.get(sender, self._batch_nonce(sender)) + 1:
                    last[sender] = nonce
                    found.append(raw)
        return found

    def open_tx(self, raw: bytes) -> Transaction | FolkmootError:
        """The transaction, or why these bytes may not be in the next block."""
        known = self.verified.find(raw)
        try:
            tx = known or parse(self._state.genesis, raw)
            if isinstance(tx, SignedOp):
                if not self._state.view().account(tx.op.account).nonce_is_free(tx.op.nonce):
                    raise InvalidRequest(f"nonce {tx.op.nonce} was used", field="nonce")
            else:
                participant = self._state.view().participant(tx.batch.sender)
                if participant is None or participant.node != tx.batch.sender:  # else a key that was rotated
                    raise InvalidRequest("the sender is no participant", field="sender")
                if tx.batch.nonce <= participant.batch_nonce:
                    raise InvalidRequest(f"nonce {tx.batch.nonce} was used", field="nonce")
            if known is None:
                check_signature(self._state.genesis, tx)
                self.verified.keep(raw, tx)
        except FolkmootError as error:
            return error
        return tx

    # -- what became of them --------------------------------------------------------------------------------------

    def after_block(self, fates: Sequence[tuple[bytes, Fate]] | None) -> None:
        """After a block. fates: of its account transactions; None: the state came without its blocks, and nobody here
        knows what they carried out."""
        for op_id, fate in fates or ():
            self.fates.note(op_id, fate)
        view = self._state.view()
        used, late = self.mempool.after_block(
            self._batch_nonce, self._state.height(),
            lambda account, nonce: not view.account(account).nonce_is_free(nonce),
        )
        self._tell_dropped([(tx, f"no block took it in {TX_TTL_HEIGHTS} heights") for tx in late])
        code, why = USED_BY_ANOTHER, "another transaction or request of the account used its nonce"
        if fates is None:
            code, why = NOT_SEEN, "its nonce is used, most likely by itself; this peer has not seen the block"
        for tx in used:  # one that was carried out is DONE, and what ended does not change
            self._tell(tx, Fate(TransactionState.USED, self._state.height(), code, "nonce", why))

    def _tell_dropped(self, gone: Sequence[tuple[Waiting, str]]) -> None:
        for tx, why in gone:
            if tx.share is Share.ACCOUNTS:
                self._tell(tx, Fate(TransactionState.DROPPED, self._state.height(), "dropped", "", why[:300]))

    def _tell(self, tx: Waiting, fate: Fate) -> None:
        found = self.verified.find(tx.raw) or parse(self._state.genesis, tx.raw)
        assert isinstance(found, SignedOp)
        self.fates.note(found.op_id, fate)


def stake_of(view: View, account: bytes) -> int:
    """What stands behind an account's transactions: a node with weight counts before any money. 0: nothing, so anyone
    could make such transactions without end."""
    found = (view.participant(node) for node in view.ids(keys.nodes_of(account)))
    nodes = [participant for participant in found if participant is not None]
    weight = sum(participant.weight for participant in nodes)
    return (weight << 64) + view.account(account).balance_micro + len(nodes)
