"""Votes, certificates, notes of evidence and proposals between peers. Law: pure; what is due to whom follows from one
rule (relays.py); whoever lacks something asks.

Inputs are what the driver broadcasts, frames of neighbours, neighbours that come and go, and the time (any clock that
does not go back, ms). Outputs are frames for neighbours, and messages that were judged right, for the driver. The
simulator and the peer run this same code. It reads the driver and never changes it.

Nothing depends on what a neighbour says of itself but the answer to its own question: whoever claims to have
everything harms itself, and whoever claims to lack everything gets it again more and more seldom.
"""

from __future__ import annotations

from collections.abc import Iterator

from p2p.base.errors import RemoteProtocolError
from p2p.base.keys import digest
from p2p.base.outcome import Outcome
from p2p.consensus import vote_frames, wire
from p2p.consensus.driver import Driver
from p2p.consensus.messages import PolkaCertificate, Proposal, RoundCertificate, VoteType
from p2p.consensus.proposal_relay import Judge, ProposalRelay
from p2p.consensus.relays import Pace, Wait, order
from p2p.consensus.vote_agenda import Step, VoteAgenda
from p2p.consensus.vote_answers import beyond
from p2p.consensus.vote_frames import Bundle, Proposed, Want
from p2p.consensus.vote_neighbours import MESH, Neighbour, Neighbours
from p2p.consensus.vote_pool import NOBODY, Item, VotePool
from p2p.consensus.vote_ranks import VoteRanks
from p2p.consensus.vote_wants import Wants

HOLD = 2  # parts of a wait: so long a relay holds votes at most that have not made a quorum
LOST_MS = 1000  # after which a vote that the machine does not hold, though we took it, is taken anew


class VoteExchange:
    """The exchange of one driver. pace: see relays.py; judge: of proposals (proposal_relay.py)."""

    def __init__(self, driver: Driver, pace: Pace, judge: Judge) -> None:
        self._driver, self.pace = driver, pace
        self.neighbours = Neighbours(pace.tick_ms)
        self.wait = Wait(pace)
        self._wants = Wants(pace, driver.machine.me)
        self._pools: dict[int, VotePool] = {}
        self._ranks = VoteRanks(driver, self.neighbours, self._pools)
        self._agenda = VoteAgenda()
        self.proposals = ProposalRelay(driver, self.neighbours, judge, self._ranks, self._pools, pace, self.wait)
        self.height = -1
        self.passed = 0  # messages that were found right and may be news to others, for the mesh

    # -- neighbours -----------------------------------------------------------------------------------------------

    def up(self, peer: str, key: bytes, now: int) -> None:
        """A neighbour can be sent frames from now on. key: its public key."""
        self.down(peer)
        self.look(now)
        neighbour = self.neighbours.up(peer, key)
        self._ranks.forget()
        for item in self._pool.items():
            if item.own and item.slot is not None and not self._is_done(item) and self._is_first(item, key):
                neighbour.push(item)
        if not self.is_mesh():
            self.proposals.up(neighbour)

    def down(self, peer: str) -> None:
        bit = self.neighbours.down(peer)
        self.proposals.down(bit)
        self._ranks.forget()
        for pool in self._pools.values():
            for item in pool.items():
                item.theirs &= ~bit
                item.sent &= ~bit

    # -- in -------------------------------------------------------------------------------------------------------

    def look(self, now: int) -> None:
        """Follow the driver to its height and round. Call it after each of the driver's inputs."""
        if self._driver.height != self.height:
            self._new_height(now)
        if self._wants.follow((self.height, self._driver.machine.round), now, self.wait.ms):
            self._ranks.forget()

    def broadcast(self, data: bytes, now: int) -> None:
        """Take what the driver broadcasts on the topic `votes`. What it says again (rule R) is given again."""
        self.look(now)
        message = wire.parse(data)
        pool = self._pools.get(self.height if isinstance(message, wire.EvidenceNote) else wire.height_of(message))
        if pool is None:
            return
        item = pool.like(message)
        is_again = item is not None
        if item is None:
            item = Item(vote_frames.pack(message), message, pool.height, now, own=True)
            if not self._add(item, pool, now):
                return
        if isinstance(message, PolkaCertificate | RoundCertificate):
            spread_ms = 2 * self.wait.ms
            luck = int.from_bytes(digest(self._driver.machine.me, repr(wire.content(message)).encode())[:4], "big")
            step = Step.SHOW_AGAIN if is_again else Step.SHOW
            self._agenda.put(now + self.wait.ms + luck % spread_ms, step, item, now)
        elif not is_again:
            self._offer(item, now)
        elif self.is_mesh() or (now - item.came_ms >= self._driver.pace.now.rebroadcast_ms and not self._is_done(item)):
            self._give_again(item)

    def propose(self, proposal: Proposal, data: bytes, now: int) -> bool:
        """Take a proposal that the driver broadcasts. False: it is for the mesh, which carries repeats too."""
        self.look(now)
        return not self.is_mesh() and proposal.height == self.height and self.proposals.propose(proposal, data)

    def receive(self, peer: str, data: bytes, now: int) -> Iterator[wire.Wire | None]:
        """Take a frame. Gives after each message in it the message, when the driver is to take it, or None; others
        may run in between. Raises RemoteProtocolError: the sender is to blame."""
        frame = vote_frames.parse_frame(data)
        self.look(now)
        neighbour = self.neighbours.get(peer)
        if isinstance(frame, Bundle):
            for raw in frame.messages:
                yield self._hear(neighbour, raw, now)
        elif isinstance(frame, Proposed) and peer != MESH:
            yield self._hear_proposal(peer, frame.proposal, now)
        elif isinstance(frame, Want) and neighbour is not None and peer != MESH:
            self._answer(neighbour, frame, now)
        yield None

    def advance(self, now: int) -> list[str]:
        """Let time pass. Gives the names of those that a frame is due to: call `frame` for each."""
        self.look(now)
        for step, item, extra in self._agenda.take(now):
            if not self._is_over(item):
                self._do(step, item, extra, now)
        self.proposals.advance(now)
        if self._wants.is_due(now):
            self._ask(now)
        return self.neighbours.ready(now)

    def frame(self, peer: str, now: int) -> bytes | None:
        """The frame that is due to a neighbour; None when there is nothing any more."""
        neighbour = self.neighbours.get(peer)
        return neighbour.frame(now, self._is_over) if neighbour is not None else None

    def due_ms(self) -> int | None:
        """When `advance` has something to do next; None: nothing, until something comes in."""
        times = (self._agenda.due_ms(), self._wants.due_ms, self.neighbours.due_ms(), self.proposals.due_ms())
        return min((time for time in times if time is not None), default=None)

    def is_mesh(self) -> bool:
        """Whether this height's set is too large for streams."""
        return len(self._driver.validators.members) > self.pace.direct

    # -- heights --------------------------------------------------------------------------------------------------

    @property
    def _pool(self) -> VotePool:
        return self._pools[self.height]

    def _new_height(self, now: int) -> None:
        """Keep what we have of the last height, for those that are still there, and what came early of this one."""
        driver, old = self._driver, dict(self._pools)
        here = old.get(driver.height)
        if here is None or here.members != driver.validators:
            here = VotePool(driver.height, driver.validators)
        self._pools.clear()
        self._pools[driver.height] = here
        if driver.height == self.height + 1 and self.height in old:
            self._pools[self.height] = old[self.height]
            self._serve_followers(old[self.height])
        self._pools[driver.height + 1] = VotePool(driver.height + 1, driver.next_validators)
        is_start, self.height = self.height < 0, driver.height
        self._ranks.forget()
        self.proposals.new_height(now)
        for neighbour in self.neighbours:
            neighbour.asked = 0
        for item in self._pool.items():
            item.came_ms = now
            self._relay(item, now)
        if is_start:
            self._load(now)

    def _load(self, now: int) -> None:
        """What the machine holds already: it comes from the log, after a restart."""
        machine = self._driver.machine
        for round_ in machine.votes.rounds_above(-1):
            for kind in VoteType:
                for signed in machine.votes.votes(round_, kind):
                    own = signed.vote.validator == machine.me
                    self._pool.add(Item(vote_frames.pack(signed), signed, self.height, now, own))

    def _serve_followers(self, pool: VotePool) -> None:
        """Whoever does not vote gets the precommits that decided a height, once, when it is decided."""
        items = pool.decided()
        followers = [one for one in self.neighbours if one.key not in pool.members]
        if items and items[0].block_id is not None:
            self.proposals.serve(followers, pool.height, items[0].block_id)
        for neighbour in followers:
            for item in items:
                neighbour.push(item)

    # -- out ------------------------------------------------------------------------------------------------------

    def _is_over(self, item: Item) -> bool:
        """Whether a message is of no use to anybody: its height is long over."""
        return item.height < self.height - 1

    def _is_done(self, item: Item) -> bool:
        """Whether a message of ours needs no more help on its way."""
        if item.height < self.height:
            return True
        return item.slot in self._pools[item.height].settled if item.slot is not None else item.heard_ms >= item.came_ms

    def _is_small(self) -> bool:
        return len(self._pool.members.members) <= self.pace.small

    def _is_first(self, item: Item, key: bytes) -> bool:
        """Whether a message of ours goes to this validator at once."""
        if self.is_mesh() or key not in self._pool.members:
            return False
        return self._is_small() or self._ranks.rank(item, key) < self.pace.relays

    def _push_all(self, item: Item) -> None:
        if self.is_mesh():
            self.neighbours.mesh.push(item)
            return
        for neighbour in self.neighbours:
            if neighbour.key in self._pool.members:
                neighbour.push(item)

    def _give_again(self, item: Item) -> None:
        """The last resort: also for those that we gave it to, and for a mesh that gave it back to us."""
        item.sent, item.theirs = 0, item.theirs & ~self.neighbours.mesh.bit
        self._push_all(item)

    def _offer(self, item: Item, now: int) -> None:
        """A message of ours begins its way."""
        if self.is_mesh() or self._is_small():
            self._push_all(item)
            return
        for neighbour in self.neighbours:
            if self._is_first(item, neighbour.key):
                neighbour.push(item)
        rank = self._ranks.rank(item, self._driver.machine.me)
        if rank < self.pace.relays:
            self._forward_at(item, rank, now)
        # a relay holds it for a part of a wait, and hands it on in a second one
        self._agenda.put(now + 2 * self.wait.ms, Step.OFFER, item, self.pace.relays)

    def _relay(self, item: Item, now: int) -> None:
        """Hand on what came from its author, as our rank says."""
        if item.height != self.height or not item.straight or self.is_mesh():
            return
        rank, first = self._ranks.rank(item, self._driver.machine.me), self.pace.relays
        if rank < first or (rank < NOBODY and not self._is_small() and self._ranks.rank(item, item.author) >= first):
            self._forward_at(item, rank, now)

    def _forward_at(self, item: Item, rank: int, now: int) -> None:
        """A vote waits for those that make a quorum with it, a part of a wait at most: one frame then carries them all,
        and what came meanwhile, however slowly, where there is no quorum yet."""
        slot = item.slot
        if self._is_small() or slot is None or slot in self._pools[item.height].settled:
            self._agenda.put(self._turn_ms(now, rank), Step.FORWARD, item, rank)
            return
        until = self._agenda.hold((item.height, slot), now, self.wait.ms // HOLD)
        self._agenda.put(self._turn_ms(until, rank), Step.FORWARD, item, rank)

    def _turn_ms(self, now: int, rank: int) -> int:
        """When this rank hands on what is ready now; what is ready within one tick goes together."""
        waits = min(rank, self.pace.relays - 1) + self._is_small()
        return (now // self.pace.tick_ms + 1) * self.pace.tick_ms + waits * self.wait.ms

    def _add(self, item: Item, pool: VotePool, now: int) -> bool:
        """Keep a message; False where it has no place."""
        was_settled = item.slot in pool.settled
        if not pool.add(item):
            return False
        if item.slot is not None and not was_settled and item.slot in pool.settled:
            self._agenda.forward_by(item.slot, item.height, lambda rank: self._turn_ms(now, rank))
        return True

    def _do(self, step: Step, item: Item, extra: int, now: int) -> None:
        if step is Step.FORWARD:
            if item.via > extra and not (extra and item.own and self._is_done(item)):
                self._push_all(item)
        elif step is Step.SHOW:
            if item.heard_ms < extra:
                item.sent = 0
                self._offer(item, now)
        elif step is Step.SHOW_AGAIN:
            if item.heard_ms < extra:
                self._give_again(item)
        elif not self._is_done(item):
            ranks = self._ranks.of(item)
            for neighbour in self.neighbours:
                if neighbour.key in ranks[extra : extra + 1]:
                    neighbour.push(item)
            if extra + 1 < (len(ranks) if item.slot is not None else 2 * self.pace.relays):
                self._agenda.put(now + self.wait.ms, Step.OFFER, item, extra + 1)

    # -- what comes -----------------------------------------------------------------------------------------------

    def _hear_proposal(self, peer: str, data: bytes, now: int) -> wire.Wire | None:
        is_news, message = self.proposals.hear(peer, data, now)
        if is_news:
            self._wants.news(now, self.wait.ms)
        return message

    def _hear(self, neighbour: Neighbour | None, raw: bytes, now: int) -> wire.Wire | None:
        found = next((item for pool in self._pools.values() if (item := pool.find(raw)) is not None), None)
        if found is not None and not self._is_lost(found, now):
            self.passed += now - found.heard_ms >= self._driver.pace.now.forward_again_ms
            self._credit(found, neighbour, now)
            return None
        message = vote_frames.parse_message(raw)
        outcome, news = self._driver.inbox.judge_vote(message)
        if outcome is Outcome.REJECT:
            raise RemoteProtocolError("a message that is wrong for everybody", field="messages", code="vote")
        if outcome is Outcome.IGNORE:
            return None
        self.passed += 1
        if news is not None:  # what others repeat keeps nobody from asking for what they leave out
            self._wants.news(now, self.wait.ms)
        self._keep(Item(raw, message, 0, now), neighbour, now)
        return news

    def _keep(self, item: Item, neighbour: Neighbour | None, now: int) -> None:
        message = item.message
        item.height = self.height if isinstance(message, wire.EvidenceNote) else wire.height_of(message)
        pool = self._pools.get(item.height)
        if pool is None:
            return
        late = item.slot in pool.settled if item.slot is not None else False
        like = pool.like(message)
        if like is not None:
            self._credit(like, neighbour, now)
            return
        if not self._add(item, pool, now):
            return
        item.straight = neighbour is not None and item.author in (neighbour.key, b"")
        self._credit(item, neighbour, now)
        if not late:
            self._learn(item, pool, now)
        if not late or self._is_small():
            self._relay(item, now)

    def _credit(self, item: Item, neighbour: Neighbour | None, now: int) -> None:
        """Note who has a message, and which relay gave it."""
        item.heard_ms = now
        if neighbour is None:
            return
        item.theirs |= neighbour.bit
        if item.height <= self.height and neighbour.key not in (item.author, b""):
            item.via = min(item.via, self._ranks.rank(item, neighbour.key))

    def _learn(self, item: Item, pool: VotePool, now: int) -> None:
        """How long it took to a quorum, when this vote made it one."""
        if item.slot is not None and item.slot in pool.settled:
            own = pool.vote(self._driver.machine.me, *item.slot)
            if own is not None and own.own:
                self.wait.took(now - own.came_ms)

    def _is_lost(self, item: Item, now: int) -> bool:
        """Whether the driver never took a vote that we gave it: its queue was full."""
        if item.slot is None or item.own or item.height != self.height or now - item.came_ms < LOST_MS:
            return False
        if self._driver.machine.votes.has(item.author, *item.slot):
            return False
        self._pools[item.height].remove(item)
        return True

    # -- questions ------------------------------------------------------------------------------------------------

    def _ask(self, now: int) -> None:
        """Nothing came for a while: ask two neighbours for what we lack."""
        machine, settled = self._driver.machine, self._pool.settled
        lacking = [block for block in settled.values() if block is not None and machine.proposal_of(block) is None]
        done = not lacking and all((machine.round, kind) in settled for kind in VoteType)
        if machine.round < 0 or done or self.is_mesh():
            self._wants.rest()
            return
        first: tuple[bytes, ...] = ()
        if not self._is_small():
            first = order(self._pool.members, machine.proposer_of, machine.round)[: self.pace.relays]
        here = [signed.proposal.block_id for signed in machine.proposals.get(machine.round, ())]
        frame = vote_frames.want(
            machine.votes, self._pool.members, self.height, machine.round, here, dict.fromkeys(lacking)
        )
        for neighbour in self._wants.choose(list(self.neighbours), self._pool.members, first, now):
            neighbour.ask(frame)

    def _answer(self, neighbour: Neighbour, frame: Want, now: int) -> None:
        """Give what it lacks, more and more seldom at one height."""
        pool = self._pools.get(frame.height)
        if pool is None or now < neighbour.may_ask_ms:
            return
        neighbour.may_ask_ms = now + (self.pace.want_ms // 3 << min(neighbour.asked, 5))
        neighbour.asked += 1
        self.proposals.answer(neighbour, frame)
        for item in beyond(pool, frame, self._driver, neighbour.bit):
            item.sent &= ~neighbour.bit
            item.theirs &= ~neighbour.bit
            neighbour.push(item)
