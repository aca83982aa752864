"""Every kind of signed message: a variant changes a field inside, then the signatures around it are made again.

Law: each kind's original is accepted and has its effect (kind.py). tests/fuzz/test_originals.py checks every kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from p2p.base.codec import Message, encode, unpack
from p2p.base.errors import RemoteProtocolError
from p2p.base.keys import Domain, Key
from p2p.base.outcome import Outcome
from p2p.base.types import VERSION, SignedStreamed, Streamed
from p2p.gossip.discovery import handshake
from p2p.verification.streamed import chain_after, wrong_handover
from p2p.wire.frames import pack_frame, parse_frame
from tests.fuzz.kind import Kind
from tests.fuzz.signed_consensus import CONSENSUS
from tests.fuzz.signed_ledger import LEDGER
from tests.fuzz.signed_operations import ACCOUNT_TRANSACTIONS
from tests.fuzz.world import ME, NETWORK, WHO, World
from tests.golden.samples import kinds, sample


def _framed(world: World, key: Key, frame: Any) -> tuple[bytes, Callable[[], Outcome]]:
    del key
    data = pack_frame(frame)
    return data, lambda: world.attempt(lambda: parse_frame(data))


def _streamed(world: World, key: Key) -> Streamed:
    """The sender's statement that it streamed the first tokens of an answer that another executor continues."""
    del world
    return Streamed(STREAM, key.public, 0, len(TOKENS), chain_after(STREAM, TOKENS))


def _taken_over(world: World, key: Key, body: Streamed) -> tuple[bytes, Callable[[], Outcome]]:
    """The check that agent, executor and committee make."""
    data = encode(SignedStreamed(body, key.sign(Domain.STREAMED, NETWORK, encode(body))))

    def take() -> Outcome:
        try:
            parts = [unpack(SignedStreamed, data)]
        except RemoteProtocolError:
            return Outcome.REJECT
        wrong = wrong_handover(parts, TOKENS, NETWORK, STREAM, (key.public, ME.public), ME.public)
        return Outcome.REJECT if wrong else Outcome.ACCEPT

    del world
    return data, take


def _hello(world: World, key: Key, hello: Message) -> tuple[bytes, Callable[[], Outcome]]:
    del key
    data = encode(hello)

    def read() -> None:
        if isinstance(hello, handshake.Hello | handshake.Goodbye):
            handshake.parse_opening(data, NETWORK)
        else:
            handshake.parse_reply(data)

    return data, lambda: world.attempt(read)


ALL = tuple(WHO)
STREAM, TOKENS = b"\x21" * 32, (5, 6, 7)
STREAMED = (Kind("streamed tokens", _streamed, _taken_over, by=ALL),)
FRAMES = tuple(
    Kind(f"frame {name.rsplit('.', 1)[1]}", lambda w, k, kind=kind: sample(kind), _framed, by=ALL)  # type: ignore[misc]
    for name, kind in sorted(kinds().items()) if name.startswith("p2p.wire.frames.")
)
_HERE = ("/ip4/127.0.0.1/tcp/1",)
_GREETINGS: tuple[Message, ...] = (
    handshake.Hello(VERSION, "hello", NETWORK, bytes(8), _HERE),
    handshake.Welcome(VERSION, "welcome", bytes(8), False, _HERE, (handshake.Entry("x", _HERE),)),
    handshake.Goodbye(VERSION, "goodbye", "banned", "message", 60),
    handshake.Refusal(VERSION, "refusal", "code", "field", "message"),
)
GREETINGS = tuple(
    Kind(f"greeting {type(one).__name__}", lambda w, k, one=one: one, _hello, by=ALL)  # type: ignore[misc]
    for one in _GREETINGS
)


def all_kinds() -> tuple[Kind, ...]:
    return (*CONSENSUS, *LEDGER, *ACCOUNT_TRANSACTIONS, *STREAMED, *FRAMES, *GREETINGS)
