"""A place among the participants: its price, its registration, its collateral.

Law: the rules in force say what it costs; nothing is paid twice, because each step looks at the chain first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from p2p.base.genesis import Genesis
from p2p.base.keys import Domain, Key
from p2p.base.limits import TRANSACTION_WAIT_S
from p2p.client.connection import submit_operation
from p2p.client.nonces import Nonces
from p2p.joining.folder import Account, Folder
from p2p.joining.way import LOOK_S, Ask, Say
from p2p.ledger.rules.ops import Body, Deposit, Register, Transfer, consent
from p2p.wire.answers.accounts import AccountAnswer, AccountNode
from p2p.wire.answers.reading import read

Submit = Callable[[Key, Body, Path], Awaitable[Any]]  # signs as an account, and waits until the chain has it


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a place, micro-credits."""

    fee: int  # burnt
    bond: int  # returned when the node leaves
    collateral: int  # the least that a host must put down

    @property
    def total(self) -> int:
        return self.fee + self.bond + self.collateral


def cost_of(economy: dict[str, Any]) -> Cost:
    """economy: the rules in force, as the query `governance` answers them."""
    return Cost(
        int(economy["registration_fee_micro"]), int(economy["registration_bond_micro"]),
        int(economy["collateral_min_micro"]),
    )


@dataclass(slots=True)
class Place:
    """The place of one node. purse: an account that pays for it; None: the owner's money must come from somewhere
    else."""

    ask: Ask
    say: Say
    submit: Submit
    node: Key
    account: Account
    genesis: Genesis
    purse: Account | None = None

    async def take(self, model: str, price_floor: int) -> None:
        """Register the node for `model`, and put down what is missing of the collateral. Raises the peer's error."""
        cost = cost_of((await self.ask({"op": "governance"}))["economy"])
        found = await self._account()
        own = self._own(found)
        if own is None:
            await self._money(found, cost.total)
            offer = Register(
                self.node.public, (model,), (), price_floor, "",
                self.node.sign(Domain.NODE, self.genesis.network, consent(self.account.public)),
            )
            await self._sign(self.account, offer)
            self.say("place", f"registered for {model}: fee {cost.fee}, bond {cost.bond} micro-credits")
        else:
            self.say("place", f"registered already, for {', '.join(own.models) or 'no model'}")
        found = await self._account()
        own = self._own(found)
        missing = cost.collateral - (own.collateral_micro if own is not None else 0)
        if missing > 0:
            await self._money(found, missing)
            await self._sign(self.account, Deposit(self.node.public, missing))
            self.say("place", f"collateral: {missing} micro-credits put down")

    async def _money(self, found: AccountAnswer, needed: int) -> None:
        """Wait until the account has it; where a purse was given it pays what is missing."""
        missing = needed - found.balance_micro
        if missing <= 0:
            return
        name = self.account.public.hex()
        if self.purse is not None:
            await self._sign(self.purse, Transfer(self.account.public, missing))
            self.say("money", f"{missing} micro-credits came from {self.purse.folder}")
        else:
            how = f"folkmoot account transfer {name} {missing} --peer ADDRESS"
            self.say("money", f"the account {name} needs {missing} micro-credits more; somebody pays it with: {how}")
        while found.balance_micro < needed:
            await trio.sleep(LOOK_S)
            found = await self._account()

    async def _sign(self, account: Account, body: Body) -> None:
        await self.submit(account.open(), body, account.folder)

    async def _account(self) -> AccountAnswer:
        asked = {"op": "account", "account": self.account.public.hex()}
        return read(AccountAnswer, await self.ask(asked), "account", "this peer")

    def _own(self, found: AccountAnswer) -> AccountNode | None:
        return next((one for one in found.nodes if one.node == self.node.public.hex()), None)


async def owner_elsewhere(ask: Ask, say: Say, folder: Folder, model: str, price_floor: int) -> None:
    """Wait until the owner has registered the node, from the machine that has account.key."""
    status = await ask({"op": "status"})
    if not status["registered"]:
        cost, peer = cost_of((await ask({"op": "governance"}))["economy"]), next(iter(status["addresses"]), "ADDRESS")
        here = f"folkmoot key consent ACCOUNT --dir {folder.directory}"
        floor = f" --price-floor {price_floor}" if price_floor else ""
        there = f"folkmoot account register --consent WORDS --model {model}{floor} --peer {peer}"
        if cost.collateral:
            there += f"; folkmoot account deposit {cost.collateral} --node {folder.node.public.hex()} --peer {peer}"
        say("place", f"account.key is elsewhere. Here: {here}. Where it is, with the words that this prints: {there}")
    while not status["registered"]:
        await trio.sleep(LOOK_S)
        status = await ask({"op": "status"})
    say("place", "registered by its owner")


def submitter(peer: str, genesis: Genesis) -> Submit:
    """Submits through `peer` (multiaddr) and waits until the chain has it; raises the reason where it does not."""

    async def submit(key: Key, body: Body, folder: Path) -> Any:
        return await submit_operation(peer, genesis, key, body, Nonces(folder / "nonces"), TRANSACTION_WAIT_S)

    return submit
