"""Places among the participants: they cost a fee, the bond returns, and an attacker that fills them keeps no newcomer
out and evicts nobody that is of use."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from p2p.base.genesis import EconomyRules
from p2p.base.keys import Key, digest
from p2p.ledger.money import collateral
from p2p.ledger.money.accounts import credit
from p2p.ledger.participants import places, sprint
from p2p.ledger.participants.registry import MAX_NODES
from p2p.ledger.rules.ops import Deposit, Unregister, Withdraw
from tests.ledger.account_transactions import (
    ECONOMY,
    WAIT,
    balance,
    lab_of,
    part,
    refused,
    registration,
    signed,
    submit,
)
from tests.ledger.lab import CLIENT, Lab

BOND, FEE = EconomyRules().registration_bond_micro, EconomyRules().registration_fee_micro
LOW = replace(ECONOMY, registration_fee_micro=400)  # an answer of 20 + 10 tokens costs 300, one of 20 + 50 costs 700
NEWCOMER, NODE = Key(b"\x91" * 32), Key(b"\x92" * 32)


def key(what: bytes, number: int) -> Key:
    return Key(digest(b"places", what, number.to_bytes(4, "big")))


def funded(lab: Lab, account: Key, amount: int) -> Key:
    """`account` with this balance, by a transfer from the client."""
    from p2p.ledger.rules.ops import Transfer

    submit(lab, CLIENT, Transfer(account.public, amount))
    if account.public not in lab.accounts:
        lab.accounts.append(account.public)
    return account


def nodes(lab: Lab) -> set[bytes]:
    return {participant.node for participant in lab.view.participants()}


def squat(lab: Lab, count: int) -> list[bytes]:
    """Register `count` nodes, each of its own account with money for one place; in each block as many as it takes.
    Returns the nodes."""
    made = []
    for number in range(count):
        owner = funded(lab, key(b"owner", number), BOND + FEE)
        node = key(b"node", number)
        submit(lab, owner, registration(lab, owner, node))
        made.append(node.public)
        if number % places.MAX_NEW == places.MAX_NEW - 1:
            lab.block()
    lab.block()
    return made


def test_an_account_without_money_gets_no_place() -> None:
    lab = lab_of()
    refused(lab, signed(lab, NEWCOMER, registration(lab, NEWCOMER, NODE)), "balance")
    funded(lab, NEWCOMER, BOND + FEE - 1)
    refused(lab, signed(lab, NEWCOMER, registration(lab, NEWCOMER, NODE)), "balance")
    funded(lab, NEWCOMER, 1)
    submit(lab, NEWCOMER, registration(lab, NEWCOMER, NODE))
    assert NODE.public in nodes(lab)


def test_the_bond_returns_when_the_node_leaves_and_not_before_and_the_fee_is_burnt() -> None:
    lab = lab_of()
    funded(lab, NEWCOMER, 2 * BOND)
    submit(lab, NEWCOMER, registration(lab, NEWCOMER, NODE))
    assert (balance(lab, NEWCOMER.public), part(lab, NODE.public).bond_micro) == (BOND - FEE, BOND)
    assert lab.view.totals().burnt_micro == FEE
    lab.block()
    submit(lab, NEWCOMER, registration(lab, NEWCOMER, NODE, floor=3))
    assert balance(lab, NEWCOMER.public) == BOND - FEE, "another offer costs nothing"
    submit(lab, NEWCOMER, Deposit(NODE.public, 5))
    refused(lab, signed(lab, NEWCOMER, Withdraw(NODE.public, 6)), "amount_micro")
    submit(lab, NEWCOMER, Withdraw(NODE.public, 5))
    submit(lab, NEWCOMER, Unregister(NODE.public))
    lab.block(WAIT + 1)
    assert NODE.public not in nodes(lab)
    assert balance(lab, NEWCOMER.public) == 2 * BOND - FEE


def test_nodes_of_one_account_and_new_ones_of_one_block_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = lab_of()
    for number in range(MAX_NODES):
        submit(lab, CLIENT, registration(lab, CLIENT, key(b"node", number)))
    refused(lab, signed(lab, CLIENT, registration(lab, CLIENT, NODE)), "node")
    monkeypatch.setattr(places, "MAX_NEW", MAX_NODES)
    funded(lab, NEWCOMER, 2 * BOND)
    refused(lab, signed(lab, NEWCOMER, registration(lab, NEWCOMER, NODE)), "node")
    lab.block()
    submit(lab, NEWCOMER, registration(lab, NEWCOMER, NODE))


def test_an_attacker_that_fills_all_places_loses_its_oldest_to_each_newcomer() -> None:
    """1,020 registrations used to close the network. The attacker's bonds are returned, its fees are lost."""
    lab = lab_of(peers=4, epoch_blocks=1000)
    idle = lab.nodes[3]
    # it is in the genesis file, so it cannot be evicted, even without weight
    lab.view.put_participant(replace(part(lab, idle), weight=0))
    squatters = squat(lab, places.MAX_PARTICIPANTS - 4)
    assert len(nodes(lab)) == places.MAX_PARTICIPANTS
    funded(lab, NEWCOMER, BOND + FEE)
    submit(lab, NEWCOMER, registration(lab, NEWCOMER, NODE))
    lab.block()
    gone = set(squatters) - nodes(lab)
    assert len(nodes(lab)) == places.MAX_PARTICIPANTS
    assert NODE.public in nodes(lab)
    assert set(lab.nodes) <= nodes(lab)
    assert len(gone) == 1
    assert gone < set(squatters[: places.MAX_NEW]), "one that registered in the first block"
    owner = key(b"owner", squatters.index(gone.pop())).public
    assert balance(lab, owner) == 0
    lab.block(WAIT)
    assert balance(lab, owner) == BOND, "as long after as with UNREGISTER"
    assert lab.view.totals().burnt_micro == (places.MAX_PARTICIPANTS - 4 + 1) * FEE


def evicted(lab: Lab, stake: int = 70) -> bytes:
    """NODE, registered by NEWCOMER with collateral, in a network whose places are all taken by now."""
    funded(lab, NEWCOMER, BOND + FEE + stake)
    submit(lab, NEWCOMER, registration(lab, NEWCOMER, NODE))
    submit(lab, NEWCOMER, Deposit(NODE.public, stake))
    lab.block()
    for number in range(places.MAX_PARTICIPANTS - len(nodes(lab)) + 1):
        owner = funded(lab, key(b"owner", number), BOND + FEE)
        submit(lab, owner, registration(lab, owner, key(b"node", number)))
    lab.block()
    assert NODE.public not in nodes(lab)
    return NODE.public


@pytest.mark.parametrize("leaving", [False, True])
def test_an_evicted_nodes_money_is_held_as_long_as_when_it_leaves(
    leaving: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an owner could have its node evicted to get the collateral back before it can be slashed."""
    monkeypatch.setattr(places, "MAX_PARTICIPANTS", 12)
    lab = lab_of(epoch_blocks=10_000)
    funded(lab, NEWCOMER, BOND + FEE + 70)
    submit(lab, NEWCOMER, registration(lab, NEWCOMER, NODE))
    submit(lab, NEWCOMER, Deposit(NODE.public, 70))
    begun = lab.height
    if leaving:
        submit(lab, NEWCOMER, Unregister(NODE.public))
    lab.block()
    for number in range(places.MAX_PARTICIPANTS - len(nodes(lab)) + 1):
        owner = funded(lab, key(b"owner", number), BOND + FEE)
        submit(lab, owner, registration(lab, owner, key(b"node", number)))
    evicted = lab.height
    lab.block()
    assert NODE.public not in nodes(lab)
    paid = (begun if leaving else evicted) + WAIT
    lab.block(paid - lab.height)
    assert balance(lab, NEWCOMER.public) == 0
    lab.block()
    assert balance(lab, NEWCOMER.public) == BOND + 70
    assert collateral.held(lab.view, NODE.public) is None


def test_what_an_evicted_node_held_can_be_slashed_and_goes_to_no_other_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MAX_PARTICIPANTS", 12)
    lab = lab_of(epoch_blocks=10_000)
    node = evicted(lab)
    before = lab.view.totals().collateral_micro
    assert collateral.take(lab.view, node, 100) == 100
    assert lab.view.totals().collateral_micro == before - 100
    credit(lab.view, CLIENT.public, 100)
    other = funded(lab, key(b"thief", 0), BOND + FEE)
    refused(lab, signed(lab, other, registration(lab, other, NODE)), "node")
    lab.block(WAIT)
    assert balance(lab, NEWCOMER.public) == BOND + 70 - 100
    submit(lab, other, registration(lab, other, NODE))


@pytest.mark.parametrize("seed", range(3))
def test_only_idle_nodes_are_evicted_the_longest_idle_first(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever registrations come: weight, the genesis file, duties and what clients pay through an agent keep a place.
    Of the others the one that was idle longest is evicted."""
    monkeypatch.setattr(places, "MAX_PARTICIPANTS", 14)
    rng, lab, came = random.Random(seed), lab_of(epoch_blocks=10_000, economy=LOW), dict[bytes, int]()
    agent = Key(b"\x93" * 32)
    submit(lab, CLIENT, registration(lab, CLIENT, agent))
    lab.by_node[agent.public] = agent
    lab.nodes.append(agent.public)
    for number in range(60):
        if number % 4 == 0:  # a client pays more for an answer through the agent than a place costs
            signed_request = lab.start(agent=len(lab.nodes) - 1)
            lab.finish(signed_request.inference_id, tokens=50)
            lab.block(2)
            lab.decide(signed_request.inference_id, lambda _: {})
        owner, node = funded(lab, key(b"owner", number), BOND + FEE), key(b"node", number)
        submit(lab, owner, registration(lab, owner, node))
        came[node.public] = lab.height
        lab.block(rng.randint(1, 3))
        here = nodes(lab)
        assert {*lab.nodes, node.public} <= here, f"seed {seed}"
        assert len(here) <= 14
        left = {at for gone, at in came.items() if gone not in here}
        assert max(left, default=0) <= min(at for there, at in came.items() if there in here), (
            f"seed {seed}: not the longest idle"
        )


def test_enough_fees_of_clients_keep_an_agents_place() -> None:
    lab = lab_of(epoch_blocks=10_000, economy=LOW)
    agent = Key(b"\x93" * 32)
    submit(lab, CLIENT, registration(lab, CLIENT, agent))
    lab.nodes.append(agent.public)
    begun = part(lab, agent.public).active
    for tokens, kept in ((10, False), (30, True)):
        request = lab.start(agent=len(lab.nodes) - 1)
        lab.finish(request.inference_id, tokens=tokens)
        lab.block(2)
        lab.decide(request.inference_id, lambda _: {})
        assert (part(lab, agent.public).active > begun) is kept


def test_fees_that_an_owner_pays_itself_keep_no_place_and_prove_nothing() -> None:
    """Else a thousand squatted places could be kept almost for free, since the fee returns to the owner that pays
    it."""
    for own in (True, False):
        lab = lab_of(epoch_blocks=10_000, economy=LOW)
        agent = Key(b"\x93" * 32)
        submit(lab, CLIENT, registration(lab, CLIENT, agent))
        lab.nodes.append(agent.public)
        begun, account = part(lab, agent.public).active, CLIENT
        request = lab.start(agent=len(lab.nodes) - 1)
        if own:
            account = lab.owners[lab.nodes.index(lab.inference(request.inference_id).candidates[0])]
            request = lab.start(account, agent=len(lab.nodes) - 1)
        executors = lab.inference(request.inference_id).candidates
        mine = next(node for node in executors if (lab.view.owner_of(node) == account.public) is own)
        proven = lab.view.account(account.public).proven_micro
        lab.finish(request.inference_id, mine, tokens=50)
        lab.block(2)
        assert lab.decide(request.inference_id, lambda _: {}).paid_micro
        assert (part(lab, agent.public).active > begun) is not own
        assert (lab.view.account(account.public).proven_micro > proven) is not own


def test_the_search_for_a_place_decodes_no_commitment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commitment to the sprint is free, and a node may make one for each model: their number must not decide what a
    registration costs each peer."""
    lab = lab_of(epoch_blocks=10_000)
    made = squat(lab, 4)
    for model in ("toy", "other"):
        for node in made[:2]:
            lab.view.add_id(b"runs", node + model.encode())
            lab.view.put(b"run/" + node + model.encode(), b"never read")
    monkeypatch.setattr(sprint, "load", lambda *_: pytest.fail("decoded"))
    idle = [one.node for one in places.first_to_go(lab.ctx, 4)]
    assert sorted(idle[:2]) == sorted(made[2:]), "they take part in no sprint: the first to be evicted"
    assert sorted(idle[2:]) == sorted(made[:2])
