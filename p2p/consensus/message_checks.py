"""Whether a message may be believed. Law: pure; cheap checks before signatures; a message that is not right is its
sender's fault."""

from __future__ import annotations

from p2p.base.keys import NetworkId
from p2p.consensus import wire
from p2p.consensus.certificates import IsVerified, none_verified, verify_polka, verify_round
from p2p.consensus.header import tx_root
from p2p.consensus.messages import PolkaCertificate, RoundCertificate, SignedProposal, SignedVote
from p2p.consensus.validators import ValidatorSet
from p2p.consensus.votes import VoteKeeper


def may_be_right(message: wire.Wire, network: NetworkId, members: ValidatorSet) -> bool:
    """What can be seen without a signature: the message is of this network and of a validator of its height.
    Otherwise it is wrong for everybody. members: the validator set of the message's height."""
    match message:
        case SignedVote():
            return message.vote.network == network and message.vote.validator in members
        case SignedProposal():
            proposal, header = message.proposal, message.block.header
            return proposal.network == network and proposal.proposer in members and header.height == proposal.height
        case _:
            return True


def is_right(message: wire.Wire, network: NetworkId, members: ValidatorSet, known: VoteKeeper | None) -> bool:
    """All checks. members: the validator set of the message's height. known: votes verified before, which are not
    verified again."""
    is_verified = known.is_verified if known is not None else none_verified
    if not may_be_right(message, network, members):
        return False
    if isinstance(message, SignedVote):
        return is_verified(message) or message.verify()
    if isinstance(message, SignedProposal):
        block = message.block
        covered = block.header.tx_root == tx_root(block.txs, block.last_commit, block.evidence)
        return covered and is_right_claim(message, network, members, is_verified)
    if isinstance(message, PolkaCertificate):
        return verify_polka(message, network, members, is_verified)
    return isinstance(message, RoundCertificate) and verify_round(message, network, members, is_verified)


def is_right_claim(
    message: SignedProposal, network: NetworkId, members: ValidatorSet, is_verified: IsVerified = none_verified
) -> bool:
    """All checks of a proposal but that of its body. The signature covers the header and so its tx_root; that the body
    fits the tx_root is for the caller to check, for a signed header proves nothing about another body.

    Rule B: a fresh proposal's block carries the round of the proposal; a re-proposal's block carries an earlier
    one, and the polka that comes with it is about that block."""
    p, header, polka = message.proposal, message.block.header, message.polka
    fits = header.round == p.round if p.pol_round < 0 else header.round <= p.pol_round < p.round
    about = polka is None or (polka.height, polka.round, polka.block_id) == (p.height, p.pol_round, p.block_id)
    if not (fits and about and may_be_right(message, network, members) and message.block.block_id == p.block_id):
        return False
    return message.verify() and (polka is None or verify_polka(polka, network, members, is_verified))
