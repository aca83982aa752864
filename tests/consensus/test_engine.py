"""The engine over an in-process hub and a jumping clock: it decides with one peer down, halts with two, and never signs
twice after a crash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.testing

from p2p.base.codec import encode
from p2p.base.errors import RemoteProtocolError, StorageError, Unavailable
from p2p.base.keys import Key, digest
from p2p.base.merkle import leaf_hash
from p2p.base.outcome import Outcome
from p2p.base.resumable import Resumable
from p2p.consensus.certificates import verify_commit
from p2p.consensus.engine import ConsensusEngine, Fetch, no_fetch, now_ms
from p2p.consensus.guard import GuardRecord, may_sign
from p2p.consensus.messages import Block, CommitCertificate
from p2p.consensus.timing import Timing
from p2p.consensus.validators import ValidatorSet
from p2p.consensus.vote_frames import Bundle, Proposed, parse_frame

KEYS = sorted((Key(bytes([i]) * 32) for i in range(1, 5)), key=lambda k: k.public)
SET = tuple((k.public, 1) for k in KEYS)


class App:
    """A chain whose state is the hash of all blocks."""

    def __init__(self) -> None:
        self.blocks: list[tuple[Block, CommitCertificate]] = []
        self.state, self.order = bytes(32), b""

    def height(self) -> int:
        return len(self.blocks)

    def app_hash(self) -> bytes:
        return self.state

    def beacon(self) -> bytes:
        return self.blocks[-1][0].header.beacon if self.blocks else bytes(32)

    def last_block_id(self) -> bytes:
        return self.blocks[-1][0].block_id if self.blocks else bytes(32)

    def last_commit(self) -> CommitCertificate | None:
        return self.blocks[-1][1] if self.blocks else None

    def last_time_ms(self) -> int:
        return self.blocks[-1][0].header.time_ms if self.blocks else 0

    def validators(self) -> tuple[tuple[bytes, int], ...]:
        return SET

    def last_validators(self) -> tuple[tuple[bytes, int], ...]:
        return SET

    def punished(self) -> frozenset[bytes]:
        return frozenset()

    def next_validators(self) -> tuple[tuple[bytes, int], ...]:
        return SET

    def priorities(self) -> bytes:
        return self.order

    def prepare(self, max_bytes: int) -> tuple[bytes, ...]:
        del max_bytes
        return ()

    def precheck(self, block: Block) -> Resumable[None]:
        yield

    def validate(self, block: Block) -> bool:
        return not block.txs

    def find(self, leaf: bytes) -> bytes | None:
        return None

    def execute(self, block: Block, priorities: bytes) -> Resumable[None]:
        yield

    def finalize(self, block: Block, commit: CommitCertificate, priorities: bytes) -> None:
        assert verify_commit(commit, "sim", ValidatorSet.of(SET))
        self.blocks.append((block, commit))
        self.state, self.order = digest(self.state, block.block_id), priorities


class Guard:
    """A GuardLog in memory; fail_after: how many writes succeed."""

    def __init__(self) -> None:
        self.last: GuardRecord | None = None
        self.log: dict[int, list[bytes]] = {}
        self.signed: dict[tuple[int, int, int], bytes] = {}
        self.fail_after = 10**9

    def load(self) -> GuardRecord | None:
        return self.last

    def inputs(self, height: int) -> list[bytes]:
        return list(self.log.get(height, []))

    def record(self, height: int, inputs: Sequence[bytes], guard: GuardRecord | None) -> None:
        self.fail_after -= 1
        if self.fail_after < 0:
            raise StorageError("full", field="store", code="disk_full")
        self.log.setdefault(height, []).extend(inputs)
        if guard is not None:
            assert may_sign(self.last, guard)
            place = (guard.height, guard.round, guard.step)
            assert self.signed.setdefault(place, guard.sign_bytes) == guard.sign_bytes, "signed twice"
            self.last = guard

    def is_held(self, height: int) -> bool:
        return False

    def prune(self, height: int) -> None:
        self.log.pop(height, None)


class Hub:
    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.apps, self.guards = [App() for _ in KEYS], [Guard() for _ in KEYS]
        self.engines: dict[int, tuple[ConsensusEngine, trio.CancelScope]] = {}
        self.sent: list[bytes] = []  # proposals, and frames of votes
        self.fetch: Fetch = no_fetch

    async def start(self, who: int) -> None:
        async def publish(topic: str, data: bytes) -> None:
            self.sent.append(data)
            for other, (engine, _) in list(self.engines.items()):
                if other != who:
                    assert engine.deliver(KEYS[who].peer_id, topic, data) is not Outcome.REJECT

        def clock() -> int:
            return 1_000_000 + round(trio.current_time() * 1000) % 10**9

        scope = trio.CancelScope()
        timing = Timing(block_interval_ms=100, empty_block_interval_ms=200)
        engine = ConsensusEngine(
            key=KEYS[who], network="sim", app=self.apps[who], guard=self.guards[who], publish=publish, timing=timing,
            clock=clock, find_tx=self.apps[who].find, fetch=self.fetch,
        )
        self.engines[who] = (engine, scope)

        async def run() -> None:
            with scope:
                await engine.run()

        self.nursery.start_soon(run)
        self.nursery.start_soon(self.carry, who, engine, scope)
        for other, (one, _) in self.engines.items():
            if other != who:
                one.exchange.up(KEYS[who].peer_id, KEYS[who].public, now_ms())
                engine.exchange.up(KEYS[other].peer_id, KEYS[other].public, now_ms())
        await trio.sleep(0)

    async def carry(self, who: int, engine: ConsensusEngine, scope: trio.CancelScope) -> None:
        """Frames of votes to the other engines, in place of streams."""
        places = {key.peer_id: place for place, key in enumerate(KEYS)}
        while not scope.cancel_called:
            for peer in engine.exchange.advance(now_ms()):
                frame = engine.exchange.frame(peer, now_ms())
                found = self.engines.get(places[peer])
                if frame is not None and found is not None and not scope.cancel_called:
                    self.sent.append(frame)
                    await found[0].hear(KEYS[who].peer_id, frame)
            await trio.sleep(0.01)

    def stop(self, who: int) -> None:
        self.engines.pop(who)[1].cancel()
        for engine, _ in self.engines.values():
            engine.exchange.down(KEYS[who].peer_id)

    async def until(self, height: int, who: Sequence[int], seconds: float = 120) -> None:
        with trio.fail_after(seconds):
            while min(self.apps[w].height() for w in who) < height:
                await trio.sleep(0.05)

    async def sync(self, who: int, source: int) -> None:
        while self.apps[who].height() < self.apps[source].height():
            block, commit = self.apps[source].blocks[self.apps[who].height()]
            assert await self.engines[who][0].inject_commit(block, commit)

    def check(self) -> None:
        """One block per height everywhere, and the same state."""
        for height in range(max(a.height() for a in self.apps)):
            assert len({a.blocks[height][0].block_id for a in self.apps if a.height() > height}) == 1


async def test_one_down_goes_on_two_down_halts_and_heals(autojump_clock: Any) -> None:
    async with trio.open_nursery() as nursery:
        hub = Hub(nursery)
        for who in range(4):
            await hub.start(who)
        await hub.until(3, range(4))
        hub.stop(3)
        await hub.until(8, range(3))
        hub.stop(2)
        top = max(a.height() for a in hub.apps[:2])
        await trio.sleep(30)
        assert max(a.height() for a in hub.apps[:2]) <= top + 1
        for who in (2, 3):
            await hub.start(who)
            await hub.sync(who, 0)
        await hub.until(top + 5, range(4))
        hub.check()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("crash_at", range(0, 60, 4))
async def test_a_crash_after_any_moment_never_signs_twice(crash_at: int, autojump_clock: Any) -> None:
    """Each guard asserts by itself that one place has one signature; the restarted peer takes part again."""
    async with trio.open_nursery() as nursery:
        hub = Hub(nursery)
        for who in range(4):
            await hub.start(who)
        with trio.fail_after(60):
            while len(hub.sent) < crash_at:
                await trio.sleep(0.01)
        hub.stop(1)
        await trio.sleep(0.3)
        await hub.start(1)
        await hub.sync(1, 0)
        top = hub.apps[0].height()
        await hub.until(top + 5, [0, 2, 3])
        await hub.sync(1, 0)
        hub.check()
        assert hub.apps[1].state == digest_until(hub, hub.apps[1].height())
        nursery.cancel_scope.cancel()


def digest_until(hub: Hub, height: int) -> bytes:
    state = bytes(32)
    for block, _ in hub.apps[0].blocks[:height]:
        state = digest(state, block.block_id)
    return state


async def test_a_failing_guard_halts_the_peer_before_the_signature_leaves(autojump_clock: Any) -> None:
    halted: list[BaseException] = []
    async with trio.open_nursery() as nursery:
        hub = Hub(nursery)
        hub.guards[0].fail_after = 0

        async def watch() -> None:
            try:
                await hub.engines[0][0].run()
            except* StorageError as errors:
                halted.extend(errors.exceptions)

        async def publish(topic: str, data: bytes) -> None:
            hub.sent.append(data)

        hub.engines[0] = (
            ConsensusEngine(
                key=KEYS[0], network="sim", app=hub.apps[0], guard=hub.guards[0], publish=publish,
                timing=Timing(), clock=lambda: 1_000_000,
            ),
            trio.CancelScope(),
        )
        nursery.start_soon(watch)
        with trio.fail_after(60):
            while not halted:
                await trio.sleep(0.1)
        assert hub.sent == [], "nothing leaves before it is on disk"
        nursery.cancel_scope.cancel()


def test_the_guard_rule() -> None:
    last = GuardRecord(5, 1, 1, b"a")
    assert may_sign(None, last)
    assert may_sign(last, last)
    assert may_sign(last, GuardRecord(5, 1, 2, b"b"))
    assert not may_sign(last, GuardRecord(5, 1, 1, b"b"))
    assert not may_sign(last, GuardRecord(5, 0, 2, b"b"))
    assert not may_sign(last, GuardRecord(4, 9, 2, b"b"))


class BodyApp(App):
    """Blocks carry what is in `pool`; a block with anything else in it is as good."""

    def __init__(self) -> None:
        super().__init__()
        self.pool: list[bytes] = []

    def prepare(self, max_bytes: int) -> tuple[bytes, ...]:
        return tuple(self.pool)

    def validate(self, block: Block) -> bool:
        return True

    def find(self, leaf: bytes) -> bytes | None:
        return next((raw for raw in self.pool if leaf_hash(raw) == leaf), None)


@pytest.mark.parametrize("fault", ["", "lost", "withheld", "false", "short"])
async def test_bodies_are_fetched_and_who_does_not_give_them_loses_its_round_only(
    fault: str, autojump_clock: Any
) -> None:
    """Each peer has transactions that no other has. Peer 3 gives its bodies, or not; blocks are decided either way,
    the others' with their bodies."""
    asked: list[int] = []
    async with trio.open_nursery() as nursery:
        hub = Hub(nursery)
        apps = [BodyApp() for _ in KEYS]
        hub.apps = list(apps)
        for who, app in enumerate(apps):
            app.pool = [bytes([who, number]) for number in range(5)] + [b"common"]

        async def fetch(peer: str, height: int, block_id: bytes, places: tuple[int, ...]) -> tuple[bytes, ...]:
            source = next(who for who, key in enumerate(KEYS) if key.peer_id == peer)
            asked.append(source)
            assert places == (0, 1, 2, 3, 4), "what is here already is not asked for"
            if source == 3 and fault == "withheld":
                await trio.sleep_forever()
            if source == 3 and fault == "lost":
                raise Unavailable("lost", field="stream")
            found = hub.engines[source][0].body(height, block_id, places)
            if found is None:
                raise Unavailable("decided already", field="block_id")
            if source == 3 and fault:
                return (*found[:-1], b"false") if fault == "false" else found[:-1]
            return found

        hub.fetch = fetch
        for who in range(4):
            await hub.start(who)
        await hub.until(12, range(4))
        hub.check()
        makers = {block.header.proposer for block, _ in apps[0].blocks}
        assert (KEYS[3].public in makers) == (not fault)
        assert {key.public for key in KEYS[:3]} <= makers
        assert all(len(block.txs) == 6 for block, _ in apps[0].blocks)
        assert 3 in asked
        nursery.cancel_scope.cancel()


async def test_garbage_is_refused_and_old_heights_ignored(autojump_clock: Any) -> None:
    async with trio.open_nursery() as nursery:
        hub = Hub(nursery)
        for who in range(4):
            await hub.start(who)
        await hub.until(2, range(4))
        engine = hub.engines[0][0]
        bundle = next(sent for sent in hub.sent if b"bundle" in sent)
        for bad in (b"", b"\xff", b"\x84\x02\x00\x01\x80", b"\x84\x01\x00\x09\x80", bundle[:-1]):
            for frame in (bad, encode(Bundle(0, (bad,)))):
                with pytest.raises(RemoteProtocolError):
                    await engine.hear("x", frame)
        proposed = next(sent for sent in hub.sent if b"proposed" in sent)
        await engine.hear("x", proposed)
        found = parse_frame(proposed)
        assert isinstance(found, Proposed)
        assert engine.deliver("x", "proposals", found.proposal) is Outcome.IGNORE
        assert engine.deliver("x", "votes", bundle) is Outcome.IGNORE, "in a small set votes come by streams only"
        await engine.hear("x", bundle)
        nursery.cancel_scope.cancel()
