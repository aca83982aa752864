"""One peer that outsiders write to: the real chain, driver and mempool, without a network. Law: it decides alone, so
that its chain goes on exactly when nothing has stopped it; and it stands where everything an outsider may say can be
right.

Its own key holds more than two thirds of the weight; a validator with a third less has its turns as proposer, four
judges have a little, so that there is somebody left for a dispute and for its appeal. The registry is full: who
registers takes another's place. Whoever could lose a place says something in every block that outsiders fill.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from pathlib import Path
from unittest.mock import patch

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError
from p2p.base.genesis import CheckRules, EconomyRules, Genesis, GenesisAccount, GenesisPeer, ModelSpec, SprintRules
from p2p.base.keys import Domain, Key, digest
from p2p.base.outcome import Outcome
from p2p.base.types import VERSION, PlantCommit, Record, RecordKind
from p2p.chain.chain import Chain
from p2p.consensus.bodies import Bodies
from p2p.consensus.compact import Assembly
from p2p.consensus.driver import Driver
from p2p.consensus.events import Input, Output, ProposalArrived, SetTimer
from p2p.consensus.timing import Timing
from p2p.ledger.participants import places
from p2p.ledger.rules.ops import Body, Register, consent, sign_op
from p2p.ledger.state.view import View
from p2p.ledger.transactions import pack_operation
from tests.fuzz.meter import aside
from tests.fuzz.signing import batch

ME, VALIDATOR, PARTICIPANT, STRANGER, CLIENT, OWNER, *JUDGES = (Key(bytes([0x50 + at]) * 32) for at in range(10))
WHO = {"validator": VALIDATOR, "participant": PARTICIPANT, "stranger": STRANGER}
MODEL, OTHER_MODEL = "toy", "toy-2"
UNIT = 1 << 20  # of weight: a race halves it, epoch after epoch, and nobody's share may come to nothing
GENESIS = Genesis(
    VERSION, "extremes", 1_000_000,
    (
        GenesisPeer(ME.public, OWNER.public, 1000 * UNIT, (MODEL,)),
        GenesisPeer(VALIDATOR.public, CLIENT.public, 480 * UNIT, (MODEL,)),
        GenesisPeer(PARTICIPANT.public, CLIENT.public, 0, (MODEL,)),
        *(GenesisPeer(key.public, key.public, 2 * UNIT, (MODEL,)) for key in JUDGES),
    ),
    (GenesisAccount(CLIENT.public, 10**12), GenesisAccount(OWNER.public, 10**12)),
    tuple(ModelSpec(name, bytes(32), bytes(32), "bfloat16", 10, 1, 2048) for name in (MODEL, OTHER_MODEL)),
    committee=1, validation_window=6, epoch_blocks=90,
    sprint=SprintRules(blocks=12, open_blocks=8, samples=3, max_tokens=20),
    checks=CheckRules(reveal_window=4, appeal_window=8, plant_window=6),
    economy=EconomyRules(withdraw_wait=2, gov_window=4, owner_cap_milli=1000, price_low_milli=0, price_high_milli=1000),
)
NETWORK = GENESIS.network
TRIES = 400  # inputs in which a height has to be decided
SPARE = 1  # place of the registry beside those of the genesis file: who has it goes for the next newcomer


class Spent(Exception):
    """This world cannot hold another right message of the kind: its sender was convicted, or what there is one of
    was used."""


class World:
    """A peer whose next height is under way. mark: the height before the last message; nodes: keys of whoever may be
    a participant; kept: of a kind, the inference that its variants are about."""

    def __init__(self, directory: Path) -> None:
        self._full = patch.object(places, "MAX_PARTICIPANTS", len(GENESIS.peers) + SPARE)
        self._full.start()
        self.now_ms = GENESIS.time_ms + 1000
        self.chain = Chain.open(directory, GENESIS)
        self.driver = Driver(
            key=ME, network=NETWORK, app=self.chain, guard=self.chain.guard, timing=Timing(), clock=lambda: self.now_ms,
            has_txs=self.chain.pool.has_txs,
        )
        self.bodies = Bodies(self.driver, NETWORK, self.chain.pool.mempool.find)
        self.mark, self.nodes, self.kept = 0, dict[bytes, Key](), dict[str, bytes]()
        self._alarms: list[tuple[int, int, Input]] = []
        self._numbers = count()
        self._carry(self.driver.begin())
        self.grow(2)
        for _ in range(SPARE):
            self.order(CLIENT, self.registration(self.new_node()))

    def close(self) -> None:
        self._full.stop()
        self.chain.close()

    def _carry(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, SetTimer):
                heapq.heappush(self._alarms, (self.now_ms + output.delay_ms, next(self._numbers), output.event))

    def grow(self, heights: int = 1) -> None:
        """Let the peer decide. Raises AssertionError when it does not: something has stopped it."""
        wanted = self.chain.height() + heights
        for _ in range(TRIES * heights):
            if self.chain.height() >= wanted:
                return
            assert self._alarms, "nothing is left to wait for"
            at, _, event = heapq.heappop(self._alarms)
            self.now_ms = max(self.now_ms, at)
            self._carry(self.driver.take(event))
        raise AssertionError(f"height {self.chain.height()} where {wanted} was due: the peer stands still")

    def view(self) -> View:
        """The state as it is."""
        return View(lambda key: self.chain.store.read("state", key))

    # -- what outsiders send ---------------------------------------------------------------------------------

    def vote(self, data: bytes) -> Outcome:
        """Topic `votes`."""
        self.mark = self.chain.height()
        outcome, message = self.driver.inbox.judge_gossip(data)
        if message is not None:
            self._carry(self.driver.take(message))
        return outcome

    def proposal(self, data: bytes) -> Outcome:
        """Topic `proposals`."""
        self.mark = self.chain.height()
        outcome, found = self.bodies.judge(VALIDATOR.peer_id, data)
        if isinstance(found, Assembly):
            self.bodies.done(VALIDATOR.peer_id)
        elif found is not None:
            self._carry(self.driver.take(ProposalArrived(found, self.bodies.arrived_ms(found.proposal))))
        return outcome

    def transaction(self, raw: bytes) -> Outcome:
        """Topic `transactions`; what is taken goes into a block at once, with a word of everybody whose place it
        could take."""
        with aside():
            if (self.chain.height() + 1) % GENESIS.epoch_blocks == 0:
                self.grow()  # what an epoch's end costs is nobody's message
        self.mark = self.chain.height()
        outcome = self.chain.pool.hear(raw)
        with aside():
            for key in self.movable() if self.chain.pool.mempool.known(raw) else ():
                said = Record(RecordKind.PLANT_COMMIT, encode(PlantCommit(key.public, self.unused())))
                self.chain.pool.hear(encode(batch(key, NETWORK, self.chain.reader.batch_nonce(key.public) + 1, (said,))))
        if self.chain.pool.has_txs():
            self.grow()
        return outcome

    def record(self, sender: Key, record: Record) -> Outcome:
        """One record in a right batch of `sender`."""
        nonce = self.chain.reader.batch_nonce(sender.public) + 1
        return self.transaction(encode(batch(sender, NETWORK, nonce, (record,))))

    def attempt(self, call: Callable[[], object]) -> Outcome:
        """A request on a stream: taken, or refused with a typed error."""
        try:
            call()
        except FolkmootError:
            return Outcome.REJECT
        return Outcome.ACCEPT

    # -- what became of it -----------------------------------------------------------------------------------

    def complaints(self) -> list[str]:
        """Of the blocks since the last message: which records and orders were refused, and for which field."""
        heights = range(self.mark + 1, self.chain.height() + 1)
        return [f"{receipt.code}: {receipt.field}" for height in heights for receipt in self.chain.blocks.receipts(height)]

    def is_carried_out(self) -> bool:
        """The last transaction is in a block, and nothing of that block was refused."""
        return self.chain.height() > self.mark and not self.complaints()

    # -- what is needed before a message can be right --------------------------------------------------------

    def unused(self) -> bytes:
        """32 bytes that nothing else is."""
        return digest(b"unused", next(self._numbers).to_bytes(8, "big"))

    def new_node(self) -> Key:
        key = Key(self.unused())
        self.nodes[key.public] = key
        return key

    def movable(self) -> list[Key]:
        """Those that may have to go for a newcomer."""
        return [key for key in self.nodes.values() if self.chain.reader.is_registered(key.public)]

    def registration(self, node: Key) -> Register:
        return Register(node.public, (MODEL,), (), 0, "", node.sign(Domain.NODE, NETWORK, consent(CLIENT.public)))

    def say(self, sender: Key, kind: RecordKind, body: object) -> None:
        """Put a record that has to be right on chain. Raises Spent."""
        outcome = self.record(sender, Record(kind, encode(body)))
        if outcome is not Outcome.ACCEPT or not self.is_carried_out():
            raise Spent(f"{kind.name}: {outcome.name} {self.complaints()}")

    def order(self, account: Key, body: Body) -> None:
        """The same for an order."""
        nonce = self.chain.answers.account(account.public).next_nonce
        outcome = self.transaction(pack_operation(sign_op(account, NETWORK, nonce, body)))
        if outcome is not Outcome.ACCEPT or not self.is_carried_out():
            raise Spent(f"{type(body).__name__}: {outcome.name} {self.complaints()}")


__all__ = [
    "CLIENT", "GENESIS", "JUDGES", "ME", "MODEL", "NETWORK", "OWNER", "PARTICIPANT", "STRANGER", "VALIDATOR", "WHO",
    "Spent", "World",
]
