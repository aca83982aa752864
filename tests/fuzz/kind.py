"""One kind of signed message, as it is tried. Law: the original is right: it is accepted and does what it is for, in
a world that `make` brought to the place where it can; so a variant of it gets as far as its one wrong field lets it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from p2p.base.codec import Message
from p2p.base.keys import Key
from p2p.base.outcome import Outcome
from tests.fuzz.world import World

Make = Callable[[World, Key], Message]
Send = Callable[[World, Key, Any], tuple[bytes, Callable[[], Outcome]]]
Effect = Callable[[World, Key], bool]


def is_on_chain(world: World, key: Key) -> bool:
    """The effect of a record or an order: carried out in a block that refused nothing."""
    del key
    return world.is_carried_out()


def is_taken(world: World, key: Key) -> bool:
    """The effect of what changes nothing: that it was accepted is all there is."""
    del world, key
    return True


@dataclass(frozen=True, slots=True)
class Kind:
    """make: the part that varies, right for this world and sender; raises Spent where this world cannot hold
    another. send: (its bytes as they travel, the peer's way of taking them). signatures: how many it may make the
    peer verify: two quorums, or three in a batch. by: who has the standing to be accepted with it. after: what
    follows an accepted one and is not counted. effect: whether it did then what it is for."""

    name: str
    make: Make
    send: Send
    signatures: int = 8
    by: tuple[str, ...] = ("validator",)
    effect: Effect = is_taken
    after: Callable[[World, Key], object] = is_taken
