"""State as keys and values with an overlay. Law: a view never writes through; `changes` is the whole effect of a block.

A record is decoded once and encoded when somebody wants bytes: within a block the same few are read and put for every record of it.
Records are frozen, and lists of ids are replaced, never changed, so a view, its children and whoever reads may hold the same object.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from p2p.base.codec import encode, load
from p2p.ledger.state.records import Account, CheckCounters, Inference, Participant, Standing, Totals

T = TypeVar("T")
Reader = Callable[[bytes], bytes | None]
_WATCHED = (b"part", b"rules/", b"model")
_ABSENT = object()


class View:
    """read: the state below; it stays as it is while the view lives, so each key is read there once. `child()` gives a view whose changes can
    be dropped or merged, `whole` runs what must do all or nothing.

    _over: what was put: bytes, None, or a record not encoded yet. _known: what bytes of _over, or of the state below a view that is no
    child, were decoded to. _undo: of what is put now, what stood in _over before.
    """

    def __init__(self, read: Reader, parent: View | None = None) -> None:
        self._read = read if parent is not None else cache(read)
        self._parent = parent
        self._over: dict[bytes, Any] = {}
        self._known: dict[bytes, Any] = {}
        self._undo: dict[bytes, Any] | None = None
        self._once: dict[str, Any] = {}
        self._touched: dict[bytes, None] = {}

    @property
    def changes(self) -> dict[bytes, bytes | None]:
        """All that was put, as bytes; encodes what is not yet."""
        return {key: self.get(key) for key in self._over}

    def keys_put(self) -> tuple[bytes, ...]:
        return tuple(self._over)

    def get(self, key: bytes) -> bytes | None:
        if key not in self._over:
            return self._read(key)
        value = self._over[key]
        if value is None or type(value) is bytes:
            return value
        raw = self._over[key] = encode(value)
        self._known[key] = value
        return raw

    def put(self, key: bytes, value: bytes | None) -> None:
        self._put(key, value)

    def _put(self, key: bytes, value: Any) -> None:
        """value: bytes, None, or a frozen record (a list of ids that nobody changes) under a key of its kind."""
        if self._undo is not None and key not in self._undo:
            self._undo[key] = self._over.get(key, _ABSENT)
        self._over[key] = value
        self._known.pop(key, None)
        if key.startswith(_WATCHED):
            self._touched[key] = None
            self._once.clear()

    def _find(self, kind: type[T], key: bytes) -> T | None:
        """What stands under `key`, which has values of this kind only."""
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

    def record(self, kind: type[T], key: bytes) -> T | None:
        """What stands under `key`, which has records of this kind only; decoded once."""
        return self._find(kind, key)

    def touched(self) -> tuple[bytes, ...]:
        """Keys of participants, rules and models that were put, whether or not their value is another one now."""
        return tuple(self._touched)

    def has_put(self, key: bytes) -> bool:
        return key in self._over

    def before(self, key: bytes) -> bytes | None:
        """What stood under `key` below this view."""
        return self._read(key)

    def whole(self, act: Callable[[View], None]) -> None:
        """Run act(self); if it raises, nothing that it put is there. Not within itself."""
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

    def once(self, name: str, make: Callable[[], T]) -> T:
        """make(), which looks at participants, rules and models only: again when one of them was put. Not to be changed."""
        if self._parent is not None and not self._touched:
            return self._parent.once(name, make)
        if name not in self._once:
            self._once[name] = make()
        return self._once[name]  # type: ignore[no-any-return]

    def child(self) -> View:
        return View(self.get, self)

    def merge(self, child: View) -> None:
        for key, value in child._over.items():
            self._put(key, value)
        self._known.update(child._known)

    def account(self, public: bytes) -> Account:
        return self._find(Account, b"acct/" + public) or Account()

    def put_account(self, public: bytes, account: Account) -> None:
        self._put(b"acct/" + public, account)

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
        return self._find(Participant, b"part/" + self.node_now(node))

    def put_participant(self, participant: Participant) -> None:
        self._put(b"part/" + participant.node, participant)

    def participants(self) -> list[Participant]:
        """All of them, by key; not to be changed."""
        return self.once("participants", self._all)

    def _all(self) -> list[Participant]:
        """Of current keys only: no look-up of successors."""
        found = [self._find(Participant, b"part/" + node) for node in self.ids(b"parts")]
        return [participant for participant in found if participant is not None]

    def inference(self, inference_id: bytes) -> Inference | None:
        return self._find(Inference, b"inf/" + inference_id)

    def put_inference(self, inference_id: bytes, inference: Inference) -> None:
        self._put(b"inf/" + inference_id, inference)

    def totals(self) -> Totals:
        return self._find(Totals, b"totals") or Totals()

    def put_totals(self, totals: Totals) -> None:
        self._put(b"totals", totals)

    def standing(self, node: bytes) -> Standing:
        return self._find(Standing, b"stand/" + self.node_now(node)) or Standing()

    def put_standing(self, node: bytes, standing: Standing) -> None:
        """Of who is no participant (any more) nothing is kept."""
        key = self.node_now(node)
        if self._find(Participant, b"part/" + key) is not None:
            self._put(b"stand/" + key, standing)

    def counters(self) -> CheckCounters:
        return self._find(CheckCounters, b"checks") or CheckCounters()

    def put_counters(self, counters: CheckCounters) -> None:
        self._put(b"checks", counters)

    def beacon(self, height: int) -> bytes | None:
        return self.get(b"beacon/" + height.to_bytes(8, "big"))

    # lists of ids by name: the height index of deadlines, records that came early, open duties

    def ids(self, name: bytes) -> list[bytes]:
        """Not to be changed."""
        return self._find(list[bytes], name) or []

    def add_id(self, name: bytes, value: bytes) -> None:
        self._put(name, [*self.ids(name), value])

    def remove_id(self, name: bytes, value: bytes) -> None:
        left = list(self.ids(name))
        for _ in range(left.count(value)):
            left.remove(value)
        self._put(name, left or None)

    def add_due(self, height: int, value: bytes) -> None:
        """At the end of block `height`, `value` (an inference's id, or a tagged one) is looked at."""
        self.add_id(due_key(height), value)


def due_key(height: int) -> bytes:
    return b"due/" + height.to_bytes(8, "big")
