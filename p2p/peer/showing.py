"""What an executor shows while it generates. Law: each frame moves the answer, and is signed as far as the answer has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p.base.keys import Key
from p2p.base.types import SignedRequest
from p2p.verification.engine import TokenStep
from p2p.verification.streamed import chain_after, sign_streamed
from p2p.verification.text import TextStream, Vocabulary
from p2p.wire.frames import Tokens, pack_frame

if TYPE_CHECKING:
    from p2p.gossip.streams import Stream


class Showing:
    """One answer's way to the agent. before: tokens that others have shown already; the text goes on behind theirs."""

    def __init__(self, stream: Stream, key: Key, signed: SignedRequest, vocabulary: Vocabulary, before: tuple[int, ...] = ()) -> None:
        self._stream, self._key = stream, key
        self._inference_id, self._network = signed.inference_id, signed.request.network
        self._first = self._at = len(before)
        self._chain = chain_after(self._inference_id, before)
        self._text = TextStream(vocabulary, before)

    def text_of(self, token: int) -> str:
        """What the next token adds to the text. Once for each, in order."""
        return self._text.add(token)

    async def send(self, step: TokenStep) -> None:
        """The next token."""
        self._chain = chain_after(self._chain, (step.token,))
        signed = sign_streamed(self._key, self._network, self._inference_id, self._first, self._at + 1, self._chain)
        await self._stream.send(pack_frame(Tokens(self._at, (step.token,), step.text, signed.signature)))
        self._at += 1
