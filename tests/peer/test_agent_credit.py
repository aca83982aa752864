"""Whom an executor works for ahead of the chain: an agent's debts are its own, a client's are the client's."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.keys import Domain, Key
from p2p.base.serving_limits import HEIGHTS_APART, MAX_METERED, MAX_UNPAID, MAX_UNSTARTED
from p2p.base.types import VERSION, Batch, Params, Record, RecordKind, Request, SignedBatch, SignedRequest, StartRecord
from p2p.chain.chain import Chain
from p2p.ledger.participants.serving import DRAW_WINDOW
from p2p.peer.agent_credit import FORGOTTEN_AFTER, GOOD_PER_UNPAID, Credit, End
from tests.chain.test_chain import GENESIS, PEERS
from tests.chain.test_chain import request as paid_request
from tests.chains import extend

AGENT, OTHER = b"a" * 32, b"b" * 32
BASE = Request(VERSION, "n", bytes(32), 1, "toy", bytes(32), Params(), 50, 50, 100, 40, bytes(32), 1)


def request(nonce: int, account: bytes = bytes(32)) -> SignedRequest:
    return SignedRequest(replace(BASE, client_nonce=nonce, account=account), bytes(64))


class Lab:
    def __init__(self) -> None:
        self.statuses: dict[int, str] = {}
        self.credit = Credit(lambda signed: self.statuses.get(signed.request.client_nonce, ""))

    def ask(self, nonce: int, account: bytes | None = None, height: int = 10, agent: bytes = AGENT) -> SignedRequest:
        signed = request(nonce, account or nonce.to_bytes(32, "big"))
        self.credit.note(agent, signed, height)
        return signed

    def problem(self, height: int, account: bytes = bytes(32), agent: bytes = AGENT) -> str:
        return self.credit.problem(agent, account, height)


def test_an_agent_that_never_starts_is_worked_for_a_few_times_only() -> None:
    lab = Lab()
    for nonce in range(1, 40):
        lab.ask(nonce)
    assert not lab.problem(10 + DRAW_WINDOW), "they can start still"
    lab.statuses |= dict.fromkeys(range(1, 40 - MAX_UNSTARTED), "FINISHED")
    assert not lab.problem(11 + DRAW_WINDOW), "those that are on chain, however late, are no debt"
    lab.ask(40)
    assert "does not put on chain" in lab.problem(12 + 2 * DRAW_WINDOW)
    assert not lab.problem(12 + 2 * DRAW_WINDOW, agent=OTHER)


def test_an_agent_without_weight_is_forgiven_nothing() -> None:
    lab = Lab()
    lab.credit.has_weight = lambda agent: agent == OTHER
    for agent in (AGENT, OTHER):
        lab.ask(1 if agent == AGENT else 2, agent=agent)
    assert "does not put on chain" in lab.problem(11 + DRAW_WINDOW)
    assert not lab.problem(11 + DRAW_WINDOW, agent=OTHER)


def test_it_is_forgotten_after_a_while_and_little_is_kept() -> None:
    lab = Lab()
    for nonce in range(1, 1000):
        lab.ask(nonce)
    assert len(lab.credit._of[AGENT]) == 64
    assert lab.problem(10 + FORGOTTEN_AFTER)
    assert not lab.problem(11 + FORGOTTEN_AFTER)
    assert not lab.credit._of


@pytest.mark.parametrize(
    "what", ["balance", "client_nonce", "max_price_micro", "request_cap_micro", "signer", "deadline_height"]
)
def test_what_a_client_did_is_not_held_against_its_agent(what: str) -> None:
    """The accuser would be the client: it spends the money through another agent and this one stands there as a
    liar."""
    lab = Lab()
    for nonce in range(1, 60):
        signed = lab.ask(nonce)
        if nonce % (2 * GOOD_PER_UNPAID):
            lab.statuses[nonce] = "VALIDATED"
        else:
            lab.credit.refused(AGENT, signed.inference_id, what, 12)
    assert lab.problem(11 + DRAW_WINDOW) == ""


@pytest.mark.parametrize("what", ["agent", "draw_height"])
def test_what_the_agent_chose_is(what: str) -> None:
    """A Start that comes too late though the draw was new when the work began."""
    lab = Lab()
    for nonce in range(1, MAX_UNSTARTED + 2):
        lab.credit.refused(AGENT, lab.ask(nonce, height=1 + HEIGHTS_APART).inference_id, what, 12)
    assert "does not put on chain" in lab.problem(2 + HEIGHTS_APART + DRAW_WINDOW)


def test_a_start_that_is_late_because_the_client_signed_an_old_height_is_nobodys_doing() -> None:
    lab = Lab()
    for nonce in range(1, 60):
        lab.credit.refused(AGENT, lab.ask(nonce, bytes(32), height=2 + HEIGHTS_APART).inference_id, "draw_height", 40)
    assert lab.problem(3 + HEIGHTS_APART + DRAW_WINDOW) == ""


@pytest.mark.parametrize("what", ["inference_id", "model", "signature", "anything else"])
def test_what_anybody_can_have_done_is_not_held_against_the_client(what: str) -> None:
    """The liar is the agent: a Start that it says twice, or that another put on chain first, made its clients refused
    everywhere."""
    lab, account = Lab(), b"\x07" * 32
    for nonce in range(1, 20):
        lab.credit.refused(AGENT, lab.ask(nonce, account).inference_id, what, 12)
    assert lab.problem(13, account, OTHER) == ""
    lab = Lab()
    for nonce in range(1, 20):
        signed = lab.ask(nonce, account)
        lab.statuses[nonce] = "STARTED"
        # a Start that is there is not refused, whatever is said of a second one
        for field in ("client_nonce", "balance", what):
            lab.credit.refused(AGENT, signed.inference_id, field, 12)
    assert lab.problem(13, account, OTHER) == ""
    lab.statuses |= dict.fromkeys(lab.statuses, "UNCONFIRMED")
    assert "does not put on chain" in lab.problem(13, b"\x08" * 32), "and it hides nothing of the agent's own"


def test_what_another_agent_started_is_not_this_ones_good_work() -> None:
    lab = Lab()
    lab.credit.starter = lambda inference_id: OTHER
    for nonce in range(1, 60):
        lab.ask(nonce)
        lab.statuses[nonce] = "FINISHED"
    assert lab.problem(13) == ""
    assert {work.end for work in lab.credit._of[AGENT]} == {End.NOBODY}


def test_an_account_that_spends_elsewhere_is_refused_through_every_agent() -> None:
    lab, account = Lab(), b"\x07" * 32
    for nonce in range(1, MAX_UNPAID + 2):
        assert not lab.problem(12, account)
        lab.credit.refused(AGENT, lab.ask(nonce, account).inference_id, "balance", 12)
    for agent in (AGENT, OTHER):
        assert "this account spent elsewhere" in lab.problem(13, account, agent)
        assert not lab.problem(13, b"\x08" * 32, agent)
    assert not lab.problem(13 + FORGOTTEN_AFTER, account)


def test_an_agent_that_brings_nothing_but_such_clients_is_refused() -> None:
    """Else money that moves from account to account would be free work for ever."""
    lab = Lab()
    for nonce in range(1, MAX_UNSTARTED + 2):
        assert not lab.problem(12)
        lab.credit.refused(AGENT, lab.ask(nonce).inference_id, "balance", 12)
    assert "too many clients" in lab.problem(12)
    for nonce in range(20, 20 + GOOD_PER_UNPAID):
        lab.ask(nonce)
        lab.statuses[nonce] = "VALIDATED"
    assert not lab.problem(12), "good ones excuse them"


def test_refusals_of_what_was_never_asked_here_say_nothing() -> None:
    lab = Lab()
    for nonce in range(1, 100):
        lab.credit.refused(AGENT, request(nonce).inference_id, "balance", 12)
        # another agent's Start of the same request
        lab.credit.refused(OTHER, lab.ask(nonce).inference_id, "balance", 12)
    assert not lab.credit._unpaid


def test_an_agent_that_does_not_confirm_what_it_streamed_is_refused() -> None:
    """Its client has the answer and the money back (M6); it works at most MAX_UNSTARTED times at one executor."""
    lab = Lab()
    for nonce in range(1, MAX_UNSTARTED + 2):
        lab.ask(nonce)
        lab.statuses[nonce] = "FINISHED"
    assert not lab.problem(40)
    lab.statuses |= dict.fromkeys(lab.statuses, "UNCONFIRMED")
    assert "does not put on chain" in lab.problem(40)


def test_what_left_the_state_stays_good_and_accounts_are_bounded() -> None:
    lab = Lab()
    for nonce in range(1, MAX_UNSTARTED + 2):
        lab.ask(nonce)
        lab.statuses[nonce] = "VALIDATED"
    assert not lab.problem(11 + DRAW_WINDOW)
    lab.statuses.clear()
    assert not lab.problem(12 + DRAW_WINDOW)
    for nonce in range(100, 100 + 2 * MAX_METERED):
        lab.credit.refused(AGENT, lab.ask(nonce).inference_id, "balance", 12)
    assert len(lab.credit._unpaid) == MAX_METERED


def batch_of(key: Key, records: tuple[Record, ...]) -> bytes:
    body = Batch(VERSION, GENESIS.network, key.public, 1, records)
    return encode(SignedBatch(body, key.sign(Domain.TX, GENESIS.network, encode(body))))


def test_the_chain_says_whose_doing_a_refused_start_was(tmp_path: Path) -> None:
    """One account, money for one request, two agents: the second one's Start is refused, and its executor knows why."""
    chain = Chain.open(tmp_path, GENESIS)
    told: list[tuple[bytes, bytes, str, int]] = []
    chain.on_refused_start = lambda *what: told.append(what)
    first, second = list(PEERS)[:2]
    signed = [paid_request(client_nonce=nonce, prompt_tokens_max=8000, max_tokens=1) for nonce in (1, 2)]
    extend(chain, 1, PEERS, lambda height: height * 1000)
    for agent, one in zip((first, second), signed, strict=True):
        chain.pool.add(batch_of(PEERS[agent], (Record(RecordKind.START, encode(StartRecord(one, agent))),)))
    extend(chain, 2, PEERS, lambda height: height * 1000)
    ((agent, inference_id, what, height),) = told
    assert (what, height) == ("balance", 2)
    assert (
        agent, inference_id
    ) in [(agent, one.inference_id) for agent, one in zip((first, second), signed, strict=True)]
    other = next(one for one in signed if one.inference_id != inference_id)
    assert (
        chain.reader.request_status(other), chain.reader.request_status(signed[0] if other is signed[1] else signed[1])
    ) == ("STARTED", "")
    chain.close()


def test_an_agent_that_says_its_starts_twice_makes_nobody_spend_elsewhere(tmp_path: Path) -> None:
    chain = Chain.open(tmp_path, GENESIS)
    credit = Credit(chain.reader.request_status, lambda agent: False)
    chain.on_refused_start = credit.refused
    agent = next(iter(PEERS))
    signed = [paid_request(client_nonce=nonce, prompt_tokens_max=50, max_tokens=1) for nonce in (1, 2, 3)]
    extend(chain, 1, PEERS, lambda height: height * 1000)
    for one in signed:
        credit.note(agent, one, 1)
    twice = tuple(Record(RecordKind.START, encode(StartRecord(one, agent))) for one in signed for _ in (0, 1))
    chain.pool.add(batch_of(PEERS[agent], twice))
    extend(chain, 2, PEERS, lambda height: height * 1000)
    assert [receipt.field for receipt in chain.blocks.receipts(2)] == ["inference_id"] * 3
    assert credit.problem(b"x" * 32, signed[0].request.account, 3) == ""
    chain.close()
