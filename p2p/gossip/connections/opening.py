"""How a stream agrees on its protocol (multistream-select 1.0.0): in no round trip where that is safe, else in one.

Law: whoever opens a stream says everything at once, and believes nothing before the other side has said the same.

- OPEN-1: header, protocol and the first frame leave in one write. The other side repeats header and protocol before its
  first frame; that is compared, byte for byte, when it is read.
- OPEN-2: the first frame waits for that answer (one round trip) unless the peer is known to speak the protocol: it
  agreed on this connection before, or named it when it identified itself. A peer that refused is not known any more.
- OPEN-3: once it is waited for, the answer comes within the time that opening may take. A refusal, another answer,
  silence and an end are Unavailable.
- OPEN-4: who is opened to in this way answers in one write. Any other opener is answered by the library, step by step.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from libp2p.peer.id import ID

from p2p.base.errors import Unavailable
from p2p.base.limits import STREAM_OPEN_TIMEOUT_S
from p2p.machine.deadlines import fail_after

_SPOKEN: Final = "_folkmoot_spoken"  # attribute of a multiplexed connection: protocol -> whether the peer speaks it
_MAX_WORD = 127  # bytes of a protocol's name here, so that its length is one byte


def word(text: str) -> bytes:
    """One message of multistream-select."""
    raw = text.encode() + b"\n"
    if len(raw) > _MAX_WORD:
        raise ValueError(f"a protocol's name has at most {_MAX_WORD - 1} bytes here")
    return bytes((len(raw),)) + raw


_HEADER: Final = word("/multistream/1.0.0")
_REFUSAL: Final = _HEADER + word("na")


def proposal(protocol: str) -> bytes:
    """What the opener says, and what the other side repeats."""
    return _HEADER + word(protocol)


class Opening:
    """A stream that we opened, until its protocol is agreed on."""

    __slots__ = ("_answer", "_spoken", "protocol", "timeout_s", "unsent")

    def __init__(self, protocol: str, timeout_s: float, spoken: dict[str, bool]) -> None:
        """spoken: of the connection, by protocol; what we learn is noted there."""
        self.protocol, self.timeout_s = protocol, timeout_s
        self.unsent = self._answer = proposal(protocol)
        self._spoken = spoken

    @property
    def is_known(self) -> bool:
        """OPEN-2."""
        return self._spoken.get(self.protocol, False)

    def hear(self, buffer: bytearray) -> bool:
        """Take the answer from the front of `buffer`; False while it is not whole. Raises Unavailable where the peer
        refuses, or says something else."""
        answer = self._answer
        if buffer.startswith(answer):
            del buffer[: len(answer)]
            self._spoken[self.protocol] = True
            return True
        if not buffer.startswith(_REFUSAL) and (answer.startswith(buffer) or _REFUSAL.startswith(buffer)):
            return False
        self._spoken[self.protocol] = False
        what = "does not speak it" if buffer.startswith(_REFUSAL) else "answers with something else"
        raise Unavailable(f"the peer was asked for {self.protocol}, and {what}", field="stream", code="stream")


def no_stream(peer: str, protocol: str, why: str) -> Unavailable:
    """The error where a stream cannot be opened."""
    return Unavailable(f"cannot open {protocol} to {peer}: {why}", field="stream", code="stream")


async def begin(host: Any, peer: ID, protocol: str, timeout_s: float) -> tuple[Any, Opening]:
    """A new stream of the library's, on which nothing was said yet. Raises whatever the library raises."""
    raw = await host.get_network().new_stream(peer)
    raw.set_protocol(protocol)
    spoken: dict[str, bool] = raw.muxed_conn.__dict__.setdefault(_SPOKEN, {})
    if protocol not in spoken:
        spoken[protocol] = protocol in _named(host, peer)
    return raw, Opening(protocol, timeout_s, spoken)


def _named(host: Any, peer: ID) -> list[str]:
    """The protocols that a peer named when it identified itself; none where it has not yet."""
    try:
        return list(host.get_peerstore().get_protocols(peer))
    except Exception:  # the library's own types, for a peer that it does not know
        return []


async def accept(host: Any, raw: Any, stock: Callable[[Any], Awaitable[None]]) -> None:
    """Agree on the protocol of a stream that the other side opened, and run its handler. OPEN-4."""
    protocol, handler = _proposed(host, raw)
    if handler is None:
        await stock(raw)
        return
    words = proposal(protocol)
    with fail_after(STREAM_OPEN_TIMEOUT_S):
        await raw.read(len(words))  # they have come
        await raw.write(words)
    raw.set_protocol(protocol)
    await handler(raw)


def _proposed(host: Any, raw: Any) -> tuple[str, Callable[[Any], Awaitable[None]] | None]:
    """The protocol that a new stream has proposed whole, and its handler; None where it must be asked."""
    stream = getattr(raw, "muxed_stream", None)
    buffers = getattr(raw.muxed_conn, "stream_buffers", {})  # of yamux
    come = bytes(buffers.get(getattr(stream, "stream_id", None), b"")[: len(_HEADER) + 1 + _MAX_WORD])
    if not come.startswith(_HEADER):
        return "", None
    size = come[len(_HEADER)] if len(come) > len(_HEADER) else 0
    name = come[len(_HEADER) + 1 :][:size]
    if not 1 < size <= _MAX_WORD or len(name) < size or not name.endswith(b"\n"):
        return "", None
    protocol = name[:-1].decode(errors="replace")
    return protocol, host.multiselect.handlers.get(protocol)
