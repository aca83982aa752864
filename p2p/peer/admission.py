"""Places for work that takes long. Law: whoever asks for a place has it or is refused before anything is awaited; so any number that ask at the
same time get no more places than there are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from p2p.base.errors import Overloaded
from p2p.base.limits import MAX_ONCE


class Places:
    """`most` of them. what: for errors, 'on the ML node'."""

    def __init__(self, most: int, what: str, field: str) -> None:
        self.most, self.what, self.field = most, what, field
        self._keys: list[object] = []

    @property
    def taken(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    @contextmanager
    def hold(self, key: object = None) -> Iterator[None]:
        """One place for what is inside; counted when the block is entered. Raises Overloaded where none is free. key: what for, told apart with
        `in`."""
        if len(self._keys) >= self.most:
            raise Overloaded(f"all {self.most} places {self.what} are taken; try again later", field=self.field, retry_after=1)
        self._keys.append(key)
        try:
            yield
        finally:
            self._keys.remove(key)


class Once:
    """What was done once. Law: at most MAX_ONCE are remembered; the oldest is forgotten first."""

    def __init__(self) -> None:
        self._done: OrderedDict[bytes, None] = OrderedDict()

    def first(self, key: bytes) -> bool:
        """Whether `key` was not here before; now it was."""
        if key in self._done:
            return False
        self._done[key] = None
        if len(self._done) > MAX_ONCE:
            self._done.popitem(last=False)
        return True
