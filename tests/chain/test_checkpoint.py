"""History from strangers: slow sources do not hold a newcomer up, and below a checkpoint no signature counts. Real
chains; streams are function calls, and time jumps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from p2p.base.errors import ConfigError, FolkmootError, RemoteProtocolError
from p2p.base.keys import Key
from p2p.base.limits import AVOID_S, MAX_KNOWN_PEERS, SLOW_MAX_S, VISIT_START_S
from p2p.base.types import VERSION
from p2p.chain.chain import Chain
from p2p.chain.checkpoint import Anchor, Checkpoint, parse_checkpoint
from p2p.chain.history_sources import Sources
from p2p.chain.peer_visit import TooSlow, Visit
from p2p.chain.sync_client import Catchup
from p2p.chain.sync_server import sync_answer
from p2p.consensus.driver import Driver
from p2p.consensus.events import Commit, Reload
from p2p.consensus.messages import Block, CommitCertificate
from p2p.consensus.timing import Timing
from p2p.peer.config import make_config
from p2p.wire.frames import SyncTop, SyncWanted, pack_frame, parse_frame
from tests.chain.test_sync import BY_KEY, genesis, now_ms
from tests.chains import extend

TOP = 30


class Answers:
    """A stream to a peer that has `chain` and takes wait_s for each answer."""

    def __init__(self, chain: Chain, wait_s: float, waited: list[float]) -> None:
        self._chain, self._wait_s, self._waited, self._answer = chain, wait_s, waited, b""

    async def send(self, data: bytes) -> None:
        self._answer = pack_frame(sync_answer(self._chain, parse_frame(data)))

    async def receive(self, limit: int = 0, timeout_s: float = 0) -> bytes:
        began = trio.current_time()
        try:
            await trio.sleep(self._wait_s)
        finally:
            self._waited.append(trio.current_time() - began)
        return self._answer

    async def close(self) -> None:
        return


class Newcomer:
    """A peer with nothing; sources: by name, the chain of each and how long it takes for an answer."""

    def __init__(
        self, directory: Path, sources: dict[str, tuple[Chain, float]], checkpoint: Checkpoint | None = None
    ) -> None:
        some, _ = next(iter(sources.values()))
        self.chain = Chain.open(directory, some.genesis)
        self.driver = Driver(
            key=Key.generate(), network=some.genesis.network, app=self.chain, guard=self.chain.guard, timing=Timing(),
            clock=now_ms,
        )
        self.driver.begin()
        self.waited: dict[str, list[float]] = {name: [] for name in sources}
        self.ids: list[bytes] = []  # of all blocks that were applied one by one

        async def open_stream(peer: str, protocol: str) -> Any:
            assert protocol == "sync"
            return Answers(*sources[peer], self.waited[peer])

        self.catchup = Catchup(
            self.chain, lambda: tuple(sources), open_stream, self._inject, self._reload, Anchor(checkpoint)
        )

    async def _inject(self, block: Block, certificate: CommitCertificate) -> bool:
        self.driver.take(Commit(block, certificate))
        self.ids.append(block.block_id)
        return self.chain.height() >= certificate.height

    async def _reload(self, install: Callable[[], None]) -> None:
        self.driver.take(Reload(install))

    async def until(self, height: int, limit_s: float = 3600) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.catchup.run)
            with trio.fail_after(limit_s):
                while self.chain.height() < height:
                    await trio.sleep(0.5)
            nursery.cancel_scope.cancel()
        self.chain.close()


@pytest.fixture
def two(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Chain, Chain]]:
    """The true history, and another one that the same validators signed as well; 30 blocks each, epochs of
    request.param blocks."""
    same = genesis(request.param)
    made = [Chain.open(tmp_path / name, same) for name in ("true", "false")]
    begin = now_ms() - 50_000
    for chain, shift in zip(made, (0, 500), strict=True):
        extend(chain, TOP + 1, BY_KEY, lambda height, shift=shift: begin + shift + height)  # type: ignore[misc]
    yield made[0], made[1]
    for chain in made:
        chain.close()


# -- slow ones ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("two", [1000], indirect=True)
async def test_twenty_sources_that_answer_just_in_time_cost_a_newcomer_little(
    two: tuple[Chain, Chain], tmp_path: Path, autojump_clock: Any
) -> None:
    """Each of them sends one block in 14 s, just within the limit for a frame. From such a source thirty blocks take
    seven minutes, and the most that one visit may fetch takes four hours."""
    true, _ = two
    newcomer = Newcomer(
        tmp_path / "late", {**{f"slow {number}": (true, 14.0) for number in range(20)}, "honest": (true, 0.05)}
    )
    await newcomer.until(TOP)
    for name, waited in newcomer.waited.items():
        if name != "honest":
            said = "a visit costs a few seconds, and each next one comes twice as late"
            assert sum(waited) <= VISIT_START_S * 3, said


@pytest.mark.parametrize("two", [1000], indirect=True)
async def test_where_all_sources_are_slow_the_own_link_is_and_history_comes_all_the_same(
    two: tuple[Chain, Chain], tmp_path: Path, autojump_clock: Any
) -> None:
    newcomer = Newcomer(tmp_path / "late", {f"slow {number}": (two[0], 9.0) for number in range(3)})
    await newcomer.until(TOP)


@pytest.mark.parametrize("two", [1000], indirect=True)
async def test_a_slow_but_steady_source_earns_its_time(
    two: tuple[Chain, Chain], tmp_path: Path, autojump_clock: Any
) -> None:
    newcomer = Newcomer(tmp_path / "late", {"steady": (two[0], 0.45), "other": (two[0], 14.0)})
    await newcomer.until(TOP)
    assert len(newcomer.waited["steady"]) >= TOP


class JustInTime(Answers):
    """A stream whose answer arrives in time, but jumps the clock beyond the visit's allowance while it is read."""

    clock: Any = None

    async def receive(self, **words: Any) -> bytes:
        answer = await super().receive(**words)
        self.clock.jump(VISIT_START_S)
        return answer


@pytest.mark.parametrize("two", [1000], indirect=True)
@pytest.mark.parametrize("may_be_slow", [True, False])
async def test_a_visits_allowance_never_becomes_negative(
    two: tuple[Chain, Chain], may_be_slow: bool, autojump_clock: Any
) -> None:
    """A negative allowance made the next question raise ValueError, which stopped the task `sync` for up to a
    minute."""
    stream = JustInTime(two[0], 0.1, [])
    stream.clock = autojump_clock
    visit = Visit(stream, may_be_slow=may_be_slow)
    await visit.ask(SyncWanted(VERSION, 0), SyncTop)
    visit.gained()
    assert not visit.quick
    if may_be_slow:
        await visit.ask(SyncWanted(VERSION, 0), SyncTop)
    else:
        with pytest.raises(TooSlow):
            await visit.ask(SyncWanted(VERSION, 0), SyncTop)


def test_a_slow_source_is_asked_last_and_each_time_for_longer() -> None:
    sources = Sources()
    for now_s in (0.0, 1.0, 2.0):
        sources.was_slow("a", now_s)
    sources.was_slow("b", 3.0)
    assert sources.pick(("a", "b"), 4.0) == ("b", True), "the one that was slow least often, and it may be slow"
    assert sources.pick(("a", "b", "c"), 4.0) == ("c", False)
    assert sources.pick(("a", "b"), 3.0 + AVOID_S) == ("b", False), "after a while it is as good as any"
    assert sources.pick(("a",), 2.0 + 4 * AVOID_S) == ("a", False)
    sources.lied("c", 4.0)
    assert sources.pick(("c",), 5.0) is None
    sources.was_quick("a")
    assert sources.pick(("a",), 5.0) == ("a", False)
    for _ in range(2000):
        sources.was_slow("d", 0.0)
    assert sources.pick(("d",), SLOW_MAX_S) == ("d", False)
    for number in range(MAX_KNOWN_PEERS * 2):
        sources.was_slow(str(number), 0.0)
    assert len(sources._slow) == MAX_KNOWN_PEERS


# -- a checkpoint ------------------------------------------------------------------------------------------------------


def at(chain: Chain, height: int) -> Checkpoint:
    header = chain.blocks.header(height)
    assert header is not None
    return Checkpoint(height, header.block_id)


@pytest.mark.parametrize(("two", "height", "begins"), [
    (1000, 30, 1),  # no snapshot: every block, by its id
    (1000, 10, 1),  # the rest by signatures, from there on
    (5, 12, 31),  # a snapshot after the checkpoint: by the light client that starts there
    (5, 30, 31),  # a snapshot of its own height
    (20, 25, 1),  # three epochs would be far, one is not
    (6, 30, 31),
], indirect=["two"])
async def test_below_a_checkpoint_no_other_history_is_taken_whoever_signed_it(
    two: tuple[Chain, Chain], height: int, begins: int, tmp_path: Path, autojump_clock: Any
) -> None:
    """Twelve sources of the false history, signed by a whole quorum, and one of the true one."""
    true, false = two
    newcomer = Newcomer(
        tmp_path / "late", {
            **{f"false {number}": (false, 0.0) for number in range(12)}, "true": (true, 0.0)
        }, at(true, height)
    )
    await newcomer.until(height)
    again = Chain.open(tmp_path / "late", true.genesis)
    found = true.blocks.light_block(again.height())
    assert found is not None
    assert again.last_block_id() == found.header.block_id
    assert again.blocks.first_height() == begins
    right = {at(true, number).block_id for number in range(1, height + 1)}
    below = [block_id for block_id in newcomer.ids if block_id not in right]
    wrong = {at(false, number).block_id for number in range(1, height + 1)}
    assert not wrong & set(below)
    again.close()


@pytest.mark.parametrize("two", [1000], indirect=True)
async def test_a_folder_with_another_history_than_the_checkpoint_s_says_so(two: tuple[Chain, Chain]) -> None:
    true, false = two
    Anchor(at(true, 20)).agree(true.height(), true.blocks.header)
    Anchor(at(true, 20)).agree(12, true.blocks.header)  # not there yet
    Anchor(None).agree(30, false.blocks.header)
    with pytest.raises(ConfigError, match="another history"):
        Anchor(at(true, 20)).agree(false.height(), false.blocks.header)


@pytest.mark.parametrize("two", [1000], indirect=True)
def test_a_checkpoint_proves_ids_downwards_and_nothing_else(two: tuple[Chain, Chain]) -> None:
    true, false = two
    anchor = Anchor(at(true, 20))
    for height in range(20, 4, -1):
        lie, right = false.blocks.light_block(height), true.blocks.light_block(height)
        assert lie is not None
        assert right is not None
        with pytest.raises(RemoteProtocolError):
            anchor.learn(lie)
        anchor.learn(right)
    assert anchor.lowest == 4
    anchor.check(21, b"anything: above it, signatures count")
    for height in (3, 12):
        with pytest.raises(RemoteProtocolError):
            anchor.check(height, at(false, height).block_id)


@pytest.mark.parametrize(
    "text",
    ["", "7", "0:" + "a" * 64, "-1:" + "a" * 64, "7:" + "a" * 63, "7:" + "g" * 64, "7 :" + "a" * 64, "²:" + "a" * 64]
)
def test_a_wrong_checkpoint_is_a_sentence(text: str, tmp_path: Path) -> None:
    with pytest.raises(FolkmootError, match="HEIGHT:BLOCK_ID"):
        make_config(tmp_path, {"checkpoint": text})
    assert parse_checkpoint("7:" + "Ab" * 32) == Checkpoint(7, b"\xab" * 32)
