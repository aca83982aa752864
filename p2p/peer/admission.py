"""Which requests an executor works on now, and why it declines the others.

Law: a place is held or refused before anything is awaited, so requests that come at the same time get no more places
than there are. What holds a place has room for its records too, so no answer is made in vain.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from p2p.base.errors import Overloaded
from p2p.base.genesis import ModelSpec
from p2p.base.serving_limits import MAX_JOBS_PER_PEER, MAX_ONCE
from p2p.base.types import AGENT_CAUSED
from p2p.peer.agent_credit import Credit
from p2p.peer.quotas import UNLIMITED, Quotas, Usage
from p2p.peer.start_first import StartFirst

if TYPE_CHECKING:
    from p2p.chain.chain import Chain
    from p2p.peer.outbox import Outbox, Room
    from p2p.peer.ready_engine import ReadyEngine
    from p2p.wire.frames import Forward

RECORDS_OF_AN_ANSWER = 2  # a finish, and a Busy where the agent spoils it


class NotAdmitted(Exception):
    """This peer declines the request now."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason  # sent to the agent under this peer's signature


class Places:
    """A number of places for work that takes long."""

    def __init__(self, most: int, what: str, field: str) -> None:
        self.most = most
        self.what = what  # where the places are, for errors: 'on the ML node'
        self.field = field  # of those errors
        self._keys: list[object] = []

    @property
    def taken(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    @contextmanager
    def hold(self, key: object = None) -> Iterator[None]:
        """Hold a place while the block runs. key: what it is for; `key in places` asks for it. Raises Overloaded if
        none is free."""
        if len(self._keys) >= self.most:
            raise Overloaded(
                f"all {self.most} places {self.what} are taken; try again later", field=self.field, retry_after=1
            )
        self._keys.append(key)
        try:
            yield
        finally:
            self._keys.remove(key)


class Once:
    """Remembers the newest MAX_ONCE keys."""

    def __init__(self) -> None:
        self._done: OrderedDict[bytes, None] = OrderedDict()

    def first(self, key: bytes) -> bool:
        """Whether this is the first call with `key`."""
        if key in self._done:
            return False
        self._done[key] = None
        if len(self._done) > MAX_ONCE:
            self._done.popitem(last=False)
        return True


@dataclass(frozen=True, slots=True)
class Admitted:
    """What a request holds while it is worked on."""

    usage: Usage  # of its agent's quota
    room: Room  # in the outbox
    ready: ReadyEngine | None = None  # of the ML node it was placed on; None: the peer's only one


@dataclass(slots=True)
class Admission:
    """Admits requests first come, first served, within the places of the ML node and each agent's quota. It is all that
    the executor knows of places and quotas, so a scheduler that orders requests can take its place."""

    node: bytes  # this peer's key
    chain: Chain
    outbox: Outbox
    places: Places = field(default_factory=partial(Places, MAX_JOBS_PER_PEER, "on the ML node", "executor"))
    quotas: Quotas = field(default_factory=partial(Quotas, "agent", UNLIMITED))
    credit: Credit = field(init=False)
    start_first: StartFirst = field(init=False)

    def __post_init__(self) -> None:
        # late-bound: a test replaces the chain's methods
        self.credit = Credit(
            lambda signed: self.chain.reader.request_status(signed),
            lambda agent: self.chain.reader.has_weight(agent), self._starter,
        )
        self.start_first = StartFirst(self.chain, self.credit)

    def _starter(self, inference_id: bytes) -> bytes | None:
        draw = self.chain.reader.draw_of(inference_id)
        return draw.agent if draw is not None else None

    @property
    def running(self) -> int:
        """Requests that hold a place."""
        return self.places.taken

    def is_running(self, inference_id: bytes) -> bool:
        return inference_id in self.places

    async def wait_for_start(self, forward: Forward) -> bool:
        """Wait until the request's Start is on chain, unless the request may begin ahead of it. Returns whether it
        waited: then what was checked before may not hold any more. Raises NotAdmitted if the Start does not come."""
        if self.start_first.goes_ahead(forward):
            return False
        if late := await self.start_first.wait(forward):
            raise NotAdmitted(AGENT_CAUSED + late)
        return True

    @contextmanager
    def hold(self, forward: Forward) -> Iterator[Admitted]:
        """A place, a share of the agent's quota and room in the outbox, while the block runs. Raises NotAdmitted."""
        request = forward.signed_request.request
        with ExitStack() as held:
            try:
                held.enter_context(self.places.hold(forward.signed_request.inference_id))
                most = request.prompt_tokens_max + request.max_tokens
                usage = held.enter_context(self.quotas.hold(forward.agent, most, self.chain.height()))
                room = held.enter_context(self.outbox.hold(RECORDS_OF_AN_ANSWER))
            except Overloaded as error:
                of_quota = error.field in (self.quotas.who, "max_tokens")
                raise NotAdmitted((AGENT_CAUSED if of_quota else "") + error.message) from error
            yield Admitted(usage, room)

    @asynccontextmanager
    async def admit(self, forward: Forward) -> AsyncIterator[Admitted]:
        """As `hold`. What takes this one's place may let the request wait here (scheduled.py)."""
        with self.hold(forward) as admitted:
            yield admitted

    async def engine_for(self, forward: Forward, spec: ModelSpec, ready: ReadyEngine | None) -> ReadyEngine:
        """The engine that answers this request. Raises NotAdmitted if there is none now, if it may not serve the model,
        or if agent or account did not pay for earlier work. Whether it answers is watched elsewhere (engine_watch.py):
        no request asks."""
        if ready is None:
            raise NotAdmitted("loading")
        if unfit := ready.unfit_for(spec) or self.chain.reader.stack_problem(self.node, spec.model, str(ready.stack)):
            raise NotAdmitted(unfit)
        account = forward.signed_request.request.account
        if problem := self.credit.problem(forward.agent, account, self.chain.height()):
            raise NotAdmitted(AGENT_CAUSED + problem)
        return ready
