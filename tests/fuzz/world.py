"""One peer that outsiders write to: the real chain, driver and mempool, without a network.

Law: the peer decides alone, so its chain grows unless an input has stopped it; and its state allows every kind of
message that an outsider may send.

Its own key holds more than two thirds of the weight. A validator with less than a third has its turns as proposer; four
judges have a little, so that a dispute and its appeal find a committee. The registry is full: a newcomer takes the
place of another node. Every block that outsiders fill holds a record of each node that could lose its place.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from pathlib import Path
from unittest.mock import patch

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError, RemoteProtocolError
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
from p2p.consensus.vote_frames import parse_message
from p2p.ledger.participants import places
from p2p.ledger.rules.ops import Body, Register, consent, sign_op
from p2p.ledger.state.view import View
from p2p.ledger.transactions import pack_operation
from tests.fuzz.meter import aside
from tests.fuzz.signing import batch

ME, VALIDATOR, PARTICIPANT, STRANGER, CLIENT, OWNER, *JUDGES = (Key(bytes([0x50 + at]) * 32) for at in range(10))
WHO = {"validator": VALIDATOR, "participant": PARTICIPANT, "stranger": STRANGER}
MODEL, OTHER_MODEL = "toy", "toy-2"
UNIT = 1 << 20  # of weight: each sprint halves it, and no share may reach zero
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
TRIES = 400  # events within which a height has to be decided
SPARE = 1  # places of the registry in addition to the genesis peers; the next newcomer takes it


class Spent(Exception):
    """This world cannot hold another valid message of the kind: its sender is convicted, or something that exists only
    once is used."""


class World:
    """A peer that is about to decide its next height.

    mark: the height before the last message. nodes: keys of newcomers that may be participants. kept: kind -> the
    inference, or other bytes, that its variants are about.
    """

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
        self._timers: list[tuple[int, int, Input]] = []
        self._numbers = count()
        self._carry(self.driver.begin())
        self.grow(2)
        for _ in range(SPARE):
            self.submit(CLIENT, self.registration(self.new_node()))

    def close(self) -> None:
        self._full.stop()
        self.chain.close()

    def _carry(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, SetTimer):
                heapq.heappush(self._timers, (self.now_ms + output.delay_ms, next(self._numbers), output.event))

    def grow(self, heights: int = 1) -> None:
        """Let the peer decide `heights` blocks. Raises AssertionError when something has stopped it."""
        wanted = self.chain.height() + heights
        for _ in range(TRIES * heights):
            if self.chain.height() >= wanted:
                return
            assert self._timers, "nothing is left: no timer is set"
            at, _, event = heapq.heappop(self._timers)
            self.now_ms = max(self.now_ms, at)
            self._carry(self.driver.take(event))
        raise AssertionError(f"height {self.chain.height()} where {wanted} was due: the peer has stopped")

    def view(self) -> View:
        """The present state."""
        return View(lambda key: self.chain.store.read("state", key))

    # -- what outsiders send ---------------------------------------------------------------------------------

    def vote(self, data: bytes) -> Outcome:
        """A message in a bundle of a vote stream."""
        self.mark = self.chain.height()
        try:
            parsed = parse_message(data)
        except RemoteProtocolError:
            return Outcome.REJECT
        outcome, message = self.driver.inbox.judge_vote(parsed)
        if message is not None:
            self._carry(self.driver.take(message))
        return outcome

    def proposal(self, data: bytes) -> Outcome:
        """Topic `proposals`."""
        self.mark = self.chain.height()
        outcome, found = self.bodies.judge(VALIDATOR.peer_id, data)
        if isinstance(found, Assembly):
            self.bodies.done(found.source)
        elif found is not None:
            self._carry(self.driver.take(ProposalArrived(found, self.bodies.arrived_ms(found.proposal))))
        return outcome

    def transaction(self, raw: bytes) -> Outcome:
        """Topic `transactions`; an accepted one goes into a block at once, with a record of each node whose place it
        could take."""
        with aside():
            if (self.chain.height() + 1) % GENESIS.epoch_blocks == 0:
                self.grow()  # the cost of an epoch's end belongs to no message
        self.mark = self.chain.height()
        outcome = self.chain.pool.hear(raw)
        with aside():
            for key in self.movable() if self.chain.pool.mempool.known(raw) else ():
                said = Record(RecordKind.PLANT_COMMIT, encode(PlantCommit(key.public, self.unused())))
                words = batch(key, NETWORK, self.chain.reader.batch_nonce(key.public) + 1, (said,))
                self.chain.pool.hear(encode(words))
        if self.chain.pool.has_txs():
            self.grow()
        return outcome

    def record(self, sender: Key, record: Record) -> Outcome:
        """Send one record in a valid batch of `sender`."""
        nonce = self.chain.reader.batch_nonce(sender.public) + 1
        return self.transaction(encode(batch(sender, NETWORK, nonce, (record,))))

    def attempt(self, call: Callable[[], object]) -> Outcome:
        """The outcome of a request on a stream: accepted, or refused with a typed error."""
        try:
            call()
        except FolkmootError:
            return Outcome.REJECT
        return Outcome.ACCEPT

    # -- what became of it -----------------------------------------------------------------------------------

    def complaints(self) -> list[str]:
        """Error code and field of each record or account transaction that the blocks since the last message refused."""
        heights = range(self.mark + 1, self.chain.height() + 1)
        receipts = (receipt for height in heights for receipt in self.chain.blocks.receipts(height))
        return [f"{receipt.code}: {receipt.field}" for receipt in receipts]

    def is_carried_out(self) -> bool:
        """The last transaction is in a block, and nothing of that block was refused."""
        return self.chain.height() > self.mark and not self.complaints()

    # -- what is needed before a message can be right --------------------------------------------------------

    def unused(self) -> bytes:
        """32 bytes that are used nowhere else."""
        return digest(b"unused", next(self._numbers).to_bytes(8, "big"))

    def new_node(self) -> Key:
        key = Key(self.unused())
        self.nodes[key.public] = key
        return key

    def movable(self) -> list[Key]:
        """The nodes whose place a newcomer may take."""
        return [key for key in self.nodes.values() if self.chain.reader.is_registered(key.public)]

    def registration(self, node: Key) -> Register:
        return Register(node.public, (MODEL,), (), 0, "", node.sign(Domain.NODE, NETWORK, consent(CLIENT.public)))

    def say(self, sender: Key, kind: RecordKind, body: object) -> None:
        """Put a valid record on chain. Raises Spent where the ledger refuses it."""
        outcome = self.record(sender, Record(kind, encode(body)))
        if outcome is not Outcome.ACCEPT or not self.is_carried_out():
            raise Spent(f"{kind.name}: {outcome.name} {self.complaints()}")

    def submit(self, account: Key, body: Body) -> None:
        """Put a valid account transaction on chain. Raises Spent where the ledger refuses it."""
        nonce = self.chain.answers.account(account.public).next_nonce
        outcome = self.transaction(pack_operation(sign_op(account, NETWORK, nonce, body)))
        if outcome is not Outcome.ACCEPT or not self.is_carried_out():
            raise Spent(f"{type(body).__name__}: {outcome.name} {self.complaints()}")


__all__ = [
    "CLIENT", "GENESIS", "JUDGES", "ME", "MODEL", "NETWORK", "OWNER", "PARTICIPANT", "STRANGER", "VALIDATOR", "WHO",
    "Spent", "World",
]
