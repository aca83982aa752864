"""Streams an answer's tokens to the agent. Law: each frame adds tokens, and its signature covers the answer so far."""

from __future__ import annotations

import math

import trio

from p2p.base.errors import FolkmootError, Unavailable
from p2p.base.keys import Key
from p2p.base.serving_limits import MAX_HELD_TOKENS, SHOW_EVERY_S
from p2p.base.types import SignedRequest
from p2p.machine.locks import Lock
from p2p.peer.telling import Telling
from p2p.text.vocabulary import TextStream
from p2p.verification.artifact import pack_rows
from p2p.verification.engine import TokenStep
from p2p.verification.streamed import chain_after, sign_streamed
from p2p.wire.frames import Tokens


class Showing:
    """One answer on its way to the agent. text: makes the text of its tokens. before: tokens that earlier executors
    streamed. rows: each frame carries its tokens' rows, for log-probabilities."""

    def __init__(
        self, telling: Telling, key: Key, signed: SignedRequest, text: TextStream, before: tuple[int, ...] = (), *,
        rows: bool = False,
    ) -> None:
        self._telling, self._key = telling, key
        self._inference_id, self._network = signed.inference_id, signed.request.network
        self._first = self._at = len(before)  # positions: of this executor's first token, of the next frame
        self._chain = chain_after(self._inference_id, before)
        self._text, self._rows = text, rows
        self._held: list[TokenStep] = []
        self._holds = trio.Event()  # some token is held
        self._sending, self._sent_at = Lock(), -math.inf

    def text_of(self, token: int) -> str:
        """What the next token adds to the text. Call it once for each token, in order."""
        return self._text.add(token)

    async def send(self, step: TokenStep, *, late: bool = False) -> None:
        """Send the next token. It is held for others to join if the last frame left less than SHOW_EVERY_S ago, or
        while this peer is late: then one signature and one frame serve many tokens. The first one is never held, for
        somebody waits for it. Raises Unavailable if the agent left."""
        self._held.append(step)
        is_free = not late and trio.current_time() >= self._sent_at + SHOW_EVERY_S
        if is_free or self._sent_at == -math.inf or len(self._held) >= MAX_HELD_TOKENS:
            await self.flush()
        elif len(self._held) == 1:
            self._holds.set()

    async def flush_late(self) -> None:
        """Until cancelled: send held tokens when no further one comes."""
        while True:
            await self._holds.wait()
            self._holds = trio.Event()
            await trio.sleep(SHOW_EVERY_S)
            await self.flush()

    async def flush(self) -> None:
        """Send the tokens that are held."""
        # half a frame would spoil the stream; bounded by the frame's own time limit
        with trio.CancelScope(shield=True):
            async with self._sending:
                if self._held:
                    await self._send()

    async def _send(self) -> None:
        held, self._held = self._held, []
        tokens = tuple(step.token for step in held)
        self._chain = chain_after(self._chain, tokens)
        upto = self._at + len(tokens)
        signed = sign_streamed(self._key, self._network, self._inference_id, self._first, upto, self._chain)
        text = "".join(step.text for step in held)
        rows = pack_rows(held) if self._rows else b""
        try:
            await self._telling.send(Tokens(self._at, tokens, text, signed.signature, rows))
        except FolkmootError as error:
            raise Unavailable(f"the agent left: {error.message}", field="agent") from error
        self._at, self._sent_at = upto, trio.current_time()
