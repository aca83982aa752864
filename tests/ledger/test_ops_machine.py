"""Random account transactions in random order: money is conserved, a refused transaction changes no byte, and every
index agrees with the records."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError
from p2p.base.keys import Key
from p2p.base.types import RecordKind
from p2p.ledger.genesis import check_conservation
from p2p.ledger.governance import MAX_CLOSED, MAX_OPEN, proposals
from p2p.ledger.money.accounts import MAX_HOT_KEYS, limits
from p2p.ledger.money.collateral import MAX_WITHDRAWALS, at_stake
from p2p.ledger.participants.registry import nodes_of
from p2p.ledger.rules.ops import (
    Appeal,
    Body,
    Cap,
    ChangeEconomy,
    Delegate,
    Deposit,
    Propose,
    Revoke,
    Transfer,
    Unregister,
    Vote,
    Withdraw,
    sign_op,
)
from tests.ledger.account_transactions import lab_of, registration, rotation
from tests.ledger.lab import CLIENT

PEERS = 4
SPARE = [Key(bytes([200 + i]) * 32) for i in range(4)]
amounts = st.integers(1, 3 * 10**8)
anyone, any_node = st.integers(0, PEERS), st.integers(0, PEERS + len(SPARE) - 1)


class AccountTransactions(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.lab = lab_of(peers=PEERS, epoch_blocks=10)
        self.keys = [*self.lab.keys, *SPARE]
        self.people = [*self.lab.owners, CLIENT]
        self.asked: list[bytes] = []
        self.lab.block()

    def say(self, who: int, body: Body, nonce: int = 0) -> bool:
        key, lab = self.people[who], self.lab
        op = sign_op(key, lab.network, nonce or lab.view.account(key.public).nonce_high + 1, body)
        before = dict(lab.view.changes)
        try:
            lab.put(lab.nodes[0], RecordKind.OP, op)
        except FolkmootError as error:
            field = error.field
        else:
            lab.nonces[key.public] = lab.view.account(key.public).nonce_high
            return True
        assert field, "it names the field"
        assert lab.view.changes == before, "a refused transaction changes nothing"
        return False

    @rule(who=anyone, to=anyone, amount=amounts, nonce=st.sampled_from([0, 0, 0, 1, 2, 5]))
    def transfer(self, who: int, to: int, amount: int, nonce: int) -> None:
        self.say(who, Transfer(self.people[to].public, amount), nonce)

    @rule(who=anyone, node=any_node, amount=amounts, back=st.booleans())
    def collateral(self, who: int, node: int, amount: int, back: bool) -> None:
        self.say(who, (Withdraw if back else Deposit)(self.keys[node].public, amount))

    @rule(node=any_node, amount=amounts, new=any_node, then=st.sampled_from(["wait", "leave", "rotate"]))
    def by_its_owner(self, node: int, amount: int, new: int, then: str) -> None:
        """Transactions that would mostly be refused if the account were random."""
        key = self.keys[node]
        owner = self.lab.view.owner_of(key.public)
        who = next((at for at, one in enumerate(self.people) if one.public == owner), 0)
        if self.say(who, Deposit(key.public, amount)):
            self.say(who, Withdraw(key.public, amount // 2 + 1))
        if then == "leave":
            self.say(who, Unregister(key.public))
        elif then == "rotate":
            self.say(who, rotation(self.lab, self.people[who], key, self.keys[new]))

    @rule(who=anyone, node=any_node)
    def register(self, who: int, node: int) -> None:
        self.say(who, registration(self.lab, self.people[who], self.keys[node]))

    @rule(who=anyone, node=any_node)
    def unregister(self, who: int, node: int) -> None:
        self.say(who, Unregister(self.keys[node].public))

    @rule(who=anyone, node=any_node, new=any_node)
    def rotate(self, who: int, node: int, new: int) -> None:
        old = self.keys[node]
        if self.say(who, rotation(self.lab, self.people[who], old, self.keys[new])):
            assert not self.say(who, registration(self.lab, self.people[who], old)), (
                "a rotated key never comes back"
            )

    @rule(who=anyone, key=st.integers(0, 12), cap=amounts, expires=st.integers(1, 60), drop=st.booleans())
    def hot(self, who: int, key: int, cap: int, expires: int, drop: bool) -> None:
        public = bytes([key]) * 32
        self.say(who, Revoke(public) if drop else Delegate(public, cap, cap, expires))

    @rule(who=anyone, cap=st.sampled_from([0, 500, 1000, 10**9]))
    def cap(self, who: int, cap: int) -> None:
        self.say(who, Cap(cap, cap))

    @rule(who=anyone, wait=st.integers(0, 9))
    def propose(self, who: int, wait: int) -> None:
        self.say(who, Propose(ChangeEconomy((("withdraw_wait", wait),))))

    @rule(who=anyone, data=st.data())
    def vote(self, who: int, data: Any) -> None:
        known = proposals(self.lab.view)
        if known:
            self.say(who, Vote(data.draw(st.sampled_from(known))[0], data.draw(st.booleans())))

    @rule()
    def ask(self) -> None:
        before = dict(self.lab.view.changes)
        try:
            self.asked.append(self.lab.start(deadline=5).inference_id)
        except FolkmootError:
            assert self.lab.view.changes == before
            self.lab.nonces[CLIENT.public] = self.lab.view.account(CLIENT.public).nonce_high

    @rule(who=anyone, data=st.data())
    def appeal(self, who: int, data: Any) -> None:
        """There is no lost dispute here, so it is always refused; appeals are tested in test_appeals.py and
        test_open_disputes.py."""
        if self.asked:
            assert not self.say(who, Appeal(data.draw(st.sampled_from(self.asked))))

    @rule(count=st.integers(1, 12))
    def blocks(self, count: int) -> None:
        self.lab.block(count)  # conservation is asserted after each

    @invariant()
    def all_is_well(self) -> None:
        view = self.lab.view
        assert check_conservation(view, self.lab.accounts)
        everybody = view.participants()
        assert [p.node for p in everybody] == view.ids(b"parts") == sorted(view.ids(b"parts")), (
            "no index entry without its participant"
        )
        assert view.totals().collateral_micro == sum(at_stake(p) for p in everybody)
        assert all(len(p.withdrawals) <= MAX_WITHDRAWALS for p in everybody)
        owned = [p for key in self.people for p in nodes_of(view, key.public)]
        assert sorted(encode(p) for p in owned) == sorted(encode(p) for p in everybody), "one account each"
        for key in self.people:
            assert view.ids(b"nodes/" + key.public) == [p.node for p in nodes_of(view, key.public)], "only current keys"
        assert all(len(limits(view, key.public).hot) <= MAX_HOT_KEYS for key in self.people)
        assert len(proposals(view)) <= MAX_OPEN + MAX_CLOSED + 1


TestOrders = AccountTransactions.TestCase
TestOrders.settings = settings(
    # the machine may be busy
    deadline=None, max_examples=25, stateful_step_count=30, suppress_health_check=list(HealthCheck),
)
