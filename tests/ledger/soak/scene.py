"""What the generators share: the state they read, and the records they have made for the next block.

Law: whether a record is meant well, or wrong and why, is fixed when it is made; nothing here asks the ledger.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from p2p.base.codec import encode
from p2p.base.genesis import Genesis
from p2p.base.keys import Domain, Key, NetworkId
from p2p.base.limits import MAX_BLOCK, MAX_RECORDS_PER_TX, MAX_TX
from p2p.base.types import VERSION, Batch, Record, RecordKind, SignedBatch
from p2p.chain.chain import Chain
from p2p.ledger.rules.context import Context
from p2p.ledger.state.records import Participant
from p2p.ledger.state.view import View
from tests.ledger.soak.people import People

ROOM = MAX_BLOCK * 3 // 4  # for all records of a block
PER_SENDER = MAX_TX * 3 // 4
EITHER = "?"  # first character of the name of a record that may be applied or not, depending on the rest of its block


@dataclass(frozen=True, slots=True)
class Item:
    """wrong: '' = meant well; a name = the ledger must refuse it."""

    record: Record
    wrong: str = ""


@dataclass
class Scene:
    chain: Chain
    people: People
    rng: random.Random
    items: dict[bytes, list[Item]] = field(default_factory=dict)
    room: int = ROOM
    sizes: dict[bytes, int] = field(default_factory=dict)
    nonces: dict[bytes, int] = field(default_factory=dict)

    def begin(self) -> None:
        """Begin a new block: read the state after the last one."""
        self.view = View(lambda key: self.chain.store.read("state", key))
        self.height = self.chain.height() + 1
        self.participants: list[Participant] = self.view.participants()
        self.nodes = [p.node for p in self.participants]
        self.items, self.sizes, self.room = {}, {}, ROOM

    @property
    def genesis(self) -> Genesis:
        return self.chain.genesis

    @property
    def ctx(self) -> Context:
        return Context(self.view, self.genesis, self.height)

    @property
    def network(self) -> NetworkId:
        return self.chain.genesis.network

    def chance(self, milli: int) -> bool:
        return self.rng.randrange(1000) < milli

    def key(self, public: bytes) -> Key:
        return self.people.by_public[public]

    def nonce(self, account: bytes) -> int:
        """A free nonce, sometimes with a gap before it."""
        last = max(self.nonces.get(account, 0), self.view.account(account).nonce_high)
        self.nonces[account] = last + 1 + self.chance(30)
        return self.nonces[account]

    def put(self, sender: bytes, kind: RecordKind, body: object, wrong: str = "") -> bool:
        """Put a record into `sender`'s batch; False where the block has no room for it."""
        record = Record(kind, body if isinstance(body, bytes) else encode(body))
        size = len(record.body) + 8
        mine, used = self.items.setdefault(sender, []), self.sizes.get(sender, 0)
        if sender not in self.nodes or size > self.room or used + size > PER_SENDER or len(mine) >= MAX_RECORDS_PER_TX:
            return False
        mine.append(Item(record, wrong))
        self.sizes[sender] = used + size
        self.room -= size
        return True

    def anybody(self) -> bytes:
        return self.rng.choice(self.nodes)

    def singles(self) -> list[tuple[Item, bytes]]:
        """Take half of the well-meant account transactions out of the batches: each is sent by itself."""
        found = []
        for sender, items in self.items.items():
            alone = [
                item for item in items if item.record.kind is RecordKind.OP and not item.wrong and self.chance(500)
            ]
            self.items[sender] = [item for item in items if item not in alone]
            found += [(item, encode(item.record)) for item in alone]
        return found

    def batches(self) -> list[tuple[bytes, list[Item], bytes]]:
        """(sender, its records in any order, the signed batch), senders in any order."""
        senders = [sender for sender, items in self.items.items() if items]
        self.rng.shuffle(senders)
        made = []
        for sender in senders:
            items = self.items[sender]
            self.rng.shuffle(items)
            nonce = self.chain.reader.batch_nonce(sender) + 1
            batch = Batch(VERSION, self.network, sender, nonce, tuple(item.record for item in items))
            signature = self.key(sender).sign(Domain.TX, self.network, encode(batch))
            made.append((sender, items, encode(SignedBatch(batch, signature))))
        return made
