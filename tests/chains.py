"""Builds chains without consensus, with the keys of all validators, for tests and benchmarks that need history.

Law: every block passes the checks of a real chain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from p2p.base.keys import Key
from p2p.chain.chain import Chain
from p2p.consensus.certificates import commit_certificate
from p2p.consensus.header import make_block
from p2p.consensus.messages import Vote, VoteType, sign_vote
from p2p.consensus.validators import ValidatorSet, dump_priorities, increment, load_priorities, proposer


def next_priorities(chain: Chain) -> bytes:
    """The proposer priorities that consensus stores with the next height."""
    members = ValidatorSet.of(chain.validators())
    return dump_priorities(members, increment(members, load_priorities(chain.priorities(), members), 1)[1])


def extend(chain: Chain, height: int, keys: Mapping[bytes, Key], time_ms: Callable[[int], int]) -> None:
    """Decide empty blocks up to `height`, each signed by every validator of its set. time_ms: height -> block time."""
    network = chain.genesis.network
    while chain.height() < height:
        members, at = ValidatorSet.of(chain.validators()), chain.height() + 1
        key = keys[proposer(members, load_priorities(chain.priorities(), members), 0)]
        block = make_block(chain, key, network, 0, time_ms(at), ())
        votes = [
            sign_vote(keys[k], Vote(network, VoteType.PRECOMMIT, at, 0, block.block_id, -1, k))
            for k, _ in members.members
        ]
        chain.finalize(block, commit_certificate(votes, at, 0, block.block_id), next_priorities(chain))
