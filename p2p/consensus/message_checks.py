"""May this message be believed? Law: pure; cheap checks before signatures; a message that is not right is its sender's fault."""

from __future__ import annotations

from p2p.base.keys import NetworkId
from p2p.consensus import wire
from p2p.consensus.certificates import Knows, unknown, verify_polka, verify_round
from p2p.consensus.header import tx_root
from p2p.consensus.messages import PolkaCertificate, RoundCertificate, SignedProposal, SignedVote
from p2p.consensus.validators import ValidatorSet
from p2p.consensus.votes import VoteKeeper


def is_of(message: wire.Wire, network: NetworkId, members: ValidatorSet) -> bool:
    """What costs nothing to look at: it is of this network and of a validator of its height. Else it is wrong for everybody."""
    match message:
        case SignedVote():
            return message.vote.network == network and message.vote.validator in members
        case SignedProposal():
            proposal, header = message.proposal, message.block.header
            return proposal.network == network and proposal.proposer in members and header.height == proposal.height
        case _:
            return True


def is_right(message: wire.Wire, network: NetworkId, members: ValidatorSet, known: VoteKeeper | None) -> bool:
    """members: the set of the message's height. known: votes verified before, which need no second look."""
    knows = known.knows if known is not None else unknown
    if not is_of(message, network, members):
        return False
    if isinstance(message, SignedVote):
        return knows(message) or message.verify()
    if isinstance(message, SignedProposal):
        block = message.block
        covered = block.header.tx_root == tx_root(block.txs, block.last_commit, block.evidence)
        return covered and is_right_claim(message, network, members, knows)
    if isinstance(message, PolkaCertificate):
        return verify_polka(message, network, members, knows)
    return isinstance(message, RoundCertificate) and verify_round(message, network, members, knows)


def is_right_claim(message: SignedProposal, network: NetworkId, members: ValidatorSet, knows: Knows = unknown) -> bool:
    """All but the block's body, which the header's tx_root covers: a signature over a block id is worth nothing beside another body.
    B: a new block carries the round it was made in; an old one an earlier round, and the polka it names is about it."""
    p, header, polka = message.proposal, message.block.header, message.polka
    fits = header.round == p.round if p.pol_round < 0 else header.round <= p.pol_round < p.round
    about = polka is None or (polka.height, polka.round, polka.block_id) == (p.height, p.pol_round, p.block_id)
    right = fits and about and is_of(message, network, members) and message.block.block_id == p.block_id and message.verify()
    return right and (polka is None or verify_polka(polka, network, members, knows))
