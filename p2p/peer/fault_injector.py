"""Plants faults in this peer's answers to its own owner, to measure how well the network checks.

Law: only an answer to a question asked for this is faulty. The commitment to a fault is on disk and queued before a
faulty token exists, every planted fault is revealed after the decision, and there are never more than the chain allows.

The owner's account pays for the question, so nobody else is harmed, and no validator can know which answer is a test.
The chain counts what comes of it (`verification`): planted and caught by fault, false alarms on honest answers.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
import trio

from p2p.base.body import one_message
from p2p.base.codec import encode, load
from p2p.base.errors import FolkmootError, InvalidRequest, StorageError
from p2p.base.keys import Key
from p2p.base.types import (
    ENDED,
    STANDS,
    Params,
    PlantCommit,
    PlantReveal,
    RecordKind,
    SignedRequest,
    Status,
    plant_commitment,
)
from p2p.chain.stores.payload_keys import PLANTED
from p2p.chain.sync_server import trusted
from p2p.client.ask import ask_over
from p2p.client.events import Signed
from p2p.client.question import Endpoint, Overrides, Payer, Question
from p2p.client.tip_proof import PRICE_FACTOR, Ground
from p2p.ledger.inferences.planted_faults import LIFETIME
from p2p.machine.deadlines import move_on_after
from p2p.verification import prompts
from p2p.verification.engine import Engine
from p2p.wire.answers.accounts import Tip

if TYPE_CHECKING:
    from p2p.chain.chain import Chain
    from p2p.gossip.host import Network
    from p2p.peer.outbox import Outbox
    from p2p.peer.roles import Fault

log = structlog.get_logger()

# attacks of p2p/lab/attacks that need no other weights
FAULTS = ("wrong_seed", "wrong_temperature", "altered_system_prompt", "forged_stop")
DECIDED = (*STANDS, Status.INVALIDATED.value)
Plant = tuple[bytes, str, bytes, int]  # a planted fault: inference, fault, salt, height of the commitment
ASK_TIMEOUT_S = 120.0
REVEAL_EVERY_S = 2.0
TEMPERATURE_MILLI = 1000  # of its questions: some faults show only in sampled tokens
SALT_BYTES = 32


@dataclass(slots=True)
class FaultInjector:
    """One per peer that plants faults."""

    key: Key
    owner: Key  # account key of this peer's owner, who pays for the questions
    chain: Chain
    outbox: Outbox
    model: str  # of this peer's engine
    network: Callable[[], Network | None]  # None until it is open
    interval_s: float
    faults: Mapping[str, Fault]
    # the inference asked for the next planted fault, marked before its request is sent, and the fault
    _next: tuple[bytes, str] | None = None
    _revealed: set[bytes] = field(default_factory=set)

    def engine_for(self, signed: SignedRequest, engine: Engine) -> Engine:
        """The engine that answers this request, called by the executor for each: a faulty one for the very request that
        was signed for this, else `engine`. Another question of the owner is another request and is answered
        honestly."""
        inference_id = bytes(signed.inference_id)
        if self._next is None or self._next[0] != inference_id:
            return engine
        (_, fault), self._next = self._next, None
        salt = secrets.token_bytes(SALT_BYTES)
        self.chain.payloads.put(PLANTED, encode([*self._open(), (inference_id, fault, salt, self.chain.height())]))
        self.outbox.put(
            RecordKind.PLANT_COMMIT, PlantCommit(self.key.public, plant_commitment(inference_id, fault, salt))
        )
        return self.faults[fault](engine, engine)

    def mark(self, signed: SignedRequest) -> None:
        """The answer to this request will be faulty."""
        self._next = bytes(signed.inference_id), random.choice(FAULTS)

    def _open(self) -> list[Plant]:
        raw = self.chain.payloads.read(PLANTED)
        return load(list[Plant], raw) if raw else []

    async def run(self) -> None:
        """Until cancelled: plant a fault now and then, reveal those that are decided."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._reveal_all)  # a failure of either begins both anew (p2p/machine/tasks.py)
            while True:
                await trio.sleep(self.interval_s)
                try:
                    with move_on_after(ASK_TIMEOUT_S):
                        await self._plant()
                except StorageError:
                    raise
                except FolkmootError as error:
                    log.warning("no fault planted", reason=error.message)

    def _may(self) -> bool:
        """Whether the chain accepts another planted fault. It accepts one for every `plant_every` booked inferences of
        an epoch; one more counts as cheating. So one is open at a time: of two that are open when an epoch ends, the
        second would be one too many for the next."""
        found = self.chain.answers.verification().participants
        mine = next((row for row in found if row.node == self.key.public.hex()), None)
        every = self.chain.reader.checks().plant_every
        return mine is not None and not self._open() and mine.plants * every <= mine.booked

    async def _plant(self) -> None:
        network = self.network()
        peers = network.connected() if network else ()
        if network is None or not peers or self._next or not self._may():
            return
        # question and agent are no secret, but must not be a pattern
        question = random.choice(prompts.load())
        to = Endpoint(f"/p2p/{random.choice(peers)}", self.chain.genesis)
        most_micro = PRICE_FACTOR * (self.chain.reader.price_micro(self.model) or 1)
        body = one_message(question.text)
        asked = Question(self.model, body, Params(TEMPERATURE_MILLI), question.max_tokens, most_micro)
        ours = Overrides(choose_executor=self.key.public, ground=self._ground())
        try:
            async with aclosing(ask_over(network, to, asked, Payer(self.owner), ours)) as events:
                async for event in events:
                    if isinstance(event, Signed):
                        self.mark(event.signed_request)
        finally:
            self._next = None  # drawn to somebody else: nothing was planted

    def _ground(self) -> Ground:
        """Price, nonce and tip as this peer's own chain has them: no other peer's statement is signed."""
        facts, account = trusted(self.chain), self.chain.answers.account(self.owner.public)
        price_micro = self.chain.reader.price_micro(self.model)
        tip = Tip(facts.height, None, account.next_nonce, account.balance_micro, price_micro, ())
        return Ground(facts.height, self.chain.beacon(), facts, tip)

    def _on_chain(self, inference_id: bytes) -> tuple[str, bool]:
        """Its status, empty where the chain does not know it; and whether the chain has this peer's reveal."""
        try:
            found = self.chain.answers.inference(inference_id)
        except InvalidRequest:
            return "", False
        return found.status, bool(found.fault)

    async def _reveal_all(self) -> None:
        while True:
            await trio.sleep(REVEAL_EVERY_S)
            left = []
            for inference_id, fault, salt, height in self._open():
                status, is_revealed = self._on_chain(inference_id)
                is_forgotten = not status and self.chain.height() > height + LIFETIME
                is_undecided = status in ENDED and status not in DECIDED
                if is_forgotten or is_undecided or is_revealed:
                    continue  # there will be nothing to reveal, or the chain has it
                left.append((inference_id, fault, salt, height))
                if status in DECIDED and inference_id not in self._revealed:
                    self._revealed.add(inference_id)
                    self.outbox.put(RecordKind.PLANT_REVEAL, PlantReveal(inference_id, self.key.public, fault, salt))
            if len(left) != len(self._open()):
                self.chain.payloads.put(PLANTED, encode(left))
