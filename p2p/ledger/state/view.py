"""The state as keys and values under an overlay of changes. Law: a view writes nothing below itself; `changes` is the
whole effect of a block.

A record is decoded once, and encoded when somebody wants its bytes: the records of one block read and put the same few
keys again and again. Records are frozen, and a list of ids is replaced, never changed in place, so a view, its children
and their readers may share one object.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from p2p.base.codec import encode, load
from p2p.ledger.state import keys
from p2p.ledger.state.records import Account, CheckCounters, Conduct, Inference, Participant, Totals

T = TypeVar("T")
Reader = Callable[[bytes], bytes | None]  # key -> value, None where there is none
_ABSENT = object()


class View:
    """What a block reads, and what it changes.

    `child()` gives a view whose changes can be dropped or merged. `whole` runs a function whose changes all count or
    none.
    """

    def __init__(self, read: Reader, parent: View | None = None) -> None:
        """read: the state below. It must not change while the view lives: a view without a parent reads each key
        once."""
        self._read = read if parent is not None else cache(read)
        self._parent = parent
        self._over: dict[bytes, Any] = {}  # what was put: bytes, None to delete, or a record not encoded yet
        self._known: dict[bytes, Any] = {}  # decoded: bytes of _over or, in a view without a parent, of the state below
        self._undo: dict[bytes, Any] | None = None  # within `whole`: what stood in _over before
        self._once: dict[str, Any] = {}  # results of `once`
        self._touched: dict[bytes, None] = {}  # keys of keys.SERVING_FACTS that were put, in order

    # -- keys and values -----------------------------------------------------------------------------------------------

    @property
    def changes(self) -> dict[bytes, bytes | None]:
        """key -> new value, None for a deleted key. Encodes every record that is not encoded yet."""
        return {key: self.get(key) for key in self._over}

    def keys_put(self) -> tuple[bytes, ...]:
        """Every key that was put, in order."""
        return tuple(self._over)

    def has_put(self, key: bytes) -> bool:
        return key in self._over

    def touched(self) -> tuple[bytes, ...]:
        """The keys of participants, rules and models that were put, even with the value that they had before."""
        return tuple(self._touched)

    def get(self, key: bytes) -> bytes | None:
        if key not in self._over:
            return self._read(key)
        value = self._over[key]
        if value is None or type(value) is bytes:
            return value
        raw = self._over[key] = encode(value)
        self._known[key] = value
        return raw

    def before(self, key: bytes) -> bytes | None:
        """What stands under `key` below this view."""
        return self._read(key)

    def put(self, key: bytes, value: bytes | None) -> None:
        """None deletes the key."""
        self._put(key, value)

    def _put(self, key: bytes, value: Any) -> None:
        """value: bytes, None, or a frozen record or list of ids of the kind that belongs under `key`; nobody changes
        it afterwards."""
        if self._undo is not None and key not in self._undo:
            self._undo[key] = self._over.get(key, _ABSENT)
        self._over[key] = value
        self._known.pop(key, None)
        if key.startswith(keys.SERVING_FACTS):
            self._touched[key] = None
            self._once.clear()

    def record(self, kind: type[T], key: bytes) -> T | None:
        """The record under `key`, decoded once. Every value of `key` must be of this kind."""
        return self._find(kind, key)

    def _find(self, kind: type[T], key: bytes) -> T | None:
        if key in self._over:
            value = self._over[key]
            if type(value) is not bytes:
                return value  # type: ignore[no-any-return]
        elif self._parent is not None:
            return self._parent._find(kind, key)
        elif key in self._known:
            return self._known[key]  # type: ignore[no-any-return]
        else:
            value = self._read(key)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = load(kind, value) if value else None
        return found

    # -- changes that count together -----------------------------------------------------------------------------------

    def whole(self, act: Callable[[View], None]) -> None:
        """Run act(self). If it raises, nothing that it put remains. Calls do not nest."""
        assert self._undo is None
        undo: dict[bytes, Any] = {}
        self._undo = undo
        try:
            act(self)
        except BaseException:
            for key, value in undo.items():
                self._known.pop(key, None)
                if value is _ABSENT:
                    del self._over[key]
                else:
                    self._over[key] = value
            self._once.clear()
            raise
        finally:
            self._undo = None

    def child(self) -> View:
        """A view over this one: `merge` it, or drop it to drop its changes."""
        return View(self.get, self)

    def merge(self, child: View) -> None:
        for key, value in child._over.items():
            self._put(key, value)
        self._known.update(child._known)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """make(), kept under `name` until a participant, a rule or a model is put: `make` may read these only. The
        result must not be changed."""
        if self._parent is not None and not self._touched:
            return self._parent.once(name, make)
        if name not in self._once:
            self._once[name] = make()
        return self._once[name]  # type: ignore[no-any-return]

    # -- accounts, participants, inferences ----------------------------------------------------------------------------

    def account(self, public: bytes) -> Account:
        """An account that nobody has paid yet is an empty one."""
        return self._find(Account, keys.account(public)) or Account()

    def put_account(self, public: bytes, account: Account) -> None:
        self._put(keys.account(public), account)

    def node_now(self, node: bytes) -> bytes:
        """The key that replaced `node` (registry.rotate_key); `node` itself where none did."""
        origin = self.get(keys.first_key(node))
        return (self.get(keys.key_now(origin)) if origin else None) or node

    def owner_of(self, node: bytes) -> bytes | None:
        """The account that owns the node or, if the node has left, owned it last. None for a node that was never
        registered."""
        participant = self.participant(node)
        if participant is not None:
            return participant.owner
        return self.get(keys.last_owner(self.get(keys.first_key(node)) or node))

    def participant(self, node: bytes) -> Participant | None:
        """The participant behind `node`. A rotated key stands for its successor, so a message to the old key finds
        the new one."""
        return self._find(Participant, keys.participant(self.node_now(node)))

    def put_participant(self, participant: Participant) -> None:
        self._put(keys.participant(participant.node), participant)

    def participants(self) -> list[Participant]:
        """All of them, sorted by key. The list must not be changed."""
        return self.once("participants", self._all)

    def _all(self) -> list[Participant]:
        found = [self._find(Participant, keys.participant(node)) for node in self.ids(keys.PARTICIPANTS)]
        return [participant for participant in found if participant is not None]

    def inference(self, inference_id: bytes) -> Inference | None:
        return self._find(Inference, keys.inference(inference_id))

    def put_inference(self, inference_id: bytes, inference: Inference) -> None:
        self._put(keys.inference(inference_id), inference)

    def totals(self) -> Totals:
        return self._find(Totals, keys.TOTALS) or Totals()

    def put_totals(self, totals: Totals) -> None:
        self._put(keys.TOTALS, totals)

    def conduct(self, node: bytes) -> Conduct:
        return self._find(Conduct, keys.conduct(self.node_now(node))) or Conduct()

    def put_conduct(self, node: bytes, conduct: Conduct) -> None:
        """Does nothing where `node` is not a participant, or is one no longer."""
        now = self.node_now(node)
        if self._find(Participant, keys.participant(now)) is not None:
            self._put(keys.conduct(now), conduct)

    def counters(self) -> CheckCounters:
        return self._find(CheckCounters, keys.CHECK_COUNTERS) or CheckCounters()

    def put_counters(self, counters: CheckCounters) -> None:
        self._put(keys.CHECK_COUNTERS, counters)

    def beacon(self, height: int) -> bytes | None:
        """The beacon of block `height`, 32 bytes; None where that block is too old or not decided."""
        return self.get(keys.beacon(height))

    # -- lists of ids: nodes, open duties, early records, what is due at a height --------------------------------------

    def ids(self, name: bytes) -> list[bytes]:
        """The list under key `name`, empty where there is none. It must not be changed."""
        return self._find(list[bytes], name) or []

    def add_id(self, name: bytes, value: bytes) -> None:
        """Append `value`."""
        self._put(name, [*self.ids(name), value])

    def remove_id(self, name: bytes, value: bytes) -> None:
        """Remove `value` wherever it stands in the list; an empty list leaves the state."""
        left = list(self.ids(name))
        for _ in range(left.count(value)):
            left.remove(value)
        self._put(name, left or None)

    def add_due(self, height: int, value: bytes) -> None:
        """The end of block `height` looks at `value`: an inference's id, or a tagged id (keys.DUE_BEFORE_START and the
        others)."""
        self.add_id(keys.due(height), value)
