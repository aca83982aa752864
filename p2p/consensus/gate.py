"""May this message be believed? Law: pure; cheap checks before signatures; a message that is not right is its sender's fault."""

from __future__ import annotations

from p2p.consensus import wire
from p2p.consensus.certificates import verify_polka, verify_round
from p2p.consensus.header import tx_root
from p2p.consensus.messages import PolkaCertificate, RoundCertificate, SignedProposal, SignedVote
from p2p.consensus.validators import ValidatorSet
from p2p.consensus.votes import VoteKeeper
from p2p.keys import NetworkId


def is_right(message: wire.Wire, network: NetworkId, members: ValidatorSet, known: VoteKeeper | None) -> bool:
    """members: the set of the message's height. known: votes verified before, which need no second look."""
    if isinstance(message, SignedVote):
        vote = message.vote
        if vote.network != network or vote.validator not in members:
            return False
        before = known.first(vote.validator, vote.round, vote.type) if known is not None else None
        return (before is not None and before.vote == vote) or message.verify()
    if isinstance(message, SignedProposal):
        block = message.block
        covered = block.header.tx_root == tx_root(block.txs, block.last_commit, block.evidence)
        return covered and is_right_claim(message, network, members)
    if isinstance(message, PolkaCertificate):
        return verify_polka(message, network, members)
    return isinstance(message, RoundCertificate) and verify_round(message, network, members)


def is_right_claim(message: SignedProposal, network: NetworkId, members: ValidatorSet) -> bool:
    """All but the block's body, which the header's tx_root covers: a signature over a block id is worth nothing beside another body.
    B: a new block carries the round it was made in; an old one an earlier round, and the polka it names is about it."""
    p, header, polka = message.proposal, message.block.header, message.polka
    fits = header.round == p.round if p.pol_round < 0 else header.round <= p.pol_round < p.round
    right = (
        p.network == network and p.proposer in members and message.block.block_id == p.block_id
        and header.height == p.height and fits and message.verify()
    )
    if not right or polka is None:
        return right
    about = (polka.height, polka.round, polka.block_id) == (p.height, p.pol_round, p.block_id)
    return about and verify_polka(polka, network, members)
