"""Proposals between peers that have streams to each other. Law: pure; the proposer gives its proposal to every
validator at once; a relay gives it, in its turn, to those that have not shown that they have it.

A vote for a block shows it, and relays get all votes (relays.py). So n validators get n copies, a proposer that leaves
some out only delays them, and two proposals for one round meet at the relays. Rank k takes its turn k waits after it
got the proposal, or sooner once most have shown it: then whoever has not lacks a stream to the proposer, and the time
that this adds to a height must not feed back into the wait. A relay hands on no block that it cannot serve whole.
Whoever lacks a proposal asks (Want). The third, sixth, twelfth ... time that a peer says a proposal (rule R), and what
does not fit into a frame, travel through the mesh: in a network that is late, floods would make it later.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from p2p.base.errors import RemoteProtocolError
from p2p.base.limits import MAX_BUNDLE, MAX_KEPT_PROPOSALS
from p2p.base.outcome import Outcome
from p2p.consensus import wire
from p2p.consensus.driver import Driver
from p2p.consensus.messages import Proposal
from p2p.consensus.offer import Offer
from p2p.consensus.relays import Pace, Wait
from p2p.consensus.vote_frames import PROPOSED_HEAD, Want
from p2p.consensus.vote_neighbours import Neighbour, Neighbours
from p2p.consensus.vote_pool import VotePool
from p2p.consensus.vote_ranks import VoteRanks

Judged = tuple[Outcome, Proposal | None, wire.Wire | None]  # what it is about, and what the driver is to take
Judge = Callable[[str, bytes], Judged]  # (peer that sent it, a proposal's bytes as they travel)
PATIENCE_MS = 10_000  # after which a relay no longer waits for a whole block


class ProposalRelay:
    """The proposals of one exchange, whose neighbours, ranks, pools of votes by height, and wait these are."""

    def __init__(
        self, driver: Driver, neighbours: Neighbours, judge: Judge, ranks: VoteRanks, pools: dict[int, VotePool],
        pace: Pace, wait: Wait,
    ) -> None:
        self._driver, self._neighbours, self._judge = driver, neighbours, judge
        self._ranks, self._pools, self._pace, self._wait = ranks, pools, pace, wait
        self._offers: dict[Proposal, Offer] = {}  # of this height and the last, the newest MAX_KEPT_PROPOSALS
        self._turns: list[tuple[int, int, Offer, int]] = []  # (due ms, number, what, our rank)
        self._count = 0

    def __len__(self) -> int:
        return len(self._offers)

    # -- in -------------------------------------------------------------------------------------------------------

    def propose(self, proposal: Proposal, data: bytes) -> bool:
        """Give a proposal that our driver broadcasts to all validators that are up and have not shown that they have
        it. False: somebody seems to lack a stream, and it is for the mesh; this is so more and more seldom."""
        if len(data) + PROPOSED_HEAD > MAX_BUNDLE:
            return False
        offer = self._offers.get(proposal)
        if offer is None:
            offer = Offer(proposal, data, own=proposal.proposer == self._driver.machine.me)
            self._keep(offer)
        offer.said += 1
        if offer.said == offer.meshed_at:
            offer.meshed_at *= 2
            return False
        self._give(offer)
        return True

    def hear(self, peer: str, data: bytes, now: int) -> tuple[bool, wire.Wire | None]:
        """A proposal came: whether it is news, and what the driver is to take. Its sender may have no stream from us
        yet. One that is repeated is no news: else a proposer could keep us from asking others for what they have.
        Raises RemoteProtocolError."""
        outcome, proposal, message = self._judge(peer, data)
        neighbour = self._neighbours.get(peer)
        if outcome is Outcome.REJECT:
            raise RemoteProtocolError("a proposal that is wrong for everybody", field="proposal", code="proposal")
        offer = self._offers.get(proposal) if proposal is not None else None
        is_news = proposal is not None and offer is None and outcome is Outcome.ACCEPT
        if is_news and proposal is not None:
            offer = Offer(proposal, data, straight=neighbour is not None and neighbour.key == proposal.proposer)
            self._keep(offer)
            self._relay(offer, now)
        if offer is not None and neighbour is not None:
            offer.known |= neighbour.bit
        return is_news, message

    def up(self, neighbour: Neighbour) -> None:
        """A neighbour has come: it gets a proposal of ours that the others had before."""
        for offer in self._offers.values():
            if offer.own and offer.height == self._driver.height:
                self._give_to(neighbour, offer)

    def down(self, bit: int) -> None:
        for offer in self._offers.values():
            offer.known &= ~bit

    def new_height(self, now: int) -> None:
        """Forget what is over; take our turn with what came early."""
        height = self._driver.height
        self._offers = {about: offer for about, offer in self._offers.items() if about.height >= height - 1}
        for neighbour in self._neighbours:
            neighbour.offers = {offer: None for offer in neighbour.offers if offer.height >= height - 1}
        for offer in self._offers.values():
            self._relay(offer, now)

    # -- out ------------------------------------------------------------------------------------------------------

    def advance(self, now: int) -> None:
        """Take the turns that have come."""
        while self._turns and self._turns[0][0] <= now:
            _, _, offer, rank = heapq.heappop(self._turns)
            if offer.height != self._driver.height or now > offer.came_ms + PATIENCE_MS:
                continue
            if self._is_ready(offer, rank, now):
                self._give(offer)
            else:
                self._look_again(offer, rank, now)

    def _is_ready(self, offer: Offer, rank: int, now: int) -> bool:
        passed_ms, is_small = now - offer.came_ms, len(self._driver.validators.members) <= self._pace.small
        soon_ms = self._pace.wait_least_ms if is_small else self._wait.ms // 2
        if passed_ms < rank * self._wait.ms and not (
            passed_ms >= rank * soon_ms and self._most_have_it(offer.proposal)
        ):
            return False
        return self._driver.machine.proposal_of(offer.proposal.block_id) is not None

    def due_ms(self) -> int | None:
        return self._turns[0][0] if self._turns else None

    def answer(self, neighbour: Neighbour, frame: Want) -> None:
        """Give what it lacks of its round, of later ones, and of what was decided."""
        decided = {item.block_id for item in self._pools[frame.height].decided()}
        for offer in self._offers.values():
            about = offer.proposal
            if about.height != frame.height or about.block_id in frame.proposals:
                continue
            if about.round >= frame.round or about.block_id in decided.union(frame.lacking):
                offer.known &= ~neighbour.bit
                neighbour.offer(offer)

    def serve(self, followers: list[Neighbour], height: int, block_id: bytes) -> None:
        """Those who do not vote get the proposal that was decided."""
        for offer in self._offers.values():
            if (offer.height, offer.proposal.block_id) == (height, block_id):
                for neighbour in followers:
                    neighbour.offer(offer)
                return

    def _keep(self, offer: Offer) -> None:
        """Of too many, those of the next height go first, then those of the last: this height's are of use now."""
        self._offers[offer.proposal] = offer
        height = self._driver.height
        while len(self._offers) > MAX_KEPT_PROPOSALS:
            self._offers.pop(max(self._offers, key=lambda a: (a.height > height, a.height < height, -a.round)))

    def _relay(self, offer: Offer, now: int) -> None:
        """Take our turn with what came from its proposer, if we have one."""
        if offer.straight and offer.height == self._driver.height:
            rank, offer.came_ms = self._ranks.own(offer.height, offer.proposal.round), now
            if 0 < rank < self._pace.relays:
                self._look_again(offer, rank, now)

    def _look_again(self, offer: Offer, rank: int, now: int) -> None:
        self._count += 1
        heapq.heappush(self._turns, (now + self._pace.wait_least_ms, self._count, offer, rank))

    def _give(self, offer: Offer) -> None:
        for neighbour in self._neighbours:
            self._give_to(neighbour, offer)

    def _give_to(self, neighbour: Neighbour, offer: Offer) -> None:
        about, key = offer.proposal, neighbour.key
        if key in self._driver.validators and key != about.proposer and not self._has_it(about, key):
            neighbour.offer(offer)

    def _has_it(self, about: Proposal, key: bytes) -> bool:
        """Whether a validator has shown that it has a block."""
        return self._pools[about.height].has_voted(key, about.round, about.block_id)

    def _most_have_it(self, about: Proposal) -> bool:
        members = self._driver.validators
        shown = sum(weight for key, weight in members.members if key == about.proposer or self._has_it(about, key))
        return 2 * shown > members.total
