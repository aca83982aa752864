"""State as keys and values with an overlay. Law: a view never writes through; `changes` is the whole effect of a block."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from p2p.codec import encode, load
from p2p.ledger.records import Account, CheckCounters, Inference, Participant, Standing, Totals

T = TypeVar("T")
Reader = Callable[[bytes], bytes | None]


class View:
    """read: the state below. `child()` gives a view whose changes can be dropped or merged."""

    def __init__(self, read: Reader) -> None:
        self._read = read
        self.changes: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.changes[key] if key in self.changes else self._read(key)

    def put(self, key: bytes, value: bytes | None) -> None:
        self.changes[key] = value

    def child(self) -> View:
        return View(self.get)

    def merge(self, child: View) -> None:
        self.changes.update(child.changes)

    def account(self, public: bytes) -> Account:
        raw = self.get(b"acct/" + public)
        return load(Account, raw) if raw else Account()

    def put_account(self, public: bytes, account: Account) -> None:
        self.put(b"acct/" + public, encode(account))

    def node_now(self, node: bytes) -> bytes:
        """The key that took this one's place (registry.rotate_key); the same where none did."""
        origin = self.get(b"moved/" + node)
        return (self.get(b"line/" + origin) if origin else None) or node

    def owner_of(self, node: bytes) -> bytes | None:
        """Whose node it is, or was last, whatever became of its key."""
        participant = self.participant(node)
        return participant.owner if participant else self.get(b"gone/" + (self.get(b"moved/" + node) or node))

    def participant(self, node: bytes) -> Participant | None:
        """Whoever `node` is now: a rotated key stands for its successor, so what is still on its way to the old key finds the new one."""
        raw = self.get(b"part/" + self.node_now(node))
        return load(Participant, raw) if raw else None

    def put_participant(self, participant: Participant) -> None:
        self.put(b"part/" + participant.node, encode(participant))

    def participants(self) -> list[Participant]:
        nodes = load(list[bytes], self.get(b"parts") or b"\x80")
        found = [self.get(b"part/" + node) for node in nodes]  # of current keys only: no look-up of successors
        return [load(Participant, raw) for raw in found if raw]

    def inference(self, inference_id: bytes) -> Inference | None:
        raw = self.get(b"inf/" + inference_id)
        return load(Inference, raw) if raw else None

    def put_inference(self, inference_id: bytes, inference: Inference) -> None:
        self.put(b"inf/" + inference_id, encode(inference))

    def totals(self) -> Totals:
        raw = self.get(b"totals")
        return load(Totals, raw) if raw else Totals()

    def put_totals(self, totals: Totals) -> None:
        self.put(b"totals", encode(totals))

    def standing(self, node: bytes) -> Standing:
        raw = self.get(b"stand/" + self.node_now(node))
        return load(Standing, raw) if raw else Standing()

    def put_standing(self, node: bytes, standing: Standing) -> None:
        self.put(b"stand/" + self.node_now(node), encode(standing))

    def counters(self) -> CheckCounters:
        raw = self.get(b"checks")
        return load(CheckCounters, raw) if raw else CheckCounters()

    def put_counters(self, counters: CheckCounters) -> None:
        self.put(b"checks", encode(counters))

    def beacon(self, height: int) -> bytes | None:
        return self.get(b"beacon/" + height.to_bytes(8, "big"))

    # lists of ids by name: the height index of deadlines, records that came early, open duties

    def ids(self, name: bytes) -> list[bytes]:
        return load(list[bytes], self.get(name) or b"\x80")

    def add_id(self, name: bytes, value: bytes) -> None:
        self.put(name, encode([*self.ids(name), value]))

    def remove_id(self, name: bytes, value: bytes) -> None:
        left = [item for item in self.ids(name) if item != value]
        self.put(name, encode(left) if left else None)

    def add_due(self, height: int, value: bytes) -> None:
        """At the end of block `height`, `value` (an inference's id, or a tagged one) is looked at."""
        self.add_id(due_key(height), value)


def due_key(height: int) -> bytes:
    return b"due/" + height.to_bytes(8, "big")
