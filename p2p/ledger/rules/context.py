"""The block that is being applied: state, genesis file, height. Law: one value, passed to every function that needs
the rules in force or the height."""

from __future__ import annotations

from dataclasses import dataclass

from p2p.base.genesis import CheckRules, EconomyRules, Genesis
from p2p.ledger.rules import parameters
from p2p.ledger.rules.heights import epoch_of, next_end
from p2p.ledger.state.view import View


@dataclass(frozen=True, slots=True)
class Context:
    """What a function of the ledger works on. A function that needs only the state takes the view instead."""

    view: View
    genesis: Genesis
    height: int  # of the block that is applied; for a question about the state after the last block, of the next one

    @property
    def epoch(self) -> int:
        return epoch_of(self.genesis, self.height)

    @property
    def next_epoch_end(self) -> int:
        """The last height of the next epoch."""
        return next_end(self.genesis, self.height)

    @property
    def ends_epoch(self) -> bool:
        return self.height % self.genesis.epoch_blocks == 0

    @property
    def checks(self) -> CheckRules:
        """The rules of checking in force."""
        return parameters.checks(self.view, self.genesis)

    @property
    def economy(self) -> EconomyRules:
        """The rules of money in force."""
        return parameters.economy(self.view, self.genesis)

    def child(self) -> Context:
        """The same block over a child view, whose changes can be dropped or merged."""
        return Context(self.view.child(), self.genesis, self.height)
