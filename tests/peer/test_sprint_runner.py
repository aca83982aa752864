"""This peer's part of the sprint: real runners, executors, validators and outboxes over a real ledger; the model is the
toy. A network of processes: test_sprint_net.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack
from typing import Any, cast

import trio

from p2p.base.codec import decode, encode, unpack
from p2p.base.errors import FolkmootError, Overloaded
from p2p.base.genesis import CheckRules, Genesis
from p2p.base.keys import Key
from p2p.base.types import RecordKind, SignedBatch, SprintCommit
from p2p.chain.views import inferences as chain_view
from p2p.chain.views import sprint as chain_sprint
from p2p.chain.views.sprint import SprintView, sprint_answer
from p2p.lab import attacks
from p2p.lab.attacks.reckless import Reckless
from p2p.ledger.rules.parameters import checks
from p2p.peer.admission import Admission
from p2p.peer.executor import Executor
from p2p.peer.outbox import Outbox
from p2p.peer.sprint_runner import SprintRunner
from p2p.peer.validator import Validator, stored_payload
from p2p.verification.engine import Engine, Job, TokenStep
from p2p.verification.profile import Profile
from p2p.wire.failures import failure
from p2p.wire.frames import PayloadWanted, pack_frame, parse_frame
from tests.lab.attacks.engine import ToyEngine
from tests.ledger.sprint_lab import RULES, SprintLab
from tests.peer.ready import ready
from tests.verification import toy

PROFILE = Profile("toy", "00", {}, 500, {"vllm-cpu-bf16>vllm-cpu-bf16": toy.calibrated()})
MAKING = 3  # heights of the lab's sprint in which answers are made


class Gate(ToyEngine):
    """Makes as many answers as it is allowed to, then waits."""

    def __init__(self) -> None:
        super().__init__()
        self.allowed = trio.Semaphore(0)

    async def generate(self, job: Job) -> AsyncIterator[TokenStep]:
        await self.allowed.acquire()
        async for step in super().generate(job):
            yield step


class PeerChain:
    """One peer's chain: the lab's state, its own store."""

    reader = payloads = property(lambda self: self)

    def __init__(self, lab: SprintLab) -> None:
        self.lab, self.kept = lab, dict[bytes, bytes]()

    @property
    def genesis(self) -> Genesis:
        return self.lab.genesis

    def height(self) -> int:
        return self.lab.height - 1

    def sprint_view(self, node: bytes, model: str) -> SprintView | None:
        return chain_sprint.sprint_view(self.lab.ctx, node, model)

    def read(self, key: bytes) -> bytes | None:
        return self.kept.get(key)

    def put(self, key: bytes, raw: bytes) -> None:
        self.kept[key] = raw

    def drop(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            self.kept.pop(key, None)

    def answers(self) -> set[bytes]:
        return {key for key in self.kept if len(key) == 32}

    def pending_duties(self, node: bytes) -> list[chain_view.Duty]:
        return chain_view.duties(self.lab.view, node)

    def claim(self, inference_id: bytes) -> chain_view.Claim | None:
        return chain_view.claim(self.lab.view, inference_id)

    def checks(self) -> CheckRules:
        return checks(self.lab.view, self.genesis)


class FullOutbox(Outbox):
    def put(self, kind: RecordKind, body: object) -> None:
        raise Overloaded("too many records wait", field="records")


class Peer:
    """rate: answers it may make at each height; none without."""

    def __init__(self, net: Net, key: Key, rate: int = 0, cheat: str = "") -> None:
        self.net, self.key, self.rate = net, key, rate
        self.make = Reckless if cheat else Executor
        self.chain, self.gate = PeerChain(net.lab), Gate()
        self.engine: Engine = attacks.get(cheat).wrap(self.gate, ToyEngine()) if cheat else self.gate
        self.start()

    def start(self) -> None:
        """The process begins: only the store is as it was."""
        chain: Any = self.chain
        self.outbox = Outbox(self.key, self.net.lab.network)
        admission = Admission(self.key.public, chain, self.outbox)
        mine = ready(self.engine) if self.rate else None
        self.executor = self.make(self.key, chain, self.outbox, chain, admission, mine)
        self.runner = SprintRunner(self.key, chain, self.outbox, self.executor, "toy", 4)
        self.validator = Validator(
            self.key, self.net.lab.network, chain, self.outbox, cast(Any, self.net.open_stream),
            ready(ToyEngine()), profile=PROFILE,
        )

    async def height(self, nursery: trio.Nursery) -> None:
        await self.runner.on_height(nursery)
        attempt = self.runner._attempt
        if attempt is not None and self.rate:
            made = len(attempt.made)
            for _ in range(self.rate):
                self.gate.allowed.release()
            while len(attempt.made) < made + self.rate:
                await trio.sleep(0)
        async with trio.open_nursery() as duties:
            await self.validator.on_height(duties)

    def records(self) -> list[tuple[RecordKind, bytes]]:
        sent = self.outbox.due(0, 0)
        self.outbox.due(1 << 60, 0)  # a block has them
        return [(record.kind, record.body) for raw in sent for record in unpack(SignedBatch, raw).batch.records]


class Net:
    """Peers over one ledger. sent: (height, node, kind, body) of every record that reached it."""

    def __init__(self, rates: list[int], cheats: dict[int, str] | None = None) -> None:
        self.lab = SprintLab(len(rates), validation_window=5)
        self.peers = [Peer(self, key, rate, (cheats or {}).get(at, "")) for at, (key, rate) in enumerate(
            zip(self.lab.keys, rates, strict=True)
        )]
        self.sent: list[tuple[int, bytes, RecordKind, bytes]] = []

    async def open_stream(self, peer: str, protocol: str) -> Any:
        assert protocol == "payload"
        return PayloadStream(self, next(one for one in self.peers if one.key.peer_id == peer))

    async def to(self, nursery: trio.Nursery, height: int) -> None:
        """Until the top is `height`: everybody acts, then its records are in the next block."""
        while self.lab.height <= height:
            for peer in self.peers:
                await peer.height(nursery)
            self.deliver()
            self.lab.block()

    def deliver(self) -> None:
        for peer in self.peers:
            for kind, body in peer.records():
                self.sent.append((self.lab.height, peer.key.public, kind, body))
                self.lab.put(peer.key.public, kind, unpack_any(kind, body))

    def commits(self, peer: Peer) -> list[SprintCommit]:
        return [
            unpack(SprintCommit, body) for _, node, kind, body in self.sent
            if kind is RecordKind.SPRINT_COMMIT and node == peer.key.public
        ]

    async def run(self, act: Callable[[trio.Nursery], Any]) -> None:
        with trio.fail_after(100):
            async with trio.open_nursery() as nursery:
                await act(nursery)
                nursery.cancel_scope.cancel()


class PayloadStream:
    def __init__(self, net: Net, peer: Peer) -> None:
        self.net, self.peer, self.answer = net, peer, b""

    async def send(self, data: bytes) -> None:
        frame = parse_frame(data)
        assert isinstance(frame, PayloadWanted)
        raw = self.peer.chain.payloads.read(frame.inference_id)
        missing = failure(FolkmootError("no such payload here", field="inference_id"))
        self.answer = pack_frame(stored_payload(raw) if raw else missing)

    async def receive(self, **_: Any) -> bytes:
        return self.answer

    async def close(self) -> None: ...


def unpack_any(kind: RecordKind, body: bytes) -> object:
    assert encode(decode(body)) == body
    return decode(body)


async def test_a_race_is_run_checked_by_real_validators_and_becomes_the_weights() -> None:
    net = Net([20, 5, 10, 0, 0], {2: "wrong_seed"})
    fast, slow, cheat, idle, _ = net.peers
    lab = net.lab

    async def act(nursery: trio.Nursery) -> None:
        await net.to(nursery, lab.times.draw + 1)
        assert [lab.run(peer.key.public).count for peer in net.peers[:3]] == [rate * MAKING for rate in (20, 5, 10)]
        for peer in net.peers[:3]:
            drawn = {one.inference_id for one in lab.run(peer.key.public).opened}
            assert len(drawn) == RULES.samples
            assert peer.chain.answers() == drawn, "the others' payloads are gone"
        found = sprint_answer(lab.ctx)
        assert found.phase == "open"
        await net.to(nursery, lab.genesis.epoch_blocks - 1)
        found = sprint_answer(lab.ctx)
        rows = {row.node: row for row in cast(Any, found.runs)}
        mine = rows[fast.key.public.hex()]
        assert (
            mine.count, mine.samples, mine.opened, mine.checked, mine.refused, mine.withheld
        ) == (60, 3, 3, 3, 0, 0)
        assert rows[cheat.key.public.hex()].refused == 3
        nexts = {row.node: row.weight_next for row in cast(Any, found.participants)}
        await net.to(nursery, lab.genesis.epoch_blocks)
        assert {node.hex(): lab.weight(node) for node in lab.nodes} == nexts
        answers = [lab.inference(opened.inference_id) for opened in lab.run(fast.key.public).opened]
        lengths = [one.finish.record.output_tokens for one in answers if one.finish]
        assert lab.weight(
            fast.key.public
        ) == 60 * sum(lengths) // 3 // RULES.unit_tokens > lab.weight(slow.key.public) > 5
        assert (lab.weight(cheat.key.public), lab.weight(idle.key.public)) == (0, 5)
        assert dict(lab.set()).keys() == {peer.key.public for peer in net.peers} - {cheat.key.public}

    await net.run(act)
    found = lab.view.participant(cheat.key.public)
    assert found is not None
    assert found.strikes == 3
    assert all(len(net.commits(peer)) == 1 for peer in net.peers[:3])


async def test_a_restart_before_the_commitment_left_says_the_same() -> None:
    net = Net([6, 0])
    peer, lab = net.peers[0], net.lab

    async def act(nursery: trio.Nursery) -> None:
        await net.to(nursery, lab.times.first + MAKING)
        await peer.runner.on_height(nursery)  # it binds itself and puts the record; then it dies
        (kind, body), = peer.records()
        assert kind is RecordKind.SPRINT_COMMIT
        peer.start()
        await net.to(nursery, lab.times.draw + 1)
        assert net.commits(peer) == [unpack(SprintCommit, body)]
        assert len(lab.run(peer.key.public).opened) == 3, "and it can open"

    await net.run(act)


async def test_a_restart_in_mid_race_begins_anew_and_commits_once() -> None:
    net = Net([6, 0])
    peer, lab = net.peers[0], net.lab

    async def act(nursery: trio.Nursery) -> None:
        await net.to(nursery, lab.times.first + 1)
        peer.gate = peer.engine = Gate()
        peer.start()
        await net.to(nursery, lab.times.draw + 1)
        assert [commit.count for commit in net.commits(peer)] == [6 * (MAKING - 1)]
        assert len(lab.run(peer.key.public).opened) == 3

    await net.run(act)


async def test_a_restart_after_the_draw_opens_what_is_left() -> None:
    net = Net([6, 0])
    peer, lab = net.peers[0], net.lab

    async def act(nursery: trio.Nursery) -> None:
        await net.to(nursery, lab.times.draw)
        first, *_ = lab.drawn_of(peer.key.public)
        await peer.runner.on_height(nursery)
        kind, body = peer.records()[0]
        lab.put(peer.key.public, kind, unpack_any(kind, body))
        assert [one.index for one in lab.run(peer.key.public).opened] == [first]
        peer.start()
        await net.to(nursery, lab.times.end)
        assert sorted(one.index for one in lab.run(peer.key.public).opened) == sorted(lab.drawn_of(peer.key.public))

    await net.run(act)


async def test_clients_requests_go_first() -> None:
    net = Net([6, 0])
    peer, lab = net.peers[0], net.lab

    async def act(nursery: trio.Nursery) -> None:
        await net.to(nursery, lab.times.first)
        clients = ExitStack()
        for _ in range(4):
            clients.enter_context(peer.executor.admission.places.hold())
        peer.rate = 0
        await peer.height(nursery)
        attempt = peer.runner._attempt
        assert attempt is not None
        for _ in range(10):
            peer.gate.allowed.release()
        await trio.sleep(0.2)  # nothing to await: the point is that nothing begins
        assert (attempt.begun, attempt.running) == (0, 0)
        clients.close()
        for _ in range(2):
            clients.enter_context(peer.executor.admission.places.hold())
        while len(attempt.made) < 10:
            assert attempt.running <= 2
            await trio.sleep(0)

    await net.run(act)


async def test_what_cannot_be_said_in_time_is_dropped_and_a_full_outbox_only_waits() -> None:
    net = Net([6, 0])
    peer, lab = net.peers[0], net.lab
    room = peer.outbox

    async def act(nursery: trio.Nursery) -> None:
        peer.runner.outbox = FullOutbox(peer.key, peer.chain.genesis.network)
        await net.to(nursery, lab.times.close - 1)
        assert peer.chain.answers()
        assert net.commits(peer) == []
        peer.runner.outbox = room
        await net.to(nursery, lab.times.close)
        assert len(net.commits(peer)) == 1, "the last block that takes it"
        await net.to(nursery, lab.times.first + lab.genesis.epoch_blocks - 1)
        peer.runner.outbox = FullOutbox(peer.key, peer.chain.genesis.network)
        await net.to(nursery, lab.times.draw)
        assert len(net.commits(peer)) == 1
        assert {
            chain_view.claim(lab.view, one) is None for one in peer.chain.answers()
        } == {False}, "only the last sprint's drawn ones"

    await net.run(act)


async def test_who_may_not_race_or_has_no_engine_answers_nothing() -> None:
    net = Net([0, 0])

    async def act(nursery: trio.Nursery) -> None:
        await net.to(nursery, net.lab.times.draw + 1)

    await net.run(act)
    assert net.sent == []
