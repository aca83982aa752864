"""One kind of signed message, and how to make it, send it and see its effect.

Law: the original is valid: `make` brings the world to where the peer accepts it and it has its effect. So a variant
gets as far as its one changed field lets it.
"""

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
    """The effect of a record or an account transaction: it was applied in a block that refused nothing."""
    del key
    return world.is_carried_out()


def is_taken(world: World, key: Key) -> bool:
    """The effect of a message that changes nothing: to have been accepted."""
    del world, key
    return True


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of message under test."""

    name: str
    # the part that varies, valid for this world and sender; raises Spent where this world cannot hold another
    make: Make
    send: Send  # (the message's bytes on the wire, the call by which the peer takes them)
    signatures: int = 8  # how many the peer may verify for it: two quorums, or three in a batch
    by: tuple[str, ...] = ("validator",)  # the senders from whom the peer accepts the original
    effect: Effect = is_taken  # whether an accepted one had its effect
    after: Callable[[World, Key], object] = is_taken  # what follows an accepted one; its cost does not count
