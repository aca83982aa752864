"""Which executor made which tokens at the beginning of an answer.

Law: tokens that were taken over are proved by the signature of the executor that streamed them, never claimed.

Each frame of tokens carries its executor's signature over a hash chain of all tokens so far. An executor that continues
an answer puts these signatures into its artifact's header. So an agent cannot put words into an answer, and each
executor answers for its own tokens alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from p2p.base.codec import encode
from p2p.base.keys import Domain, Key, NetworkId, digest, verify
from p2p.base.types import SignedStreamed, Streamed


def chain_after(chain: bytes, tokens: Sequence[int]) -> bytes:
    """The hash chain after `tokens` more. It begins with the inference's id."""
    for token in tokens:
        chain = digest(b"streamed", chain, token.to_bytes(4, "big"))
    return chain


def sign_streamed(
    key: Key, network: NetworkId, inference_id: bytes, first: int, tokens: int, chain: bytes
) -> SignedStreamed:
    """`key`'s signature that it streamed tokens `first` to `tokens` - 1 of this answer."""
    record = Streamed(inference_id, key.public, first, tokens, chain)
    return SignedStreamed(record, key.sign(Domain.STREAMED, network, encode(record)))


def is_signed(streamed: SignedStreamed, network: NetworkId) -> bool:
    """Whether the executor that the record names signed it for this network."""
    return verify(streamed.record.executor, Domain.STREAMED, network, encode(streamed.record), streamed.signature)


def wrong_handover(
    taken: Sequence[SignedStreamed], tokens: Sequence[int], network: NetworkId, inference_id: bytes,
    drawn: Sequence[bytes], successor: bytes
) -> str | None:
    """Why `taken` does not prove that the drawn executors before `successor` streamed `tokens`; None if it does.

    drawn: in the draw's order, in which they are asked; nobody takes over from one that comes later.
    """
    at, chain, order = 0, inference_id, -1
    if successor not in drawn:
        return "the executor that takes over was not drawn"
    places = {node: place for place, node in enumerate(drawn)}
    for streamed in taken:
        record = streamed.record
        if record.inference_id != inference_id:
            return "what was taken over is of another inference"
        if record.first != at or not at < record.tokens <= len(tokens):
            return "the parts that were taken over do not follow each other"
        if not order < places.get(record.executor, -1) < places[successor]:
            return "tokens were taken over from an executor that was not asked before"
        chain = chain_after(chain, tokens[at : record.tokens])
        if chain != record.chain or not is_signed(streamed, network):
            return "what was taken over is not signed by whoever streamed it"
        at, order = record.tokens, places[record.executor]
    return None if at == len(tokens) else "tokens were taken over that nobody signed for"
