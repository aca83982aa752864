"""Asks one peer for an answer.

Law: nothing is signed on the peer's word alone, and nothing it says of the answer is believed that can be checked.
A request goes through signing.py, then stream.py, which ends with the receipt (receipt.py).

Each event is given out before the step that follows it is taken: leave the loop at TermsShown and nothing is signed, at
Signed and nothing is sent.

An agent whose process is late refuses requests at its entrance (peer/entrance.py) before it looks at them. Only this
refusal is waited for, because it costs nothing and passes; any other says something about the request or its account.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial

import trio

from p2p.base.errors import FolkmootError, InvalidRequest, Overloaded
from p2p.base.serving_limits import AGENT_WAIT_S, AGENT_WAITS, MAX_AGENT_WAIT
from p2p.base.types import VERSION, SignedRequest
from p2p.client.connection import open_to, query
from p2p.client.draw_check import DrawCheck
from p2p.client.events import Done, Event, Notices, Signed, Waiting
from p2p.client.question import NO_OVERRIDES, Endpoint, Overrides, Payer, Question
from p2p.client.question_check import encoded
from p2p.client.recent_tips import RecentTips
from p2p.client.repeat import NOTHING, Repeat
from p2p.client.shown import Shown
from p2p.client.signing import RequestSigner
from p2p.client.stream import AnswerStream, follow_into
from p2p.gossip.host import Network
from p2p.machine.tracing import say, spanned
from p2p.wire.frames import Ask, pack_frame

NEW_NONCES = 2  # for one question to one peer

Events = AsyncGenerator[Event, None]


async def ask(
    to: Endpoint, question: Question, payer: Payer, overrides: Overrides = NO_OVERRIDES, *,
    patience: int = AGENT_WAITS,
) -> Events:
    """Ask over a connection of its own.

    Events: events.py, the last one is Done. patience: how often an agent that has too many requests is waited for.
    Raises FolkmootError. Iterate within `aclosing`: a loop that is left early must end the connection at once, and with
    it the answer.
    """
    encoded(question)
    async with (
        open_to(to.address, to.network) as network,
        aclosing(ask_over(network, to, question, payer, overrides, patience=patience)) as events,
    ):
        async for event in events:
            try:
                yield event
            except GeneratorExit:  # through the nursery it would become a group, and hide why the loop was left
                return


async def ask_over(
    network: Network, to: Endpoint, question: Question, payer: Payer, overrides: Overrides = NO_OVERRIDES, *,
    patience: int = AGENT_WAITS,
) -> Events:
    """As `ask`, over an open connection."""
    async with aclosing(Asking(network, to, question, payer, overrides, patience).events()) as events:
        async for event in events:
            yield event


@dataclass(slots=True)
class Asking:
    """One question to one peer, as far as it has come. Raises InvalidRequest where its body is wrong."""

    network: Network
    to: Endpoint
    question: Question
    payer: Payer
    overrides: Overrides = NO_OVERRIDES
    patience: int = AGENT_WAITS
    before: tuple[AnswerStream, ...] = ()  # answers whose tokens this one continues
    shown: Shown | None = None  # of those; None: there are none
    repeat: Repeat = NOTHING  # what was shown of those, and comes once more
    tips: RecentTips | None = None  # that were shown lately; None: each question asks for the tip
    waits: int = 0  # so often it was waited for the agent
    is_over: bool = False
    had_old_tip: bool = False  # an agent called the tip too old, which may have been a kept one
    was_renewed: bool = False  # a session that the network had forgotten was begun again
    new_nonces: int = 0  # so often the nonce was no longer free
    nonce: int | None = None  # of the request
    signed: SignedRequest | None = None
    answer: AnswerStream | None = None  # of what was sent last
    _body: bytes = field(init=False)
    _signer: RequestSigner = field(init=False)
    _drawn: DrawCheck = field(init=False)

    def __post_init__(self) -> None:
        self._body = encoded(self.question)
        self._signer = RequestSigner(
            self.to, self.question, self.payer, self.overrides, partial(query, self.network, self.to.peer_id), self.tips
        )
        self.nonce = self.overrides.nonce

    async def events(self) -> Events:
        """To the end. Raises FolkmootError."""
        while not self.is_over:
            for part in (self._sign(), self._answer()):
                async with aclosing(part) as events:
                    async for event in events:
                        yield event

    async def _sign(self) -> Events:
        """Sign the request; where it was signed before, with the same nonce, so that it is paid once."""
        ground = await self._signer.ground()
        if ground.tip.notices and not self.waits:
            yield Notices(ground.tip.notices)
        terms = await self._signer.terms(ground)
        yield terms
        self.signed, self._drawn = await self._signer.sign(ground, terms, self.nonce)
        self.nonce = self.signed.request.client_nonce
        yield Signed(self.signed)

    async def _answer(self) -> Events:
        """Send the request, and again after each wait. Ends without Done where it must be signed again: its draw grew
        old meanwhile, or its session."""
        assert self.signed is not None  # _sign came first
        with spanned("client", self.signed.inference_id) as facts:
            facts["peer"] = self.to.peer_id
            async with aclosing(self._attempts()) as events:
                async for event in events:
                    yield event

    async def _attempts(self) -> Events:
        is_accepted, waits_before = False, self.waits
        while True:
            try:
                async with aclosing(self._send()) as events:
                    async for event in events:
                        is_accepted = True
                        yield event
                self.is_over = True
                return
            except FolkmootError as error:
                if is_accepted:
                    raise
                is_old = isinstance(error, InvalidRequest) and error.field == "draw_height"
                if is_old and (self._is_newer_wanted() or self.waits > waits_before):
                    return
                if self._renews(error) or self._takes_new_nonce(error):
                    return
                if (waiting := self._waiting(error)) is None:
                    raise
            yield waiting
            await trio.sleep(waiting.wait_s)

    async def _send(self) -> Events:
        """Send the request once, and follow its answer."""
        peer, signed, drawn = self.to.peer_id, self.signed, self._drawn
        assert signed is not None  # _sign came first
        stream, ended = await self.network.open_stream(peer, "infer"), False
        say("a question is sent", signed.inference_id, peer=peer)
        try:
            await stream.send(pack_frame(Ask(VERSION, signed, self._body, self.question.rows)))
            shown = self.shown or Shown(self.question.body.stop)
            self.answer = AnswerStream(
                peer, self._body, signed, drawn, self.question.rows, shown, self.before, self.repeat
            )
            async for event in follow_into(stream, self.answer, self._signer.query):
                if isinstance(event, Done):
                    ended = True
                    say("an answer is complete", signed.inference_id, tokens=event.receipt.output_tokens)
                    self._keep_price(event)
                yield event
        finally:
            if not ended:
                say("a question ends without its answer", signed.inference_id, peer=peer)
            # a reset tells the agent to stop and to charge for no more
            await (stream.close() if ended else stream.reset())

    def _is_newer_wanted(self) -> bool:
        """Whether the request is signed again on the newest tip, once, because a kept one may have been too old."""
        is_first, self.had_old_tip = not self.had_old_tip, True
        return self._signer.forget_tip() and is_first

    def _renews(self, error: FolkmootError) -> bool:
        """Whether the request is signed again with a new session, because the network has forgotten this one's set."""
        session, draw = self.question.session, self._drawn.session
        if error.field != "session_height" or session is None or draw is None or self.was_renewed:
            return False
        session.forget(draw)
        self.was_renewed = True
        return True

    def _takes_new_nonce(self, error: FolkmootError) -> bool:
        """Whether the request is signed again with another nonce: while it waited, so many of this account's other
        requests overtook it that its own left the ledger's window (NONCE_WINDOW). What was signed before can then not
        be started any more, so nothing is paid twice; an agent that lies gains NEW_NONCES requests at most."""
        if error.field != "client_nonce" or not isinstance(error, InvalidRequest) or self.overrides.nonce is not None:
            return False
        self.new_nonces += 1
        self.nonce = None
        return self.new_nonces <= NEW_NONCES

    def _waiting(self, error: FolkmootError) -> Waiting | None:
        """The next wait, or None where `error` is not waited for, or was often enough."""
        if not isinstance(error, Overloaded) or error.field != "agent" or error.retry_after > MAX_AGENT_WAIT:
            return None
        if self.waits >= self.patience:
            return None
        self.waits += 1
        # a random part, so that those who were refused together do not come back together
        wait_s = AGENT_WAIT_S * max(1, error.retry_after) * random.uniform(1, 1.5)
        return Waiting(round(wait_s, 3), error.message, self.patience - self.waits)

    def _keep_price(self, done: Done) -> None:
        """A price that was proved on the way is kept when nothing was wrong."""
        prices, price_micro = self.payer.known_prices, self._drawn.price_micro
        if prices is not None and price_micro is not None and done.receipt.checked:
            prices.keep(self.question.model, price_micro, self._drawn.height)
