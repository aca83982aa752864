"""What a peer that asks for votes is given. Law: nothing that it says it has; what moves it on comes first."""

from __future__ import annotations

from p2p.base.limits import MAX_FUTURE_ROUNDS
from p2p.consensus import vote_frames
from p2p.consensus.certificates import round_certificate
from p2p.consensus.driver import Driver
from p2p.consensus.messages import VoteType
from p2p.consensus.vote_frames import Want, has_bit
from p2p.consensus.vote_pool import Item, VotePool


def beyond(pool: VotePool, frame: Want, driver: Driver, bit: int) -> list[Item]:
    """In this order: evidence and certificates, a certificate for a round so far ahead of its own that it keeps no
    votes of it, the votes of its round, of later ones, and precommits for a block of earlier ones, that it is not known
    to have. Of a height that is decided here: the precommits that decided it. bit: its place in the masks of what
    neighbours have."""
    if pool.height < driver.height and (decided := pool.decided()):
        return decided  # again and again: nobody repeats them any more
    found = [item for item in pool.others() if not item.is_known(bit)]
    found += _far_ahead(pool, frame, driver)
    have = {VoteType.PREVOTE: frame.prevotes, VoteType.PRECOMMIT: frame.precommits}
    for round_ in sorted(pool.rounds(), key=lambda r: (r < frame.round, r)):
        for kind in VoteType:
            items = pool.votes(round_, kind)
            if round_ == frame.round:
                found += [item for item in items if not has_bit(have[kind], pool.place[item.author])]
            elif round_ > frame.round:
                found += items
            elif kind is VoteType.PRECOMMIT:
                found += [item for item in items if not item.is_known(bit) and item.block_id is not None]
    return found


def _far_ahead(pool: VotePool, frame: Want, driver: Driver) -> list[Item]:
    machine = driver.machine
    if pool.height != driver.height or machine.round <= frame.round + MAX_FUTURE_ROUNDS:
        return []
    entered = round_certificate(machine.votes, pool.members, pool.height, machine.round)
    if entered is None:
        return []
    return [Item(vote_frames.pack(entered), entered, pool.height, 0, own=True)]
