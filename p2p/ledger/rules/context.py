"""The block that is being applied: state, genesis file and height as one value. Law: whatever needs the rules in force
or the height takes a Context; a function that needs the state alone takes the view.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2p.base.genesis import CheckRules, EconomyRules, Genesis
from p2p.ledger.rules import parameters
from p2p.ledger.rules.heights import epoch_of, next_end
from p2p.ledger.state.inference_entry import InferenceEntry
from p2p.ledger.state.view import View


@dataclass(frozen=True, slots=True)
class Context:
    """Immutable itself; what a block changes is in `view`."""

    view: View
    genesis: Genesis
    height: int  # of the block that is applied; a reader of the state after block h uses h + 1, the next block

    @property
    def epoch(self) -> int:
        """Number of the epoch that `height` belongs to."""
        return epoch_of(self.genesis, self.height)

    @property
    def ends_epoch(self) -> bool:
        """Whether `height` is the last one of its epoch."""
        return self.height % self.genesis.epoch_blocks == 0

    @property
    def next_epoch_end(self) -> int:
        """The last height of the next epoch."""
        return next_end(self.genesis, self.height)

    @property
    def checks(self) -> CheckRules:
        """The rules of checking in force."""
        return parameters.checks(self.view, self.genesis)

    @property
    def economy(self) -> EconomyRules:
        """The rules of money in force."""
        return parameters.economy(self.view, self.genesis)

    def child(self) -> Context:
        """The same block on a child view, whose changes can be dropped or merged."""
        return Context(self.view.child(), self.genesis, self.height)

    def entry(self, inference_id: bytes) -> InferenceEntry | None:
        inference = self.view.inference(inference_id)
        return None if inference is None else InferenceEntry(inference_id, inference)

    def save(self, entry: InferenceEntry) -> None:
        self.view.put_inference(entry.id, entry.inference)
