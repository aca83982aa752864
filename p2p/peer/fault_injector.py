"""Plants faults in this peer's own answers to its own owner, to measure the network's checks. Law: only an answer to a question that was asked
for this is faulty; the commitment is on disk and on its way before a faulty token is; every plant is revealed after the decision; never more
than the chain allows.

The owner's account pays for the question, so nobody else is harmed, and no validator can know which answer is a test. What comes of it
stands in the chain's counters (`verification`): planted and caught by fault, false alarms on honest answers.
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

from p2p.base.codec import encode, load
from p2p.base.errors import FolkmootError, StorageError
from p2p.base.keys import Key
from p2p.base.types import ENDED, STANDS, Params, PlantCommit, PlantReveal, RecordKind, SignedRequest, Status, plant_commitment
from p2p.chain.sync_server import trusted
from p2p.client.ask import AskSpec, ask_over
from p2p.client.tip_proof import PRICE_FACTOR, Ground
from p2p.ledger.inferences.planted_faults import LIFETIME
from p2p.verification import prompts
from p2p.verification.engine import Engine
from p2p.wire.answers import Tip

if TYPE_CHECKING:
    from p2p.chain.chain import Chain
    from p2p.gossip.host import Network
    from p2p.peer.outbox import Outbox
    from p2p.peer.roles import Fault

log = structlog.get_logger()

FAULTS = ("wrong_seed", "wrong_temperature", "altered_system_prompt", "forged_stop")  # need no other weights
DECIDED = (*STANDS, Status.INVALIDATED.value)
Plant = tuple[bytes, str, bytes, int]  # inference, fault, salt, height of the commitment
ASK_TIMEOUT_S = 120.0
REVEAL_EVERY_S = 2.0
_PLACE = b"plants"  # in the store, beside payloads: those have keys of 32 bytes


@dataclass(slots=True)
class Planter:
    """owner: the account key of this peer's owner. model: whose engine is here. network: None until it is open."""

    key: Key
    owner: Key
    chain: Chain
    outbox: Outbox
    model: str
    network: Callable[[], Network | None]
    interval_s: float
    faults: Mapping[str, Fault]
    _next: tuple[bytes, str] | None = None  # the inference that is asked for this, marked before it is sent, and the fault
    _revealed: set[bytes] = field(default_factory=set)

    def engine_for(self, signed: SignedRequest, engine: Engine) -> Engine:
        """The executor asks for each job: a faulty engine for the very request that was signed for it, else the honest one. A question that the
        owner asks meanwhile is another request and is answered like anybody's."""
        inference_id = bytes(signed.inference_id)
        if self._next is None or self._next[0] != inference_id:
            return engine
        (_, fault), self._next = self._next, None
        salt = secrets.token_bytes(32)
        self.chain.payloads.put(_PLACE, encode([*self._open(), (inference_id, fault, salt, self.chain.height())]))
        self.outbox.put(RecordKind.PLANT_COMMIT, PlantCommit(self.key.public, plant_commitment(inference_id, fault, salt)))
        return self.faults[fault](engine, engine)

    def mark(self, signed: SignedRequest) -> None:
        """The answer to this request will have a fault."""
        self._next = bytes(signed.inference_id), random.choice(FAULTS)

    def _open(self) -> list[Plant]:
        raw = self.chain.payloads.read(_PLACE)
        return load(list[Plant], raw) if raw else []

    async def run(self) -> None:
        """For ever: plant now and then, reveal what is decided."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._reveal_all)  # a failure of either begins both anew (p2p/machine/tasks.py)
            while True:
                await trio.sleep(self.interval_s)
                try:
                    with trio.move_on_after(ASK_TIMEOUT_S):
                        await self._plant()
                except StorageError:
                    raise
                except FolkmootError as error:
                    log.warning("nothing planted", reason=error.message)

    def _may(self) -> bool:
        """The chain takes one plant per `plant_every` booked inferences of an epoch; one more would stand as cheating. So one at a time: of
        two that are open when an epoch ends, the second would be one too many for the next."""
        found = self.chain.answers.verification()["participants"]
        mine = next((row for row in found if row["node"] == self.key.public.hex()), None)
        every = self.chain.reader.checks().plant_every
        return mine is not None and not self._open() and mine["plants"] * every <= mine["booked"]

    async def _plant(self) -> None:
        network = self.network()
        peers = network.connected() if network else ()
        if network is None or not peers or self._next or not self._may():
            return
        question = random.choice(prompts.load())  # what is asked, and of whom, is nobody's secret but must not be a pattern
        spec = AskSpec(
            f"/p2p/{random.choice(peers)}", self.owner, self.chain.genesis.network, self.model, question.text, Params(1000),
            question.max_tokens, genesis=self.chain.genesis, choose_executor=self.key.public, on_signed=self.mark,
            max_price_micro=PRICE_FACTOR * (self.chain.reader.price_micro(self.model) or 1), ground=self._ground(),
        )
        try:
            async with aclosing(ask_over(network, spec)) as events:
                async for _ in events:
                    pass
        finally:
            self._next = None  # drawn to somebody else: nothing was planted

    def _ground(self) -> Ground:
        """What this peer's own chain says: no other peer's word is signed."""
        facts, view = trusted(self.chain), self.chain.answers.account(self.owner.public)
        tip = Tip(facts.height, None, view["next_nonce"], view["balance_micro"], self.chain.reader.price_micro(self.model), ())
        return Ground(facts.height, self.chain.beacon(), facts, tip)

    async def _reveal_all(self) -> None:
        while True:
            await trio.sleep(REVEAL_EVERY_S)
            left = []
            for inference_id, fault, salt, height in self._open():
                found = self.chain.answers.inference(inference_id)
                status = found["status"] if found is not None else ""
                undecided = (status in ENDED and status not in DECIDED) or (not status and self.chain.height() > height + LIFETIME)
                if undecided or (found is not None and found.get("fault")):
                    continue  # there will be nothing to reveal, or the chain has it
                left.append((inference_id, fault, salt, height))
                if status in DECIDED and inference_id not in self._revealed:
                    self._revealed.add(inference_id)
                    self.outbox.put(RecordKind.PLANT_REVEAL, PlantReveal(inference_id, self.key.public, fault, salt))
            if len(left) != len(self._open()):
                self.chain.payloads.put(_PLACE, encode(left))
