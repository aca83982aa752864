"""G-18: what has arrived is read at once, and comes out in the pieces that are asked for."""

from __future__ import annotations

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from libp2p.io.trio import TrioTCPStream

from p2p.gossip.connections import guards


class Counted:
    """A socket's stream that counts its reads."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks, self.reads = list(chunks), 0

    async def receive_some(self, most: int) -> bytes:
        self.reads += 1
        await trio.lowlevel.checkpoint()
        return self.chunks.pop(0) if self.chunks else b""


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.integers(1, 20))
async def test_the_bytes_are_the_same_in_any_pieces(chunks: list[bytes], step: int) -> None:
    guards.install()
    stream, out = TrioTCPStream(Counted(*chunks)), b""
    while part := await stream.read(step):
        assert len(part) <= step
        out += part
    assert out == b"".join(chunks)


async def test_a_frame_in_pieces_costs_one_read_of_the_socket() -> None:
    guards.install()
    source = Counted(b"\x00\x03abc" * 10)
    stream = TrioTCPStream(source)
    for _ in range(10):
        assert (await stream.read(2), await stream.read(3)) == (b"\x00\x03", b"abc")
    assert source.reads == 1
    assert await stream.read(0) == b""
