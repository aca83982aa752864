"""Catching up from peers, one of which lies: blocks and snapshots. Real chains and drivers; streams are function calls,
and time jumps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from p2p.base.errors import Unavailable
from p2p.base.genesis import Genesis
from p2p.base.keys import Key
from p2p.chain.chain import Chain
from p2p.chain.sync_client import ASK_EVERY_S, PATIENCE, Catchup
from p2p.chain.sync_server import sync_answer
from p2p.consensus.driver import Driver
from p2p.consensus.events import Commit, Reload
from p2p.consensus.messages import Block, CommitCertificate
from p2p.consensus.timing import Timing
from p2p.wire.frames import (
    Frame,
    LightAnswer,
    SnapshotChunk,
    SnapshotManifest,
    SyncBlock,
    SyncTop,
    pack_frame,
    parse_frame,
)
from tests.chains import extend
from tests.sim.run import KEYS, genesis_of
from tests.sim.scenario import Scenario

BY_KEY = {key.public: key for key in KEYS}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def genesis(epoch_blocks: int) -> Genesis:
    return replace(genesis_of(Scenario(0, (1, 1, 1, 1), epoch_blocks=epoch_blocks)), time_ms=now_ms() - 60_000)


class CallStream:
    """A stream to a peer whose answers `change` may falsify."""

    def __init__(self, chain: Chain, change: Callable[[Frame], Frame]) -> None:
        self._chain, self._change, self._answer = chain, change, b""

    async def send(self, data: bytes) -> None:
        self._answer = pack_frame(self._change(sync_answer(self._chain, parse_frame(data))))

    async def receive(self, limit: int = 0, timeout_s: float = 0) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._answer

    async def close(self) -> None:
        return


class Late:
    """A peer with an empty store that may ask `honest` and `liar`."""

    def __init__(self, directory: Path, source: Chain, lie: Callable[[Frame], Frame]) -> None:
        self.chain = Chain.open(directory, source.genesis)
        self.driver = Driver(
            key=Key.generate(), network=source.genesis.network, app=self.chain, guard=self.chain.guard, timing=Timing(),
            clock=now_ms,
        )
        self.driver.begin()
        changes: dict[str, Callable[[Frame], Frame]] = {"honest": lambda frame: frame, "liar": lie}
        self.asked: list[str] = []
        self.lied_to = False

        async def open_stream(peer: str, protocol: str) -> Any:
            assert protocol == "sync"
            self.asked.append(peer)
            self.lied_to |= peer == "liar"
            return CallStream(source, changes[peer])

        def connected() -> tuple[str, ...]:  # only the liar until it was asked once
            return ("honest", "liar") if self.lied_to else ("liar",)

        self.catchup = Catchup(self.chain, connected, open_stream, self._inject, self._reload)

    async def _inject(self, block: Block, certificate: CommitCertificate) -> bool:
        self.driver.take(Commit(block, certificate))
        return self.chain.height() >= certificate.height

    async def _reload(self, install: Callable[[], None]) -> None:
        self.driver.take(Reload(install))

    async def until(self, height: int) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.catchup.run)
            with trio.fail_after(600):
                while self.chain.height() < height:
                    await trio.sleep(0.5)
            self.asked.clear()
            await trio.sleep(20)
            nursery.cancel_scope.cancel()


@pytest.fixture
def source(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Chain]:
    found = Chain.open(tmp_path / "source", genesis(request.param))
    begin = now_ms() - 50_000
    extend(found, 30, BY_KEY, lambda height: begin + height)
    yield found
    found.close()


def forged_block(frame: Frame) -> Frame:
    if not isinstance(frame, SyncBlock):
        return frame
    return replace(
        frame, block=replace(frame.block, header=replace(frame.block.header, time_ms=frame.block.header.time_ms + 1))
    )


def one_signature(frame: Frame) -> Frame:
    if not isinstance(frame, SyncBlock):
        return frame
    return replace(frame, certificate=replace(frame.certificate, signatures=frame.certificate.signatures[:1]))


def another_height(frame: Frame) -> Frame:
    return replace(
        frame, block=replace(frame.block, header=replace(frame.block.header, height=99))
    ) if isinstance(frame, SyncBlock) else frame


@pytest.mark.parametrize("source", [1000], indirect=True)
@pytest.mark.parametrize("lie", [forged_block, one_signature, another_height, lambda frame: SyncTop(1, 2**40)])
async def test_a_liar_is_not_asked_again_and_blocks_come_from_the_honest_peer(
    source: Chain, lie: Callable[[Frame], Frame], tmp_path: Path, autojump_clock: Any
) -> None:
    late = Late(tmp_path / "late", source, lie)
    await late.until(30)
    assert late.chain.app_hash() == source.app_hash()
    assert "liar" not in late.asked, "the liar is not asked any more"
    late.chain.close()


def false_chunk(frame: Frame) -> Frame:
    return replace(frame, chunk=frame.chunk[:-1] + b"\x00") if isinstance(frame, SnapshotChunk) else frame


def false_manifest(frame: Frame) -> Frame:
    return replace(
        frame, manifest=replace(frame.manifest, chunks=(bytes(32),))
    ) if isinstance(frame, SnapshotManifest) else frame


def false_header(frame: Frame) -> Frame:
    if not isinstance(frame, LightAnswer):
        return frame
    return replace(frame, block=replace(frame.block, header=replace(frame.block.header, app_hash=bytes(32))))


@pytest.mark.parametrize("source", [5], indirect=True)
@pytest.mark.parametrize("lie", [false_chunk, false_manifest, false_header, lambda frame: SyncTop(1, 30, 1000)])
async def test_a_snapshot_is_installed_only_when_a_header_has_its_hash(
    source: Chain, lie: Callable[[Frame], Frame], tmp_path: Path, autojump_clock: Any
) -> None:
    """The newest snapshot is of height 30. A header above it is needed to check it, else the snapshot before would be
    taken; so the source has 31 blocks."""
    extend(source, 31, BY_KEY, lambda height: now_ms())
    late = Late(tmp_path / "late", source, lie)
    await late.until(31)
    assert late.chain.blocks.first_height() == 31, "it continued from the snapshot"
    assert late.chain.app_hash() == source.app_hash()
    late.chain.close()


class Deciding:
    """A chain whose consensus decides a block a second until `stops`."""

    def __init__(self, stops: float) -> None:
        self._stops, self._begun = stops, trio.current_time()

    def height(self) -> int:
        return int(min(trio.current_time() - self._begun, self._stops))


async def test_who_decides_blocks_itself_asks_nobody_and_who_stands_still_asks_within_two_seconds(
    autojump_clock: Any
) -> None:
    begun, asked_s = trio.current_time(), []

    async def open_stream(peer: str, protocol: str) -> Any:
        asked_s.append(trio.current_time() - begun)
        raise Unavailable("nobody is there")

    catchup = Catchup(Deciding(50.5), lambda: ("a",), open_stream, None, None)  # type: ignore[arg-type]
    with trio.move_on_after(60):
        await catchup.run()
    assert 50 < asked_s[0] <= 53
    assert len(asked_s) >= 7


async def test_a_peer_asks_nobody_while_consensus_decides_as_quickly_as_it_did(autojump_clock: MockClock) -> None:
    """Blocks come each three seconds, then none: after twice that time it asks, and goes on asking."""
    visits: list[float] = []

    class Heights:
        def height(self) -> int:
            return int(min(trio.current_time() - begun, 60.0) // 3)

    async def open_stream(peer: str, protocol: str) -> Any:
        visits.append(trio.current_time() - begun)
        raise Unavailable("not now")

    begun = trio.current_time()
    catchup = Catchup(cast(Chain, Heights()), lambda: ("somebody",), open_stream, cast(Any, None), cast(Any, None))
    with trio.move_on_after(70):
        await catchup.run()
    assert [at for at in visits if at < 3.0], "who has just begun asks at once"
    assert not [at for at in visits if 12.0 < at < 60.0 + 3.0]
    assert [at for at in visits if 60.0 < at <= 60.0 + PATIENCE * 3 + 2 * ASK_EVERY_S]
    assert len([at for at in visits if at > 60.0]) >= 2
