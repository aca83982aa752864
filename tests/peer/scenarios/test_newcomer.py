"""A client that has the genesis file and nothing else, and a peer that is not in it: registered live, weight from a
sprint. The real client, agent, executor and chain over streams in memory; the model is the toy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from p2p.base.body import one_message
from p2p.base.codec import decode, encode
from p2p.base.errors import FolkmootError
from p2p.base.keys import Domain, Key
from p2p.base.serving_limits import MAX_CANDIDATES
from p2p.base.types import VERSION, Batch, Record, RecordKind, SignedBatch
from p2p.base.weighted_draw import WeightedDraw, draw_executors
from p2p.chain.account_transactions import AccountTransactions
from p2p.chain.chain import Chain
from p2p.chain.queries import Queries
from p2p.client.ask import ask_over
from p2p.client.draw_check import DrawCheck, Known
from p2p.client.events import Accepted, Done, Event, Token, Trying
from p2p.client.known_prices import KnownPrices
from p2p.client.question import Endpoint, Overrides, Payer, Question
from p2p.consensus.certificates import commit_certificate
from p2p.consensus.header import make_block
from p2p.consensus.messages import Vote, VoteType, sign_vote
from p2p.consensus.validators import ValidatorSet, load_priorities, proposer
from p2p.ledger.state.view import View
from p2p.peer.admission import Admission
from p2p.peer.agent import Agent
from p2p.peer.executor import Executor
from p2p.peer.outbox import Outbox
from p2p.wire.failures import failure
from p2p.wire.frames import Answer, Ask, Forward, Query, pack_frame, parse_frame
from tests.chains import next_priorities
from tests.lab.attacks.engine import ToyEngine
from tests.ledger.lab import CLIENT
from tests.ledger.sprint_lab import SprintLab, join
from tests.net_lab import only
from tests.peer.ready import ready
from tests.peer.scenarios.test_stop import pipe

COUNTS = (10, 20, 30)  # answers of the first peers in the sprint; the others are away
MINE = 60  # the newcomer's


class ChainLab(SprintLab):
    """The sprint's lab on a real chain: its records travel in batches, its blocks have headers and certificates.
    outboxes: of real agents and executors, by node."""

    def __init__(self, directory: Path) -> None:
        super().__init__(6)
        self.chain = Chain.open(directory, self.genesis)
        self.records: dict[bytes, list[Record]] = {}
        self.outboxes: dict[bytes, Outbox] = {}
        self._look()

    def _look(self) -> None:
        self.view, self.height = View(lambda key: self.chain.store.read("state", key)), self.chain.height() + 1

    def put(self, sender: bytes, kind: RecordKind, body: object) -> None:
        super().put(sender, kind, body)
        self.records.setdefault(sender, []).append(Record(kind, encode(body)))

    def block(self, count: int = 1) -> None:
        for _ in range(count):
            for raw in self._batches():
                self.chain.pool.add(raw)
            self._decide()
            refused = {receipt.sender for receipt in self.chain.blocks.receipts(self.chain.height())}
            assert refused <= self.outboxes.keys(), "agent and executor both send the finish, and one comes second"
            self._look()

    def _batches(self) -> Iterator[bytes]:
        for sender, records in self.records.items():
            batch = Batch(VERSION, self.network, sender, self.chain.reader.batch_nonce(sender) + 1, tuple(records))
            yield encode(SignedBatch(batch, self.by_node[sender].sign(Domain.TX, self.network, encode(batch))))
        for node, outbox in self.outboxes.items():
            yield from (
                () if node in self.records else outbox.due(self.chain.reader.batch_nonce(node), self.chain.height())
            )
        self.records = {}

    def _decide(self) -> None:
        members, at = ValidatorSet.of(self.chain.validators()), self.chain.height() + 1
        key = self.by_node[proposer(members, load_priorities(self.chain.priorities(), members), 0)]
        block = make_block(self.chain, key, self.network, 0, at * 1000, ())
        votes = [
            sign_vote(self.by_node[k], Vote(self.network, VoteType.PRECOMMIT, at, 0, block.block_id, -1, k))
            for k, _ in members.members
        ]
        assert self.chain.validate(block)
        self.chain.finalize(block, commit_certificate(votes, at, 0, block.block_id), next_priorities(self.chain))


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ChainLab, Key]]:
    """A network in whose second epoch a newcomer has most of the weight, in draws and in votes on blocks."""
    lab = ChainLab(tmp_path_factory.mktemp("chain"))
    lab.to_commit()
    new = join(lab, 1, lab.owners[5])
    lab.block()  # only participants have batches
    lab.whole_sprint({**dict(zip(lab.nodes, COUNTS, strict=False)), new: MINE})
    assert lab.weight(new) == dict(lab.chain.validators())[new] == MINE
    assert new not in {peer.node for peer in lab.genesis.peers}
    lab.block(2)
    yield lab, lab.by_node[new]
    lab.chain.close()


class Wire:
    """What the client sees of the network: one agent's streams. All peers execute."""

    def __init__(self, lab: ChainLab, agent: Key, nursery: trio.Nursery) -> None:
        self.lab, self.nursery = lab, nursery
        self.agent = Agent(agent, lab.chain, self._outbox(agent), self._to_executor)
        self.queries = Queries(lab.chain, dict, tuple, AccountTransactions(lab.chain).fate)

    def _outbox(self, key: Key) -> Outbox:
        return self.lab.outboxes.setdefault(key.public, Outbox(key, self.lab.network))

    async def open_stream(self, peer: str, protocol: str) -> Any:
        assert peer == self.agent.key.peer_id
        mine, theirs = pipe()
        self.nursery.start_soon({"query": self._answer, "infer": self._agent}[protocol], theirs)
        return mine

    async def _answer(self, stream: Any) -> None:
        frame = parse_frame(await stream.receive())
        assert isinstance(frame, Query)
        try:
            await stream.send(pack_frame(Answer(encode(self.queries.answer_public(decode(frame.body))))))
        except FolkmootError as error:
            await stream.send(pack_frame(failure(error)))

    async def _agent(self, stream: Any) -> None:
        frame = parse_frame(await stream.receive())
        assert isinstance(frame, Ask)
        await self.agent.serve(stream, frame)

    async def _to_executor(self, peer: str, protocol: str) -> Any:
        assert protocol == "infer"
        mine, theirs = pipe()
        theirs.peer = self.agent.key.peer_id
        key = next(key for key in self.lab.by_node.values() if key.peer_id == peer)
        self.nursery.start_soon(self._execute, key, theirs)
        return mine

    async def _execute(self, key: Key, stream: Any) -> None:
        frame = parse_frame(await stream.receive())
        assert isinstance(frame, Forward)
        chain, outbox = self.lab.chain, self._outbox(key)
        admission = Admission(key.public, chain, outbox)
        await Executor(key, chain, outbox, chain.payloads, admission, ready(ToyEngine())).serve(stream, frame)


async def ask(
    lab: ChainLab, agent: Key, executor: bytes | None = None, prices: KnownPrices | None = None
) -> list[Event]:
    """Events. The client knows the genesis file and the agent's address; a block is decided while the answer is on its
    way."""
    to = Endpoint(f"/ip4/127.0.0.1/tcp/1/p2p/{agent.peer_id}", lab.genesis)
    question, payer = Question("toy", one_message("hello"), max_tokens=8), Payer(CLIENT, known_prices=prices)
    events: list[Event] = []
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            wire: Any = Wire(lab, agent, nursery)
            async for event in ask_over(wire, to, question, payer, Overrides(choose_executor=executor)):
                if isinstance(event, Token) and not any(isinstance(one, Token) for one in events):
                    lab.block()
                events.append(event)
    return events


async def test_a_peer_that_is_not_in_the_genesis_file_is_drawn_and_its_answer_is_checked(
    joined: tuple[ChainLab, Key], tmp_path: Path
) -> None:
    lab, new = joined
    prices = KnownPrices(tmp_path / "prices")
    events = await ask(lab, lab.keys[0], new.public, prices)
    accepted, receipt = only(Accepted, events), only(Done, events).receipt
    assert only(Trying, events).node == new.public
    assert (receipt.executor, receipt.problems, receipt.checked) == (new.public, (), True)
    assert prices.get("toy") == lab.chain.reader.price_micro("toy"), "proved on the way"
    assert receipt.draw is Known.PROVED, (
        "the set is in a state that a header stands for, and that header follows from the genesis file"
    )
    of_old = WeightedDraw(sorted((peer.node, peer.weight) for peer in lab.genesis.peers))
    alone = draw_executors(accepted.beacon, receipt.inference_id, of_old, lab.nodes[0], MAX_CANDIDATES)
    assert alone != accepted.candidates, "the genesis file alone gives another draw"
    lab.block(3)
    lab.judge([receipt.inference_id])
    found = lab.inference(receipt.inference_id)
    assert (found.status, found.finish and found.finish.record.executor) == ("VALIDATED", new.public)
    assert found.paid_micro > 0, "used, checked and booked as any other"


async def test_it_can_be_asked_as_well(joined: tuple[ChainLab, Key]) -> None:
    """As the agent: whoever knows its address, from a friend or from the discovery."""
    lab, new = joined
    receipt = only(Done, await ask(lab, new)).receipt
    assert (receipt.agent, receipt.problems, receipt.draw) == (new.public, (), Known.PROVED)
    assert receipt.executor in set(lab.nodes) - {new.public}


async def test_a_set_of_the_genesis_file_is_not_taken_for_the_one_of_now(
    joined: tuple[ChainLab, Key], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that drew from what it knew in the beginning would call an honest agent a liar: this one does not, and
    would be seen here."""
    lab, new = joined
    look = DrawCheck.look

    async def from_genesis(self: DrawCheck, question: Any, peer: str) -> None:
        await look(self, question, peer)
        self.serving = WeightedDraw(sorted((peer.node, peer.weight) for peer in self.genesis.peers))

    monkeypatch.setattr(DrawCheck, "look", from_genesis)
    prices = KnownPrices(tmp_path / "prices")
    receipt = only(Done, await ask(lab, lab.keys[0], new.public, prices)).receipt
    assert prices.get("toy") is None, "nothing is kept of an answer with problems"
    assert receipt.problems == ("the draw is not what beacon, inference id and serving set give",)
