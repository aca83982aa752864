"""QUEUE-1 to QUEUE-5: what waits for one neighbour, and what is shed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2p.base.limits import (
    MAX_CONTROL_TOPICS,
    MAX_MESSAGE_IDS,
    MAX_RPC_MESSAGES,
    MAX_RPC_PRUNES,
    QUEUE_BYTES,
    QUEUE_MESSAGES,
    QUEUED_TOTAL,
)
from p2p.gossipsub.outbound import IHAVES, Outbound, item_of
from p2p.gossipsub.params import Priority
from p2p.gossipsub.rpc import Graft, IHave, Message, Prune, Rpc, Subscription
from tests.gossipsub.net import ADVERTS, MIB, PROPOSALS, TXS, VOTES, One

TOPICS = {
    Priority.VOTES: VOTES, Priority.PROPOSALS: PROPOSALS, Priority.TRANSACTIONS: TXS, Priority.ADVERTS: ADVERTS,
}


def queue() -> tuple[Outbound, list[int]]:
    shed = [0] * (IHAVES + 1)
    return Outbound(shed), shed


def push(out: Outbound, priority: Priority, name: int, size: int = 10) -> None:
    data = name.to_bytes(4, "big") + bytes(size - 4)
    out.push(priority, item_of(name.to_bytes(20, "big"), Message(TOPICS[priority], data)))


def names(rpc: Rpc | None) -> list[int]:
    return [int.from_bytes(message.data[:4], "big") for message in rpc.messages] if rpc else []


def test_queue_1_messages_leave_by_class_and_in_order() -> None:
    out, _ = queue()
    for name, priority in enumerate((Priority.ADVERTS, Priority.TRANSACTIONS, Priority.VOTES) * 2):
        push(out, priority, name)
    push(out, Priority.PROPOSALS, 6)
    assert names(out.take(MIB, ())) == [2, 5, 6, 1, 4, 0, 3]
    assert not out
    assert out.take(MIB, ()) is None


def test_queue_1_an_rpc_is_of_bounded_size_and_one_large_message_comes_alone() -> None:
    out, _ = queue()
    for name, size in enumerate((100, 100, 5000, 100)):
        push(out, Priority.TRANSACTIONS, name, size)
    push(out, Priority.ADVERTS, 4)
    assert names(out.take(1000, ())) == [0, 1]
    out.control.mesh(Graft(TXS))
    assert out.take(1000, ()) == Rpc(graft=(Graft(TXS),)), "it does not fit beside a GRAFT"
    assert names(out.take(1000, ())) == [2]
    assert names(out.take(1000, ())) == [3, 4]
    assert out.bytes == out.messages == 0


def test_queue_1_items_of_an_rpc_are_bounded() -> None:
    out, _ = queue()
    for i in range(MAX_RPC_MESSAGES + 5):
        push(out, Priority.VOTES, i)
    out.control.want([i.to_bytes(20, "big") for i in range(MAX_MESSAGE_IDS + 9)])
    out.control.dont_want(b"d" * 20)
    out.control.have(IHave(TXS, (b"h" * 20,)))
    for i in range(40):
        out.control.subscribe(f"s{i}", True)
        out.control.mesh(Graft(f"g{i}"))
        out.control.mesh(Prune(f"p{i}"))
    rpc = out.take(MIB, ())
    assert rpc is not None
    assert len(rpc.messages) == MAX_RPC_MESSAGES
    assert len(rpc.iwant[0].ids) == MAX_MESSAGE_IDS
    assert (rpc.idontwant, rpc.ihave) == ((), ())
    assert (len(rpc.subscriptions), len(rpc.graft)) == (MAX_CONTROL_TOPICS, MAX_CONTROL_TOPICS)
    assert len(rpc.prune) == MAX_RPC_PRUNES
    rpc = out.take(MIB, ())
    assert rpc is not None
    assert (len(rpc.messages), rpc.idontwant[0].ids, rpc.ihave[0].ids) == (5, (b"d" * 20,), (b"h" * 20,))
    assert (len(rpc.subscriptions), len(rpc.graft)) == (8, 8)


def test_what_the_neighbour_has_is_left_out() -> None:
    for most in (MIB, 100):
        out, _ = queue()
        for name in range(3):
            push(out, Priority.VOTES, name)
        assert names(out.take(most, {(1).to_bytes(20, "big")})) == [0, 2]
        push(out, Priority.VOTES, 5)
        assert out.take(most, {(5).to_bytes(20, "big")}) is None
        assert not out


def test_queue_2_the_least_important_is_shed_first_and_of_it_the_oldest() -> None:
    out, shed = queue()
    out.control.have(IHave(TXS, (b"h" * 20,)))
    part = QUEUE_BYTES // 8
    for name in range(4):
        push(out, Priority.ADVERTS, name, part)
    for name in range(4, 7):
        push(out, Priority.TRANSACTIONS, name, part)
    assert shed == [0] * 5
    push(out, Priority.VOTES, 7, part)
    assert shed == [0, 0, 0, 1, 1]
    push(out, Priority.PROPOSALS, 8, 3 * part)
    assert shed == [0, 0, 0, 4, 1]
    push(out, Priority.TRANSACTIONS, 9, part)
    assert shed == [0, 0, 1, 4, 1]
    assert names(out.take(2 * QUEUE_BYTES, ())) == [7, 8, 5, 6, 9]


def test_queue_2_messages_are_bounded_in_number_too() -> None:
    out, shed = queue()
    for name in range(QUEUE_MESSAGES + 3):
        push(out, Priority.TRANSACTIONS, name)
    assert (out.messages, shed[Priority.TRANSACTIONS]) == (QUEUE_MESSAGES, 3)


def test_queue_3_votes_alone_above_the_bound_stall_the_neighbour() -> None:
    one = One(topics=(VOTES,))
    one.peer("stuck", VOTES)
    one.peer("reads", VOTES)
    for i in range(QUEUE_MESSAGES):
        one.router.publish(VOTES, i.to_bytes(4, "big"), one.now)
        assert len(one.told("reads")) == 1
    assert one.router.stalled() == []
    one.router.publish(VOTES, b"one more", one.now)
    assert one.router.stalled() == ["stuck"]
    assert one.sent("stuck") == Rpc()
    one.router.publish(VOTES, b"and one", one.now)
    one.beat()
    assert one.sent("stuck") == Rpc()
    assert one.told("reads") == [b"one more", b"and one"]
    one.router.remove_peer("stuck", one.now)
    assert one.router.stalled() == []


def test_queue_4_only_the_last_word_on_a_topic_waits() -> None:
    out, _ = queue()
    out.control.subscribe(TXS, True)
    out.control.subscribe(TXS, False)
    out.control.mesh(Graft(TXS))
    out.control.mesh(Prune(TXS, (), 5))
    out.control.mesh(Graft(VOTES))
    out.control.have(IHave(TXS, (b"1",)))
    out.control.have(IHave(TXS, (b"2",)))
    assert out.take(MIB, ()) == Rpc(
        subscriptions=(Subscription(TXS, False),), prune=(Prune(TXS, (), 5),), graft=(Graft(VOTES),),
        ihave=(IHave(TXS, (b"2",)),),
    )


def test_queue_4_ihaves_wait_for_room_and_go_whole() -> None:
    out, _ = queue()
    push(out, Priority.VOTES, 1, 400)
    out.control.have(IHave(TXS, tuple(i.to_bytes(20, "big") for i in range(100))))
    rpc = out.take(600, ())
    assert (names(rpc), rpc and rpc.ihave) == ([1], ())
    rpc = out.take(600, ())
    assert rpc is not None
    assert len(rpc.ihave[0].ids) == 100


def test_queue_5_all_queues_together_are_bounded() -> None:
    one = One(topics=())
    names_ = [one.peer(f"p{i:02}") for i in range(QUEUED_TOTAL // QUEUE_BYTES + 4)]
    for i in range(17):
        one.router.publish(TXS, bytes([i]) + bytes(240_000), one.now)
    assert one.router.status()["queued bytes"] > QUEUED_TOTAL
    one.beat()
    assert one.router.status()["queued bytes"] <= QUEUED_TOTAL
    assert one.router.stalled() == []
    assert one.told(names_[0])[-1][0] == 16, "the oldest are shed"


Step = st.one_of(
    st.tuples(st.sampled_from(Priority), st.integers(4, 2_000_000)), st.integers(0, 3_000_000),
)


@given(st.lists(Step, max_size=60))
def test_votes_and_control_come_whole_and_in_order_whatever_else_waits(steps: list[tuple[Priority, int] | int]) -> None:
    """QUEUE-2: unless the neighbour is stalled; and the bounds hold at each step."""
    out, _ = queue()
    votes: list[int] = []
    came: list[int] = []
    control = 0
    for name, step in enumerate(steps):
        if isinstance(step, int):
            rpc = out.take(step, ())
            came += [n for n in names(rpc) if n in votes]
            control -= len(rpc.graft) if rpc else 0
        else:
            if step[0] is Priority.VOTES:
                votes.append(name)
            elif step[0] is Priority.PROPOSALS:
                out.control.mesh(Graft(str(name)))
                control += 1
            push(out, step[0], name, step[1])
        assert out.bytes <= QUEUE_BYTES
        if out.stalled:
            assert sum(size for p, size in [s for s in steps if not isinstance(s, int)] if not p) > QUEUE_BYTES // 2
            return
    while (rpc := out.take(MIB, ())) is not None:
        came += [n for n in names(rpc) if n in votes]
        control -= len(rpc.graft)
    assert came == votes
    assert control == 0
    assert (out.bytes, out.messages) == (0, 0)
