"""One peer that outsiders write to: the real chain, driver and mempool, without a network. Law: it decides alone, so that its chain goes on
exactly when nothing has stopped it.

Its own key holds more than two thirds of the weight. Outsiders hold three kinds of key: a validator's, a participant's without weight, and
a stranger's; and one account with money.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from pathlib import Path

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError
from p2p.base.genesis import Genesis, GenesisAccount, GenesisPeer, ModelSpec
from p2p.base.keys import Key
from p2p.base.outcome import Outcome
from p2p.base.types import Record, SignedBatch
from p2p.chain.chain import Chain
from p2p.consensus.bodies import Bodies
from p2p.consensus.compact import Assembly
from p2p.consensus.driver import Driver
from p2p.consensus.events import Alarm, Heard, Input, Output
from p2p.consensus.timing import Timing
from tests.fuzz.signing import batch

ME, VALIDATOR, PARTICIPANT, STRANGER, CLIENT, OWNER = (Key(bytes([0x50 + at]) * 32) for at in range(6))
WHO = {"validator": VALIDATOR, "participant": PARTICIPANT, "stranger": STRANGER}
MODEL = "toy"
GENESIS = Genesis(
    1, "extremes", 1_000_000,
    (
        GenesisPeer(ME.public, OWNER.public, 100, (MODEL,)), GenesisPeer(VALIDATOR.public, CLIENT.public, 10, (MODEL,)),
        GenesisPeer(PARTICIPANT.public, CLIENT.public, 0, (MODEL,)),
    ),
    (GenesisAccount(CLIENT.public, 10**12), GenesisAccount(OWNER.public, 10**12)),
    (ModelSpec(MODEL, bytes(32), bytes(32), "bfloat16", 10, 1, 2048),),
)
TRIES = 400  # inputs in which a height has to be decided


class World:
    """A peer at height `begin` - 1 whose next height is under way."""

    def __init__(self, directory: Path) -> None:
        self.now_ms = GENESIS.time_ms + 1000
        self.chain = Chain.open(directory, GENESIS)
        self.driver = Driver(
            key=ME, network=NETWORK, app=self.chain, guard=self.chain.guard, timing=Timing(), clock=lambda: self.now_ms,
            has_txs=self.chain.has_txs,
        )
        self.bodies = Bodies(self.driver, NETWORK, self.chain.mempool.find)
        self._alarms: list[tuple[int, int, Input]] = []
        self._numbers = count()
        self._carry(self.driver.begin())
        self.grow(2)

    def close(self) -> None:
        self.chain.close()

    def _carry(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Alarm):
                heapq.heappush(self._alarms, (self.now_ms + output.delay_ms, next(self._numbers), output.event))

    def grow(self, heights: int = 1) -> None:
        """Let the peer decide. Raises AssertionError when it does not: something has stopped it."""
        wanted = self.chain.height() + heights
        for _ in range(TRIES):
            if self.chain.height() >= wanted:
                return
            assert self._alarms, "nothing is left to wait for"
            at, _, event = heapq.heappop(self._alarms)
            self.now_ms = max(self.now_ms, at)
            self._carry(self.driver.take(event))
        raise AssertionError(f"height {self.chain.height()} where {wanted} was due: the peer stands still")

    # -- what outsiders send --------------------------------------------------------------------------------------

    def vote(self, data: bytes) -> Outcome:
        """Topic `votes`."""
        outcome, message = self.driver.judge(data, whole=False)
        if message is not None:
            self._carry(self.driver.take(message))
        return outcome

    def proposal(self, data: bytes) -> Outcome:
        """Topic `proposals`."""
        outcome, found = self.bodies.judge(VALIDATOR.peer_id, data)
        if isinstance(found, Assembly):
            self.bodies.done(VALIDATOR.peer_id)
        elif found is not None:
            self._carry(self.driver.take(Heard(found, self.bodies.arrived_ms(found.proposal))))
        return outcome

    def transaction(self, raw: bytes) -> Outcome:
        """Topic `transactions`; what is taken goes into a block at once, so that the ledger meets it too."""
        outcome = self.chain.hear_tx(raw)
        if self.chain.has_txs():
            self.grow()
        return outcome

    def record(self, sender: Key, record: Record) -> Outcome:
        """One record in a right batch of `sender`."""
        nonce = self.chain.batch_nonce(sender.public) + 1
        return self.transaction(encode(batch(sender, NETWORK, nonce, (record,))))

    def attempt(self, call: Callable[[], object]) -> Outcome:
        """A request on a stream: taken, or refused with a typed error."""
        try:
            call()
        except FolkmootError:
            return Outcome.REJECT
        return Outcome.ACCEPT


NETWORK = GENESIS.network
__all__ = ["CLIENT", "GENESIS", "ME", "MODEL", "NETWORK", "OWNER", "WHO", "SignedBatch", "World"]
