"""The state after the newest block, as all parts of a chain read it.

Law: one tip; every read is of the state after it.
"""

from __future__ import annotations

from p2p.base.codec import Message
from p2p.base.genesis import Genesis
from p2p.consensus.messages import CommitCertificate
from p2p.ledger.participants.validator_sets import Members, members, punished
from p2p.ledger.rules.context import Context
from p2p.ledger.state.proofs import TreeProof, prove
from p2p.ledger.state.view import View
from p2p.store.lmdb import Store


class Tip(Message, frozen=True):
    """Where the chain stands."""

    height: int  # of the newest block; 0: only the genesis
    app_hash: bytes  # of the state after it
    block_id: bytes
    beacon: bytes
    time_ms: int
    commit: CommitCertificate | None  # None: at height 0


class ChainState:
    """The stored state, its tree, and the tip that both belong to."""

    def __init__(self, store: Store, genesis: Genesis, tip: Tip) -> None:
        self.store, self.genesis = store, genesis
        self.move_to(tip)

    def move_to(self, tip: Tip) -> None:
        """The store holds the state after `tip` now. Reads once per height what consensus asks for many times."""
        self.tip = tip
        view = self.view()
        self.last_members: Members = members(view, b"last")
        self.members: Members = members(view, b"now")
        self.next_members: Members = members(view, b"next")
        self.punished = punished(view)

    def height(self) -> int:
        return self.tip.height

    def read(self, key: bytes) -> bytes | None:
        return self.store.read("state", key)

    def view(self) -> View:
        """A view that may be written to; what is written stays in it."""
        return View(self.read)

    def context(self) -> Context:
        """What the next block begins with."""
        return Context(self.view(), self.genesis, self.height() + 1)

    def prove(self, key: bytes) -> tuple[bytes | None, TreeProof]:
        """The value of a key, None where there is none, and the proof of it against the tip's app hash."""
        return self.read(key), prove(lambda position: self.store.read("tree", position), key)
