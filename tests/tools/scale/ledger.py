"""Measures the ledger's own functions at one size, in this process.

Law: records of samples.py in memory, so the store's cost is left out, and no signature is verified. Each part of an
epoch's end is timed on what the parts before it left, in the order of p2p/ledger/end_of_block.py.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from p2p.base.codec import encode
from p2p.base.resumable import run_to_end
from p2p.base.weighted_draw import draw_executors
from p2p.ledger.conduct import executor_conduct
from p2p.ledger.genesis import first_state
from p2p.ledger.inferences import committees
from p2p.ledger.money import epoch_settlement, price
from p2p.ledger.participants import eligibility, serving, weights
from p2p.ledger.participants.sprint import OpenedAnswer, Run, Sprint
from p2p.ledger.rules.context import Context
from p2p.ledger.state import keys, proofs, tree
from p2p.ledger.state.inference_entry import InferenceEntry
from p2p.ledger.state.snapshot import make_chunks
from p2p.ledger.state.view import View
from tests.tools.scale import samples
from tests.tools.scale.participants import Row

TIMES = 50  # draws, committees and proofs, of which the mean is shown
ANSWERS = 4  # opened of each participant's sprint
CONDUCT_MOST = 3000  # participants for which the end of an epoch's conduct is run: its cost is quadratic
SPRINT_MOST = 10_000  # for which a sprint is counted: it has four inferences of each


class Network:
    """A state with so many participants at the end of a busy epoch, and its tree."""

    def __init__(self, count: int) -> None:
        self.count, self.genesis, self.nodes = count, samples.genesis(count), samples.nodes(count)
        view = View(lambda key: None)
        first_state(view, self.genesis, self.genesis.hash)
        for peer in self.genesis.peers:
            view.put_conduct(peer.node, samples.conduct())
            view.put(keys.earning(0, peer.node), encode(samples.earning(peer.owner)))
        view.put(keys.earners(0), encode(self.nodes))
        view.put(keys.beacon(self.end), samples.name("beacon", self.end))
        self.state = _there(view.changes)
        self.pages = _there(tree.update(lambda position: None, dict(self.state))[1])

    @property
    def end(self) -> int:
        """The epoch's last height."""
        return self.genesis.epoch_blocks

    def ctx(self, height: int) -> Context:
        """A block at this height, on a view of its own."""
        return Context(View(self.state.get), self.genesis, height)


def _there(changes: dict[bytes, bytes | None]) -> dict[bytes, bytes]:
    return {key: value for key, value in changes.items() if value is not None}


def timed_ms(action: Callable[[], object]) -> float:
    """CPU of one call."""
    begun = time.process_time()
    action()
    return (time.process_time() - begun) * 1000


def _size(content: dict[bytes, bytes]) -> int:
    return sum(len(key) + len(value) for key, value in content.items())


def _proof(net: Network) -> float:
    some = net.nodes[:: max(1, net.count // TIMES)]
    return sum(len(encode(proofs.prove(net.pages.get, keys.participant(node)))) for node in some) / len(some)


def draws(net: Network) -> tuple[float, float, float, float]:
    """(ms to make the draw of validators ready, us of one draw of executors, us of a committee's draw, us of its end).
    """
    ctx = net.ctx(net.end)
    prepare_ms = timed_ms(lambda: eligibility.checking_lots(ctx, samples.MODEL))
    lots = serving.serving_at(ctx.view, samples.MODEL, 0)
    asked = [
        InferenceEntry(*samples.started(number, net.genesis.network, net.nodes, net.end - 1)) for number in range(TIMES)
    ]

    def each(action: Callable[[InferenceEntry], object]) -> float:
        first, *rest = asked  # the first one pays for what is made once in a block
        action(first)
        return timed_ms(lambda: [action(one) for one in rest]) / len(rest) * 1000

    draw_us = each(
        lambda one: draw_executors(net.genesis.hash, one.id, lots, one.inference.agent, samples.CANDIDATES)
    )
    open_us = each(lambda one: committees.draw(ctx, one))
    for at, one in enumerate(asked):
        drawn = ctx.entry(one.id)
        assert drawn is not None
        assert drawn.inference.committees, "a committee was drawn"
        members = drawn.inference.committees[-1].members
        asked[at] = InferenceEntry(one.id, samples.judged(drawn.inference, members, net.end, revealed=True))
    close_us = each(lambda one: committees.step(ctx, one))
    ended = ctx.entry(asked[0].id)
    assert ended is not None
    assert ended.inference.end_height == net.end, "the committee has decided"
    return prepare_ms, draw_us, open_us, close_us


def epoch_end(net: Network) -> tuple[float, float, float, float, float, int, int]:
    """(settlement, conduct, prices and sets, tree, snapshot in ms; the snapshot's bytes and chunks)."""
    ctx = net.ctx(net.end)
    settle_ms = timed_ms(lambda: epoch_settlement.settle(ctx))
    conduct_ms = timed_ms(lambda: executor_conduct.end_epoch(ctx)) if net.count <= CONDUCT_MOST else math.nan
    sets_ms = timed_ms(lambda: price.move_prices(ctx, eligibility.serving))
    sets_ms += timed_ms(lambda: serving.keep_serving(ctx))
    changed = ctx.view.changes
    tree_ms = timed_ms(lambda: tree.update(net.pages.get, changed))
    pairs = sorted(_there({**net.state, **changed}).items())
    begun = time.process_time()
    chunks, _ = run_to_end(make_chunks(pairs))
    snapshot_ms = (time.process_time() - begun) * 1000
    return settle_ms, conduct_ms, sets_ms, tree_ms, snapshot_ms, sum(map(len, chunks)), len(chunks)


def sprint_ms(net: Network) -> float:
    """The next epoch's weights from a sprint in which everybody opened ANSWERS answers, all found true."""
    if net.count > SPRINT_MOST:
        return math.nan
    ctx, network, names = net.ctx(net.end - 1), net.genesis.network, []
    for at, node in enumerate(net.nodes):
        opened = []
        for index in range(ANSWERS):
            inference_id, one = samples.started(at * ANSWERS + index, network, net.nodes, net.end - 60)
            members = one.candidates[:3]
            ctx.view.put_inference(inference_id, samples.judged(one, members, net.end - 30, revealed=True, ended=True))
            opened.append(OpenedAnswer(index, inference_id))
        names.append(keys.run_name(node, samples.MODEL))
        ctx.view.put(keys.run_named(names[-1]), encode(Run(node, samples.MODEL, bytes(32), 50, 20, tuple(opened))))
    ctx.view.put(keys.RUNS, encode(names))
    ctx.view.put(keys.SPRINT, encode(Sprint(0, net.genesis.hash, net.genesis.hash)))
    made = {**net.state, **_there(ctx.view.changes)}
    fresh = Context(View(made.get), net.genesis, net.end - 1)
    spent = timed_ms(lambda: weights.count(fresh, ()))
    assert fresh.view.get(keys.NEXT_WEIGHTS), "weights were counted"
    return spent


def measure_here(count: int) -> Row:
    net = Network(count)
    serving_set = net.state[serving.set_key(samples.MODEL, 0)]
    settle_ms, conduct_ms, sets_ms, tree_ms, snapshot_ms, snapshot, chunks = epoch_end(net)
    return Row(
        count, _size(net.state), _size(net.pages), _proof(net), len(serving_set), *draws(net), settle_ms, conduct_ms,
        sprint_ms(net), sets_ms, tree_ms, snapshot_ms, snapshot, chunks,
    )
