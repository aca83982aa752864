"""What a peer repeats, because gossip loses messages (rule R). Law: pure; from what the machine holds and what was
signed.

Without repeats one lost vote could hold a height for ever; with them, whoever missed something gets it with the next
one.
"""

from __future__ import annotations

from collections.abc import Mapping

from p2p.consensus import wire
from p2p.consensus.certificates import polka_certificate, round_certificate
from p2p.consensus.machine import Machine
from p2p.consensus.replay import Signed, Slot
from p2p.consensus.round import Step


def repeats(machine: Machine, height: int, own: Mapping[Slot, Signed]) -> list[wire.Wire]:
    """The last proposal, prevote and precommit of our own, the certificate that let us enter this round, and the newest
    polka with its proposal. own: what this peer signed at this height."""
    if machine.step is Step.NEW:
        return []
    last = {step: message for (_, step), message in sorted(own.items(), key=lambda item: item[0])}
    found: list[wire.Wire] = [message for _, message in sorted(last.items(), key=lambda item: item[0])]
    if machine.round > 0:
        entered = round_certificate(machine.votes, machine.validators, height, machine.round)
        newest = machine.newest_polka()
        found += [entered] if entered is not None else []
        found += polka_with_proposal(machine, height, *newest) if newest is not None else []
    return found


def polka_with_proposal(machine: Machine, height: int, block_id: bytes, round_: int) -> list[wire.Wire]:
    """All that others need to see the polka of `round_` for a block."""
    signed = machine.proposal_of(block_id)
    polka = polka_certificate(machine.votes, height, round_, block_id)
    return [polka] if signed is None else [signed, polka]
