"""What strangers take never exceeds a limit, and never reduces the share of others."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from p2p.base.errors import Overloaded, Unavailable
from p2p.base.limits import BUDGETS, GREETING_GRACE_S, HALF_OPEN_S, MAX_UNREAD, MIB, Budget
from p2p.gossip.connections import meter
from p2p.gossip.connections.budget import THIS_MACHINE, Budgets, Flow, Held, Ledger, first_to_go, group_of
from p2p.gossip.connections.door import Door, Intake, TooMuchUnread
from p2p.gossip.connections.streams import Stream

SMALL = Budget(5, 12, 40, "the newest")
HOSTS = st.sampled_from([
    "10.0.0.1", "10.0.0.2", "10.0.1.1", "2001:db8::1", "2001:db8:0:ff::2", "127.0.0.1", "127.0.0.2",
])
STEPS = st.lists(st.tuples(st.integers(0, 30), HOSTS, st.integers(-6, 6), st.booleans()), max_size=150)


def test_groups() -> None:
    """GROUP-1."""
    assert group_of("10.1.2.3") == group_of("10.1.2.200") != group_of("10.1.3.3")
    assert group_of("2001:db8::1") == group_of("2001:db8:0:ff::9") != group_of("2001:db8:0:100::1")
    assert group_of("127.0.0.1") == group_of("::1") == group_of("::ffff:127.0.0.1") == THIS_MACHINE
    assert group_of("127.5.6.7") == "127.5.6.0/24"
    assert group_of(None) == group_of("a name") == THIS_MACHINE


@given(STEPS)
def test_no_ledger_is_ever_above_a_limit(steps: list[tuple[int, str, int, bool]]) -> None:
    """BUDGET-1, BUDGET-2."""
    ledger, held = Ledger(SMALL), {}
    for number, host, amount, ours in steps:
        peer, group = f"peer{number}", group_of(host)
        if amount > 0 and ledger.take(peer, group, amount, ours=ours):
            held[peer, group] = held.get((peer, group), 0) + amount
        elif amount < 0 and held.get((peer, group), 0) >= -amount:
            ledger.give(peer, group, -amount)
            held[peer, group] += amount
        assert ledger.used == sum(held.values()) <= SMALL.total
        for name, where in held:
            by_peer, by_group = ledger.of(name, where)
            assert by_peer == sum(n for (p, _), n in held.items() if p == name) <= SMALL.peer
            assert by_group == (sum(n for (_, g), n in held.items() if g == where) if where else 0) <= SMALL.group
    for (peer, group), amount in held.items():
        ledger.give(peer, group, amount)
    assert (ledger.used, ledger._peers, ledger._groups) == (0, {}, {}), "nothing is kept of who holds nothing"


FLOORED = Budget(9, 12, 40, "the newest", 4)


@given(st.lists(
    st.tuples(
        st.integers(0, 5), st.sampled_from(["10.0.0.1", "10.0.1.1", "127.0.0.1"]), st.integers(-6, 6), st.booleans(),
    ), max_size=150,
))
def test_what_is_above_the_floors_is_never_above_a_limit_and_a_floor_is_always_free(
    steps: list[tuple[int, str, int, bool]],
) -> None:
    """BUDGET-1: a peer's floor does not depend on what others hold."""
    ledger, held = Ledger(FLOORED), {}
    for number, host, amount, ours in steps:
        name = f"{host} {number}", group_of(host)
        if amount > 0 and ledger.take(*name, amount, ours=ours):
            held[name] = held.get(name, 0) + amount
        elif amount < 0 and held.get(name, 0) >= -amount:
            ledger.give(*name, -amount)
            held[name] += amount
        above = {one: max(0, n - FLOORED.floor) for one, n in held.items()}
        assert all(n <= FLOORED.peer for n in held.values())
        assert ledger.used == sum(above.values()) <= FLOORED.total
        assert all(sum(n for (_, g), n in above.items() if g == group) <= FLOORED.group for _, group in held if group)
        assert ledger.take("newcomer", "10.0.0.0/24", FLOORED.floor), "whatever there is"
        ledger.give("newcomer", "10.0.0.0/24", FLOORED.floor)
    for (peer, group), amount in held.items():
        ledger.give(peer, group, amount)
    assert (ledger.used, ledger._peers, ledger._groups) == (0, {}, {})


def test_what_a_neighbour_spends_makes_nobody_guilty() -> None:
    flow = Flow(Budget(10, 15, 100, "the newest"))
    for number in range(30):
        flow.spend(f"flooder {number}", "10.0.0.0/24", 20, 0.0)
    assert not flow.allows("honest", "10.0.0.0/24", 0.0)
    assert not flow.is_over("honest", 0.0)
    assert flow.is_over("flooder 1", 0.0)


async def test_a_peer_that_owes_work_is_read_when_it_owes_no_more(autojump_clock: trio.testing.MockClock) -> None:
    """FRAME-4. Before: a loop that answers frame after frame was charged once, when its stream was opened."""
    door, began = Door(Budgets()), trio.current_time()
    rate = door.budgets.work.budget.peer
    door.budgets.work.spend("peer", "10.0.0.0/24", 5.0 * rate, began)  # two seconds' worth are free
    stream = Stream(Raw(b"\x01a"), "peer", pace_s=lambda: door.pace_s("peer"))
    assert await stream.receive() == b"a"
    assert trio.current_time() - began == pytest.approx(3.0)
    door.valued = lambda peer: True
    assert door.pace_s("peer") == 0.0


def test_the_last_quarter_is_for_what_we_asked_for() -> None:
    ledger = Ledger(SMALL)
    taken = [ledger.take(f"stranger{number}", f"group{number}") for number in range(SMALL.total)]
    assert sum(taken) == ledger.used == SMALL.total - SMALL.total // 4
    assert all(ledger.take(f"ours{number}", "elsewhere", 5, ours=True) for number in range(2))
    assert not ledger.take("ours", "here", ours=True)
    assert ledger.used == SMALL.total


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 3), st.integers(0, 20)), max_size=100))
def test_a_flow_gives_its_rate_and_two_seconds_at_once(spending: list[tuple[int, float, int]]) -> None:
    flow, now, spent = Flow(SMALL), 0.0, 0.0
    for number, wait, amount in spending:
        now += wait
        if flow.allows(f"peer{number}", "10.0.0.0/24", now):
            flow.spend(f"peer{number}", "10.0.0.0/24", amount, now)
            spent += amount
    assert spent <= SMALL.group * (now + 2) + 20, "one dear thing beyond what was left is owed"


def test_who_is_valued_is_not_held_to_what_strangers_have_spent() -> None:
    flow = Flow(SMALL)
    for number in range(40):
        flow.spend(f"stranger{number}", f"group{number}", 4, 0.0)
    assert not flow.allows("newcomer", "elsewhere", 0.0)
    assert flow.allows("validator", "elsewhere", 0.0, valued=True)


CONNECTIONS = st.lists(st.tuples(HOSTS, st.floats(0, 100), st.booleans(), st.booleans()), max_size=60)


@given(CONNECTIONS)
def test_validators_and_dialled_peers_never_go_and_silence_goes_first(
    rows: list[tuple[str, float, bool, bool]],
) -> None:
    held = [
        Held(f"p{number}", group_of(host), since, greeted, valued)
        for number, (host, since, greeted, valued) in enumerate(rows)
    ]
    goes = first_to_go(held, 100.0, GREETING_GRACE_S)
    if goes is None:
        return
    assert not goes.valued
    silent = [one for one in held if not one.valued and not one.greeted and 100.0 - one.since >= GREETING_GRACE_S]
    if silent:
        assert goes in silent
        assert goes.since == min(one.since for one in silent)
    else:
        sizes = [sum(o.group == one.group and not o.valued for o in held) for one in held]
        largest = max((n for n, one in zip(sizes, held, strict=True) if not one.valued), default=0)
        assert sizes[held.index(goes)] == largest > 1
        same = [one for one in held if one.group == goes.group and not one.valued]
        assert all(one.since <= goes.since for one in same), "the oldest stay"


class Muxed:
    def __init__(self, peer: str) -> None:
        self.peer_id, self.is_closed = peer, False
        self.stream_buffers: dict[int, bytearray] = {}


def arrive(door: Door, muxed: Muxed, host: str, size: int) -> None:
    door.intake(muxed, group_of(host)).arrive(size)
    muxed.stream_buffers.setdefault(1, bytearray()).extend(bytes(size))


def flood(door: Door, muxed: Muxed, host: str) -> None:
    for _ in range(1000):
        arrive(door, muxed, host, 65536)


def test_what_nobody_reads_is_bounded_for_a_peer_a_group_and_all() -> None:
    """Before: 60 unfinished frames of 4 MiB on one connection held 397 MiB."""
    door, budget = Door(Budgets()), BUDGETS["unparsed bytes"]
    one = Muxed("one")
    with pytest.raises(TooMuchUnread):
        flood(door, one, "10.0.0.1")
    assert sum(map(len, one.stream_buffers.values())) <= MAX_UNREAD
    crowd = [Muxed(f"crowd{number}") for number in range(20)]
    for muxed in crowd:
        with pytest.raises(TooMuchUnread):
            flood(door, muxed, "10.0.0.2")
    held = sum(len(b) for muxed in (one, *crowd) for b in muxed.stream_buffers.values())
    assert held <= budget.group + 21 * budget.floor
    arrive(door, Muxed("honest"), "10.9.9.9", MIB)  # another group is not kept out
    for group in range(30):
        for number in range(4):
            with pytest.raises(TooMuchUnread):
                flood(door, Muxed(f"{group} {number}"), f"10.1.{group}.1")
    for number in range(40):
        arrive(door, Muxed(f"honest {number}"), f"10.2.{number}.1", budget.floor)  # nor is anybody by thirty groups
    valued = Muxed("validator")
    door.valued = lambda peer: peer == "validator"
    arrive(door, valued, "10.9.9.8", 4 * MIB)  # a wanted peer has the last quarter


def test_what_was_read_counts_no_more() -> None:
    door, muxed = Door(Budgets()), Muxed("one")
    for _ in range(1000):  # 62 MiB in all, never more than one body unread
        arrive(door, muxed, "10.0.0.1", 65536)
        muxed.stream_buffers[1].clear()
    assert door.budgets.unparsed.used <= MIB
    muxed.is_closed = True
    door.sweep()
    assert door.budgets.unparsed.used == 0


class Raw:
    """A stream that delivers its bytes and then nothing more."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self, most: int) -> bytes:
        if not self._data:
            await trio.sleep_forever()
        out, self._data = self._data[:most], self._data[most:]
        return out

    async def reset(self) -> None:
        self._data = b""

    close = reset


async def test_a_stream_keeps_little_that_is_not_counted() -> None:
    """FRAME-3. Before: bytes before a frame's length and after its end were in no budget, 64 KiB a stream."""
    ledger = Ledger(BUDGETS["unparsed bytes"])
    raw = Raw(b"\x01a" + b"\x90\x4e" + bytes(10_000) + b"\x01b" + bytes(100_000))
    stream = Stream(raw, "peer", Intake(ledger, Muxed("peer"), "peer", "10.0.0.0/24"), ours=False)
    for length in (1, 10_000, 1):
        assert len(await stream.receive()) == length
        assert len(stream._buffer) <= 1024
        assert ledger.used == 0
    assert len(raw._data) > 90_000, "the rest stays where the multiplexer's bytes are counted"


async def test_begun_frames_of_a_stranger_are_refused_and_ours_wait(autojump_clock: trio.testing.MockClock) -> None:
    """FRAME-3."""
    ledger = Ledger(BUDGETS["unparsed bytes"])
    room = Intake(ledger, Muxed("peer"), "peer", "10.0.0.0/24")
    four = b"\x80\x80\x80\x02" + b"x"  # announces 4 MiB
    begun = [Stream(Raw(four), "peer", room, ours=False) for _ in range(3)]
    outcomes: list[type[Exception]] = []

    async def read(stream: Stream) -> None:
        try:
            await stream.receive()
        except (Overloaded, Unavailable) as error:
            outcomes.append(type(error))
        await stream.reset()

    async with trio.open_nursery() as nursery:
        for stream in begun:
            nursery.start_soon(read, stream)
    names = sorted(kind.__name__ for kind in outcomes)
    assert names == ["Overloaded", "Overloaded", "Unavailable"], "one fits, with the bytes of its length"
    assert ledger.used == 0, "a stream that ends gives back"
    ours = [Stream(Raw(four[:4] + bytes(4 * MIB)), "peer", room) for _ in range(3)]
    lengths: list[int] = []
    taken: list[int] = []

    async def take(stream: Stream) -> None:
        lengths.append(len(await stream.receive()))
        taken.append(ledger.of("peer")[0])
        await stream.close()

    async with trio.open_nursery() as nursery:
        for stream in ours:
            nursery.start_soon(take, stream)
    assert lengths == [4 * MIB] * 3
    assert taken == [0] * 3, "a frame that is whole is unparsed no more"
    assert ledger.used == 0


async def test_silent_sockets_make_room_and_never_shut_the_door(autojump_clock: trio.testing.MockClock) -> None:
    """Before: with 130 silent TCP sockets, a peer accepted no connection any more."""
    door, passed, ended = Door(Budgets()), [], []

    async def silent(host: str) -> None:
        try:
            async with door.knock(host, group_of(host), trio.sleep_forever):
                pytest.fail("a silent socket got a handshake")
        except ConnectionAbortedError:
            ended.append(host)

    async def honest(host: str) -> None:
        async with door.knock(host, group_of(host)):
            await trio.sleep(0.1)
        passed.append(host)

    for flood in ("127.0.0.1", "10.0.0.{}"):
        async with trio.open_nursery() as nursery:
            for number in range(300):
                nursery.start_soon(silent, flood.format(number % 250))
            await trio.testing.wait_all_tasks_blocked()
            assert door.budgets.half_open.used <= BUDGETS["half open"].total
            nursery.start_soon(honest, "10.9.9.9")
            nursery.start_soon(honest, "127.0.0.1")
        assert sorted(passed) == ["10.9.9.9", "127.0.0.1"]
        passed.clear()
    assert len(ended) == 600
    assert door.budgets.half_open.used == 0
    assert trio.current_time() <= 2 * HALF_OPEN_S + 1, "none waited longer than a handshake may take"


async def test_handshakes_take_turns(autojump_clock: trio.testing.MockClock) -> None:
    """Many connections from one machine at once get only so many handshakes a second."""
    door, budget, turns = Door(Budgets()), BUDGETS["handshakes"], []

    async def talk() -> None:
        try:
            async with door.knock("127.0.0.1", THIS_MACHINE):
                turns.append(trio.current_time())
        except ConnectionAbortedError:
            return

    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(40):
            for _ in range(40):
                nursery.start_soon(talk)
            await trio.sleep(0.1)
    for first, later in ((0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (0.0, 3.0)):
        count = sum(first <= at - begun < later for at in turns)
        assert count <= budget.total * (later - first + 2) + 1


async def test_the_last_step_of_a_task_is_its_peers_and_what_runs_next_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trio reports a task's end before its last step ends. Before: that step was charged to nobody, and the next task
    that was charged also paid for the time in between."""
    clock = [1.0]
    monkeypatch.setattr(meter.time, "thread_time", lambda: clock[0])
    door, spent = Door(Budgets()), []

    def spend(self: Flow, peer: str, group: str, amount: float, now: float, *, valued: bool = False) -> None:
        spent.append((peer, round(amount)))

    monkeypatch.setattr(Flow, "spend", spend)
    measured = meter.Meter(door, share=1)

    async def work(peer: str) -> None:
        measured.charge(trio.lowlevel.current_task(), peer, "")
        clock[0] += 100.0  # not charged before the next step
        await trio.lowlevel.checkpoint()
        clock[0] += 0.007

    async def between() -> None:
        clock[0] += 50.0
        measured.charge(trio.lowlevel.current_task(), "later", "")

    trio.lowlevel.add_instrument(measured)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work, "first")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(between)
    finally:
        trio.lowlevel.remove_instrument(measured)
    assert spent == [("first", 7)]
