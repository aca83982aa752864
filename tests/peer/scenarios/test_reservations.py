"""Twelve accounts with money for one request each, and three agents that do not know of each other. The real executor
and chain; the model is the toy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from p2p.base.body import one_message
from p2p.base.codec import encode
from p2p.base.errors import FolkmootError
from p2p.base.keys import Domain, Key, digest
from p2p.base.serving_limits import MAX_AHEAD, MAX_CANDIDATES
from p2p.base.types import VERSION, Params, RecordKind, Request, SignedRequest, StartRecord
from p2p.base.weighted_draw import draw_executors
from p2p.ledger.rules.ops import Transfer
from p2p.peer.admission import Admission
from p2p.peer.executor import Executor
from p2p.peer.outbox import Outbox
from p2p.wire.frames import Declined, Done, Forward, pack_frame, parse_frame
from tests.lab.attacks.engine import ToyEngine
from tests.ledger.account_transactions import submit
from tests.ledger.lab import CLIENT
from tests.peer.ready import ready
from tests.peer.scenarios.test_newcomer import ChainLab
from tests.peer.scenarios.test_stop import pipe

PROMPT, TOKENS, AGENTS = "hello", 6, 3
PROMPT_MAX = 20


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[ChainLab]:
    lab = ChainLab(tmp_path)
    lab.block(2)
    yield lab
    lab.chain.close()


class Wires:
    """Agents that forward whatever they are given, to executors that answer; `done` are answers that were made, by
    account."""

    def __init__(self, lab: ChainLab) -> None:
        self.lab, self.done, self.refused = lab, list[bytes](), list[str]()
        self.executors = {key.public: self._executor(key) for key in lab.by_node.values()}

    def _executor(self, key: Key) -> Executor:
        outbox = self.lab.outboxes.setdefault(key.public, Outbox(key, self.lab.network))
        admission = Admission(key.public, self.lab.chain, outbox)
        return Executor(key, self.lab.chain, outbox, self.lab.chain.payloads, admission, ready(ToyEngine()))

    def request(self, account: Key, nonce: int, prompt_max: int = PROMPT_MAX) -> SignedRequest:
        lab = self.lab
        body = Request(
            VERSION, lab.network, account.public, nonce, "toy", one_message(PROMPT).hash, Params(),
            prompt_max, TOKENS, 100,
            lab.height + 200, account.public, lab.chain.height(),
        )
        return SignedRequest(body, account.sign(Domain.REQUEST, lab.network, encode(body)))

    async def ask(self, signed: SignedRequest, agent: Key) -> None:
        """Its Start is on its way to the chain while the executor is asked."""
        lab, height = self.lab, self.lab.chain.height()
        beacon = lab.chain.reader.beacon_at(height)
        assert beacon is not None
        drawn = draw_executors(
            beacon, signed.inference_id, lab.chain.reader.serving_at("toy", height), agent.public, MAX_CANDIDATES
        )
        lab.outboxes[agent.public].put(RecordKind.START, StartRecord(signed, agent.public))
        mine, theirs = pipe()
        theirs.peer = agent.peer_id
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve, drawn[0], theirs)
            await mine.send(pack_frame(Forward(VERSION, signed, encode(one_message(PROMPT)), agent.public, b"")))
            while True:
                try:
                    frame = parse_frame(await mine.receive())
                except trio.TooSlowError:
                    continue  # an answer is made in a thread, of which this clock knows nothing
                except FolkmootError:
                    return
                if isinstance(frame, Declined):
                    self.refused.append(frame.reason)
                if isinstance(frame, Done):
                    self.done.append(signed.request.account)

    async def _serve(self, executor: bytes, stream: Any) -> None:
        try:
            frame = parse_frame(await stream.receive())
            assert isinstance(frame, Forward)
            await self.executors[executor].serve(stream, frame)
        except FolkmootError as error:
            self.refused.append(error.message)
        finally:
            await stream.close()


async def test_twelve_accounts_with_money_for_one_request_each_have_twelve_answers(
    lab: ChainLab, autojump_clock: trio.testing.MockClock
) -> None:
    """Seen: 36, one through each agent."""
    escrow = (PROMPT_MAX + TOKENS) * lab.genesis.models[0].price_micro
    accounts = [Key(digest(b"poor", bytes([at]))) for at in range(12)]
    for account in accounts:
        submit(lab, CLIENT, Transfer(account.public, escrow))
        lab.accounts.append(account.public)
    lab.block()
    wires = Wires(lab)
    async with trio.open_nursery() as nursery:
        for account in accounts:
            for at in range(AGENTS):
                nursery.start_soon(wires.ask, wires.request(account, at + 1), lab.keys[at])
        await trio.testing.wait_all_tasks_blocked()
        assert not wires.done, "nothing is made for who has proven nothing before a Start holds the money"
        for _ in range(4):
            lab.block()
            await trio.testing.wait_all_tasks_blocked()
    assert sorted(wires.done) == sorted(account.public for account in accounts), wires.refused


async def test_who_has_proven_itself_is_served_at_once_and_never_for_more_than_that(
    lab: ChainLab, autojump_clock: trio.testing.MockClock
) -> None:
    """The genesis file's client: MAX_AHEAD answers of each executor without a block. All requests have one nonce, so
    one of them can start."""
    wires = Wires(lab)
    rounds = 40
    async with trio.open_nursery() as nursery:
        for at in range(rounds):
            signed = wires.request(CLIENT, 5, PROMPT_MAX + at)
            nursery.start_soon(wires.ask, signed, lab.keys[at % AGENTS])
        await trio.testing.wait_all_tasks_blocked()
    assert 0 < len(wires.done) <= MAX_AHEAD * len(wires.executors)
