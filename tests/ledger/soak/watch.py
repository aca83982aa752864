"""Watches a chain while it applies blocks.

Law: after every block money is conserved and every stored record is within its bounds; a refused record changes no
byte.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import p2p.chain.execution
from p2p.base.codec import encode, load
from p2p.base.errors import FolkmootError, RemoteProtocolError
from p2p.base.genesis import Genesis
from p2p.base.resumable import Resumable
from p2p.base.types import STANDS, Record, Status
from p2p.chain.chain import Chain
from p2p.chain.execution import seal
from p2p.chain.stores.guard import GuardStore
from p2p.ledger.apply_record import apply_record
from p2p.ledger.governance import Proposal
from p2p.ledger.money import epoch_accounts as earnings
from p2p.ledger.money.accounts import Limits
from p2p.ledger.money.collateral import Held, at_stake
from p2p.ledger.money.price import Price
from p2p.ledger.participants.sprint import Run, Sprint, runs
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.heights import epoch_of
from p2p.ledger.state.records import (
    Account,
    CheckCounters,
    Conduct,
    Earning,
    EpochSums,
    Inference,
    Notices,
    Participant,
    Totals,
)
from p2p.ledger.state.view import View
from p2p.store.batch import Batch
from p2p.store.lmdb import Store

EVERY = 64  # each 64th record: if it is refused, all bytes are compared, not only the objects
SHAPES: dict[bytes, type] = {
    b"acct": Account, b"part": Participant, b"inf": Inference, b"stand": Conduct, b"earn": Earning,
    b"epoch": EpochSums, b"price": Price,
    b"note": Notices, b"limits": Limits, b"prop": Proposal, b"totals": Totals, b"checks": CheckCounters,
    b"run": Run, b"sprint": Sprint, b"held": Held,
}


class Violation(Exception):
    """The ledger broke one of its rules."""


class Watch:
    """balances: account -> micro-credits, for every account. statuses, epochs, compared: counters for the summary."""

    def __init__(self, every: int = EVERY) -> None:
        self.balances: dict[bytes, int] = {}
        self.statuses: Counter[str] = Counter()
        self.epochs = self.looked = self.compared = 0
        self._every = every

    def apply(self, ctx: Context, sender: bytes, record: Record) -> None:
        """apply_record. Raises Violation where a refused record leaves a change behind."""
        view = ctx.view
        before, whole = dict(view._over), None
        self.looked += 1
        if self.looked % self._every == 0:
            whole = view.changes
            before = dict(view._over)
        try:
            apply_record(ctx, sender, record)
        except FolkmootError:
            same = view._over.keys() == before.keys() and all(
                _same(view._over[key], value) for key, value in before.items()
            )
            if not same or (whole is not None and view.changes != whole):
                raise Violation(f"height {ctx.height}: a refused {record.kind.name} changed the state") from None
            self.compared += whole is not None
            raise

    def block(self, view: View, genesis: Genesis, height: int) -> None:
        """Check the state at the end of block `height`, before it is written. Raises Violation."""
        for key, raw in view.changes.items():
            name = key.partition(b"/")[0]
            if name == b"acct":
                self.balances.pop(key, None)
            if raw is None or name not in SHAPES:
                continue
            try:
                value: Any = load(SHAPES[name], raw)  # its type has bounds: nothing below 0, nothing beyond 63 bits
            except RemoteProtocolError as error:
                raise Violation(f"height {height}: {key!r}: {error}") from error
            if name == b"acct":
                self.balances[key] = value.balance_micro
            elif name == b"inf" and value.end_height == height:
                self.statuses[value.status] += 1
        totals = view.totals()
        held = sum(self.balances.values())
        kept = held + totals.escrow_micro + totals.due_micro + totals.collateral_micro + totals.burnt_micro
        if totals.minted_micro != kept:
            raise Violation(
                f"height {height}: minted {totals.minted_micro}, there are {kept}: {totals}, balances {held}"
            )
        if (height + 1) % genesis.epoch_blocks == 0:
            self._decided(view, height)
        if height and height % genesis.epoch_blocks == 0:
            self.epochs += 1
            sums = earnings.sums(view, epoch_of(genesis, height))
            if sums.height != height or not sums.balanced:
                raise Violation(f"height {height}: the epoch's sums do not balance: {sums}")

    def _decided(self, view: View, height: int) -> None:
        """Where weights are counted, no answer of the sprint may be undecided. Raises Violation."""
        for opened in (one for run in runs(view) for one in run.opened):
            found = view.inference(opened.inference_id)
            if found is None or not found.end_height:
                status = found and found.status
                undecided = "an answer of the sprint is undecided when weights are counted"
                raise Violation(f"height {height}: {undecided}: {status}")

    def whole(self, chain: Chain) -> None:
        """Check the state on disk: each total is the sum of its parts. Raises Violation."""
        found: dict[bytes, list[Any]] = {name: [] for name in SHAPES}
        booked = 0
        now = epoch_of(chain.genesis, chain.height() + 1)
        for key, raw in chain.store.scan("state"):
            name = key.partition(b"/")[0]
            if name in SHAPES:
                found[name].append(load(SHAPES[name], raw))
            if name == b"earn" and int.from_bytes(key[5:13], "big") == now:
                booked += found[name][-1].fees_micro
        totals: Totals = found[b"totals"][0]
        inferences: list[Inference] = found[b"inf"]
        ended = [i for i in inferences if i.finish and i.end_height]
        held = sum(one.amount_micro for one in found[b"held"])
        facts = (
            ("balances", sum(a.balance_micro for a in found[b"acct"]), sum(self.balances.values())),
            (
                "escrow", sum(i.escrow_micro for i in inferences if i.status == Status.STARTED.value),
                totals.escrow_micro,
            ),
            ("due", sum(i.due_micro for i in inferences) + booked + sum(map(_bond, inferences)), totals.due_micro),
            ("collateral", sum(map(at_stake, found[b"part"])) + held, totals.collateral_micro),
            ("ends", sum(i.paid_micro for i in inferences if i.status not in STANDS), 0),
            ("prices", sum(i.charged_micro != i.paid_micro + i.refunded_micro for i in ended), 0),
        )
        for name, summed, said in facts:
            if summed != said:
                raise Violation(f"height {chain.height()}: {name}: {summed} in the state, {said} in the totals")


def open_watched(folder: Path, genesis: Genesis, watch: Watch) -> Chain:
    """A real chain with its store, whose blocks and records `watch` checks as they are applied."""
    mine = Store(folder / "data")

    def watched_seal(store: Store, genesis: Genesis, view: View, height: int, batch: Batch) -> Resumable[bytes]:
        if store is mine:
            watch.block(view, genesis, height)
        return (yield from seal(store, genesis, view, height, batch))

    p2p.chain.execution.apply_record = watch.apply
    p2p.chain.execution.seal = watched_seal
    return Chain(mine, GuardStore(mine, folder / "used"), genesis)


def _bond(inference: Inference) -> int:
    """The appeal bond, held until the appeal is decided; the inference may then still wait for its agent (FINISHED)."""
    over = inference.end_height or inference.status == Status.FINISHED.value
    return inference.appeal.bond_micro if inference.appeal and not over else 0


def _same(one: Any, other: Any) -> bool:
    """The same object, or the same bytes (a record is encoded where somebody asked for bytes)."""
    return one is other or _bytes(one) == _bytes(other)


def _bytes(value: Any) -> bytes | None:
    return value if value is None or isinstance(value, bytes) else encode(value)
