"""One question to a network: it goes to one peer, and to another one where that fails.

Law: a peer that fails costs a try, and tries are bounded. Before the first token the next peer gets a request of its
own, with a new nonce: what was signed for one agent no other one can start. After it, the answer goes on (resume.py),
and what was shown stays.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

import trio

from p2p.base.errors import FolkmootError, Unavailable
from p2p.base.serving_limits import AGENT_WAITS, CLIENT_PAUSE_FIRST_S, CLIENT_PAUSE_MAX_S, CLIENT_RESUMES, CLIENT_TRIES
from p2p.client.ask import Asking
from p2p.client.events import Done, Event, PeerFailed, Resumed, Signed, Token
from p2p.client.links import Links, may_do_elsewhere
from p2p.client.question import Endpoint, Payer, Question
from p2p.client.repeat import NOTHING, Repeat
from p2p.client.resume import continued, seed_of
from p2p.client.stream import AnswerStream

MAX_REASON = 300  # characters of a peer's sentence


@dataclass(slots=True)
class Answering:
    """One question, as far as it has come. ends: token ids that end an answer of its model; empty: not known."""

    links: Links
    payer: Payer
    question: Question
    ends: frozenset[int] = frozenset()
    rng: random.Random = field(default_factory=random.Random)
    _now: Question = field(init=False)  # what is asked of the next peer
    _repeat: Repeat = NOTHING
    _before: tuple[AnswerStream, ...] = ()  # answers that broke off after some tokens
    _carried: int = 0  # tokens that came before the present try
    _tried: list[str] = field(default_factory=list)  # peers that failed since the last token
    _failures: int = 0  # since the last token

    def __post_init__(self) -> None:
        self._now = self.question

    async def events(self) -> AsyncGenerator[Event, None]:
        """To the end; the last one is Done. Iterate within `aclosing`. Raises the error of the last peer that was
        tried."""
        while True:
            peer, patience = await self._next()
            asking = Asking(
                self.links.network, Endpoint(f"/p2p/{peer}", self.links.genesis), self._now, self.payer,
                patience=patience, before=self._before, shown=self._before[-1].shown if self._before else None,
                repeat=self._repeat, tips=self.links.tips,
            )
            if self._before:
                carried = self._carried - len(self._repeat.tokens)
                yield Resumed(peer, self._before[-1].signed.inference_id, carried)
            try:
                async with aclosing(self._from(peer, asking)) as events:
                    async for event in events:
                        yield event
                return
            except FolkmootError as error:
                failed = self._failed(peer, asking, error)
            yield failed

    async def _from(self, peer: str, asking: Asking) -> AsyncGenerator[Event, None]:
        """The events of one peer, which is measured by them."""
        begun: float | None = None  # when the request was sent
        self.links.choice.begun(peer)
        is_measured = False
        try:
            async with aclosing(asking.events()) as events:
                async for event in events:
                    if isinstance(event, Token) and not is_measured and begun is not None:
                        is_measured, now = True, trio.current_time()
                        self.links.choice.answered(peer, now - begun, now)
                    elif isinstance(event, Done) and self.question.session is not None:
                        self.question.session.peer = peer
                    yield event
                    if isinstance(event, Signed):  # how long the caller thought about it is not the peer's time
                        begun = trio.current_time()
        except FolkmootError:
            is_measured = True  # as a failure
            raise
        finally:
            self.links.choice.ended(peer)
            if not is_measured and begun is not None:  # the caller left first
                now = trio.current_time()
                self.links.choice.waited(peer, now - begun, now)

    async def _next(self) -> tuple[str, int]:
        """(the peer that is asked next, how often it is waited for)."""
        session = self.question.session
        order = self.links.order(session.peer if session is not None else "")
        fresh = [peer for peer in order if peer not in self._tried]
        if not fresh and self._tried:  # everybody had a turn; a connection may be back after a while
            self._tried.clear()
            pause_s = min(CLIENT_PAUSE_FIRST_S * 2.0**self._failures, CLIENT_PAUSE_MAX_S)
            await trio.sleep(pause_s * self.rng.uniform(0.5, 1.0))
            fresh = list(self.links.order())
        if not fresh:
            raise Unavailable(f"no peer is connected: {self.links.network.alone()}", field="peers")
        is_last = self._failures + 1 >= CLIENT_TRIES or len(fresh) == 1
        return fresh[0], AGENT_WAITS if is_last else 0

    def _failed(self, peer: str, asking: Asking, error: FolkmootError) -> PeerFailed:
        """Take note, and keep what came. Raises `error` where no other peer is asked."""
        if not may_do_elsewhere(error):
            raise error
        self.links.failed(peer, error)
        answer = asking.answer
        if answer is not None and len(answer.shown.tokens) > self._carried:
            if len(self._before) >= CLIENT_RESUMES:
                raise error
            self._failures, self._tried, self._carried = 0, [], len(answer.shown.tokens)
            self._before = (*self._before, answer)
            seed = seed_of(self._before[0])
            self._now, self._repeat = continued(self.question, answer.shown, seed, self.ends)
        self._failures += 1
        self._tried.append(peer)
        if self._failures >= CLIENT_TRIES:
            raise error
        return PeerFailed(peer, error.code, error.message[:MAX_REASON], CLIENT_TRIES - self._failures)
