"""The set of executors that draws are made from: whatever changes between an agent's draw and its Start, the chain
draws the same candidates, and the state keeps no more sets than that needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError
from p2p.base.keys import Domain, Key, digest
from p2p.base.resumable import run_to_end
from p2p.base.serving_limits import MAX_CANDIDATES, SESSION_HEIGHTS
from p2p.base.types import VERSION, Params, RecordKind, Request, SignedRequest, StartRecord
from p2p.base.weighted_draw import WeightedDraw, draw_executors
from p2p.chain.chain import Chain
from p2p.ledger.participants.eligibility import serving
from p2p.ledger.participants.registry import nodes_of
from p2p.ledger.participants.serving import DRAW_WINDOW, MAX_VERSIONS, draw_for, serving_at
from p2p.ledger.rules.ops import Body, ChangeModel, Deposit, RetireModel, Unregister, Withdraw
from p2p.ledger.state.snapshot import Manifest, make_chunks, open_chunk
from p2p.ledger.state.view import View
from tests.chains import extend
from tests.consensus.test_light import BY_KEY, NOW, SCENARIO
from tests.ledger.account_transactions import ECONOMY, part, registration, rotation, submit
from tests.ledger.lab import CLIENT, PRICE, Lab
from tests.ledger.money.test_epoch_settlement import to_end
from tests.ledger.test_governance import put_to_vote
from tests.sim.run import MODEL, genesis_of

LEAST = 1000  # collateral to serve
NEW = Key(b"\x7b" * 32)


class Chained(Lab):
    """A lab whose view is new for each block, over the state before it, as in a chain. drawable: height that has ended
    -> the set, computed by the rule."""

    def __init__(self, **change: Any) -> None:
        super().__init__(**change)
        self.state: dict[bytes, bytes] = {}
        self.drawable = {0: self.now()}
        self.seal()

    def now(self) -> list[tuple[bytes, int]]:
        return serving(self.ctx, "toy")

    def seal(self) -> None:
        for key, value in self.view.changes.items():
            self.state.pop(key, None)
            if value is not None:
                self.state[key] = value
        self.view = View(dict(self.state).get)

    def block(self, count: int = 1) -> None:
        for _ in range(count):
            super().block()
            self.drawable[self.height - 1] = self.now()
            self.seal()

    def asked(self, height: int) -> tuple[SignedRequest, tuple[bytes, ...]]:
        """A signed request that draws at `height`, and the candidates that its agent (peer 0) draws by the rule."""
        nonce = self.nonces[CLIENT.public] = self.nonces.get(CLIENT.public, 0) + 1
        body = Request(
            VERSION,
            self.network,
            CLIENT.public,
            nonce,
            "toy",
            bytes(32),
            Params(),
            50,
            50,
            10**6,
            self.height + 500,
            CLIENT.public,
            height,
        )
        signed = SignedRequest(body, CLIENT.sign(Domain.REQUEST, self.network, encode(body)))
        beacon = self.view.beacon(height)
        assert beacon is not None
        return signed, draw_executors(
            beacon, signed.inference_id, WeightedDraw(self.drawable[height]), self.nodes[0], MAX_CANDIDATES
        )

    def begin(self, signed: SignedRequest, height: int) -> tuple[bytes, ...]:
        self.put(self.nodes[0], RecordKind.START, StartRecord(signed, self.nodes[0]))
        return self.inference(signed.inference_id).candidates

    def versions(self) -> int:
        return sum(key.startswith(b"serve/") for key in self.state)


def lab_of(**change: Any) -> Chained:
    lab = Chained(**{"economy": replace(ECONOMY, collateral_min_micro=LEAST), "epoch_blocks": 100, **change})
    for number in range(2, len(lab.nodes)):  # 0 is the agent, 1 comes later
        submit(lab, lab.owners[number], Deposit(lab.nodes[number], LEAST))
    lab.block(2)
    return lab


def owned(number: int, body: Callable[[Lab], Body]) -> Callable[[Chained], None]:
    return lambda lab: submit(lab, lab.owners[number], body(lab))


def convicted(lab: Chained) -> None:
    """Convict peer 4 as the sequential test does."""
    lab.view.put_participant(replace(part(lab, lab.nodes[4]), convicted_until=200, convicted_reason="because"))


def suspended(lab: Chained) -> None:
    lab.view.put_participant(replace(part(lab, lab.nodes[4]), suspended_until=200, suspended_reason="because"))


MOVES = {
    "deposit": owned(1, lambda lab: Deposit(lab.nodes[1], LEAST)),
    "withdraw": owned(3, lambda lab: Withdraw(lab.nodes[3], 1)),
    "leave": owned(3, lambda lab: Unregister(lab.nodes[3])),
    "another offer": owned(3, lambda lab: registration(lab, lab.owners[3], lab.keys[3], models=())),
    "a floor above the price": owned(3, lambda lab: registration(lab, lab.owners[3], lab.keys[3], floor=PRICE + 1)),
    "another key": owned(3, lambda lab: rotation(lab, lab.owners[3], lab.keys[3], NEW)),
    "conviction": convicted, "suspension": suspended,
}


@pytest.mark.parametrize("later", [0, 1, DRAW_WINDOW - 1], ids=["the same block", "the next", "the last"])
@pytest.mark.parametrize("name", MOVES)
def test_changes_between_draw_and_start_change_no_candidate(name: str, later: int) -> None:
    lab = lab_of()
    height = lab.height - 1
    asked = [lab.asked(height) for _ in range(24)]
    MOVES[name](lab)
    if later:
        lab.block(later)
    beacon = lab.view.beacon(height)
    assert beacon is not None
    anew = [
        draw_executors(beacon, signed.inference_id, WeightedDraw(lab.now()), lab.nodes[0], MAX_CANDIDATES)
        for signed, _ in asked
    ]
    assert anew != [drawn for _, drawn in asked], "the change must change a new draw, else the test shows nothing"
    for signed, drawn in asked:
        assert lab.begin(signed, height) == drawn
    staying = lab.nodes[2]
    # two, for each is decided before the next, and a committee's window ends
    mine = [signed.inference_id for signed, drawn in asked if drawn[0] == staying][:2]
    for inference_id in mine:
        lab.finish(inference_id, staying)
    lab.block(2)
    for inference_id in mine:
        lab.decide(inference_id, lambda node: {})
        assert lab.inference(inference_id).paid_micro > 0
    before = lab.view.account(lab.owners[2].public).balance_micro
    to_end(lab)
    assert (lab.view.account(lab.owners[2].public).balance_micro > before) == bool(mine)
    assert mine


def test_a_price_that_crosses_a_floor_between_draw_and_start() -> None:
    """Nobody uses the model, so its price falls by one a block; one participant has a price floor of 5."""
    lab = lab_of(
        economy=replace(
            ECONOMY, collateral_min_micro=LEAST, price_step_milli=1, price_window=1, price_epoch_milli=10_000
        )
    )
    submit(lab, lab.owners[3], registration(lab, lab.owners[3], lab.keys[3], floor=5))
    while lab.nodes[3] in dict(lab.now()) or lab.height < 4:
        height = lab.height - 1
        lab.block()
        assert lab.height < 20
    signed, drawn = lab.asked(height)
    assert lab.nodes[3] in drawn
    assert lab.begin(signed, height) == drawn
    for at in range(lab.height):
        assert serving_at(lab.view, "toy", at).pairs() == lab.drawable[at], at
    versions = lab.versions()
    lab.block(DRAW_WINDOW)
    assert lab.versions() == versions, "a price that crosses no floor writes no new set"


acts = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["deposit", "withdraw", "leave", "offer", "floor", "none"]),
            st.integers(1, 4),
            st.integers(0, 3),
        ),
        st.tuples(st.just("rotate"), st.integers(1, 4), st.integers(0, 3)),
        st.tuples(st.just("vote"), st.sampled_from([8, 12, PRICE]), st.just(0)),
        st.tuples(st.just("block"), st.integers(1, 6), st.just(0)),
        st.tuples(st.just("draw"), st.integers(0, 3), st.integers(0, DRAW_WINDOW + 2)),
    ),
    max_size=40,
)


def act(lab: Chained, what: str, number: int, amount: int) -> None:
    owner, key = lab.owners[number], lab.keys[number]
    known = nodes_of(lab.view, owner.public)
    node = known[0].node if known else key.public
    key = next((k for k in lab.by_node.values() if k.public == node), key)
    if what == "rotate":
        new = Key(digest(b"rotated", node))
        submit(lab, owner, rotation(lab, owner, key, new))
        lab.by_node[new.public] = new
        return
    submit(lab, owner, {
        "deposit": Deposit(node, LEAST // 2 * (amount + 1)), "withdraw": Withdraw(node, LEAST // 2 * (amount + 1)),
        "leave": Unregister(node),
        "offer": registration(lab, owner, key), "none": registration(lab, owner, key, models=()),
        "floor": registration(lab, owner, key, floor=PRICE - 2 + amount),
    }[what])


@settings(max_examples=60, deadline=None)
@given(acts)
def test_the_chain_draws_what_the_agent_drew(steps: list[tuple[str, int, int]]) -> None:
    lab = lab_of(epoch_blocks=10)
    waiting: list[tuple[int, int, SignedRequest, tuple[bytes, ...]]] = []
    for what, number, amount in [*steps, ("block", DRAW_WINDOW, 0)]:
        if what == "draw":
            height = lab.height - 1 - number
            if height >= 0:
                waiting.append((lab.height + amount, height, *lab.asked(height)))
        elif what == "block":
            for _ in range(number):
                due = [row for row in waiting if row[0] == lab.height]
                for _, height, signed, drawn in due:
                    if height >= lab.height - DRAW_WINDOW:
                        assert lab.begin(signed, height) == drawn
                lab.block()
                kept = range(max(lab.height - DRAW_WINDOW, 0), lab.height)
                for height in kept:
                    assert serving_at(lab.view, "toy", height).pairs() == lab.drawable[height], height
                assert lab.versions() <= MAX_VERSIONS
                every = range(1, lab.height)
                assert lab.versions() <= 1 + sum(lab.drawable[at] != lab.drawable[at - 1] for at in every)
        elif what == "vote":
            try:
                put_to_vote(lab, ChangeModel("toy", (("price_micro", number),)), by=2)
            except FolkmootError:
                continue
        else:
            try:
                act(lab, what, number, amount)
            except FolkmootError:
                continue  # may be refused: it has left, or has not so much


def in_session(lab: Chained, session: bytes, since: int, height: int) -> SignedRequest:
    signed, _ = lab.asked(height)
    body = replace(signed.request, session=session, session_height=since)
    return SignedRequest(body, CLIENT.sign(Domain.REQUEST, lab.network, encode(body)))


def test_requests_of_a_session_draw_the_same_executors_whatever_their_inference() -> None:
    lab, session = lab_of(), b"\x01" * 32
    since = lab.height - 1
    draws = {lab.begin(in_session(lab, session, since, since), since)}
    for _ in range(3):
        lab.block(10)
        draws.add(lab.begin(in_session(lab, session, since, lab.height - 1), lab.height - 1))
    assert len(draws) == 1
    others = {lab.begin(in_session(lab, bytes([n]) * 32, since, lab.height - 1), lab.height - 1) for n in range(2, 9)}
    assert len(others) > 1, "another session is another draw"


def test_who_left_since_is_drawn_no_more_and_who_came_since_is_not_drawn_yet() -> None:
    lab, session = lab_of(), b"\x01" * 32
    since = lab.height - 1
    before = lab.begin(in_session(lab, session, since, since), since)
    gone = before[0]
    number = lab.nodes.index(gone)
    submit(lab, lab.owners[number], Unregister(gone))
    submit(lab, lab.owners[1], Deposit(lab.nodes[1], LEAST))
    lab.block(2)
    after = lab.begin(in_session(lab, session, since, lab.height - 1), lab.height - 1)
    assert set(after) == set(before) - {gone}
    assert lab.nodes[1] in dict(lab.now())


def test_a_session_ends_after_its_hour_or_when_its_set_is_forgotten() -> None:
    lab, session = lab_of(epoch_blocks=10_000), b"\x01" * 32
    since = lab.height - 1
    lab.block(SESSION_HEIGHTS)
    at = lab.height - 1
    assert draw_for(lab.view, in_session(lab, session, since, at)) is not None
    for wrong in (since - 1, at + 1):
        with pytest.raises(FolkmootError, match="begin a new one"):
            draw_for(lab.view, in_session(lab, session, wrong, at))
    with pytest.raises(FolkmootError, match="names no height"):
        draw_for(lab.view, in_session(lab, bytes(32), since, at))
    for number in range(2 * MAX_VERSIONS):  # a set for each height or two
        submit(lab, lab.owners[3], registration(lab, lab.owners[3], lab.keys[3], floor=PRICE + number % 2))
        lab.block()
    with pytest.raises(FolkmootError, match="begin a new session"):
        draw_for(lab.view, in_session(lab, session, at - 1, lab.height - 1))


def test_a_retired_model_starts_what_was_drawn_before_and_then_is_forgotten() -> None:
    lab = lab_of(epoch_blocks=20)
    put_to_vote(lab, RetireModel("toy"))
    lab.block(20 - lab.height)
    signed, drawn = lab.asked(19)
    lab.block()  # the epoch's last block: the model is retired
    assert serving_at(lab.view, "toy", 20).pairs() == []
    late, _ = lab.asked(20)
    with pytest.raises(FolkmootError, match="retired"):
        lab.begin(late, 20)
    assert lab.begin(signed, 19) == drawn != ()
    lab.finish(signed.inference_id, drawn[0])
    lab.block(DRAW_WINDOW)
    assert lab.versions() == 0
    assert not [key for key in lab.state if key.startswith(b"serving/")]
    assert serving_at(lab.view, "toy", lab.height - 1).pairs() == []


def test_restart_and_snapshot_keep_the_sets(tmp_path: Path) -> None:
    genesis = genesis_of(SCENARIO)
    chain = Chain.open(tmp_path, genesis)
    extend(chain, 6, BY_KEY, lambda height: NOW + height * 1000)
    sets = [chain.reader.serving_at(MODEL, height).pairs() for height in range(7)]
    assert all(sets)
    chain.close()
    chain = Chain.open(tmp_path, genesis)
    assert [chain.reader.serving_at(MODEL, height).pairs() for height in range(7)] == sets
    chunks, slots = run_to_end(make_chunks(sorted(chain.store.scan("state"))))
    manifest = Manifest(6, tuple(slots))
    state = dict(pair for index, raw in enumerate(chunks) for pair in open_chunk(raw, manifest, index))
    assert manifest.app_hash() == chain.app_hash()
    assert [serving_at(View(state.get), MODEL, height).pairs() for height in range(7)] == sets
    chain.close()


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.binary(min_size=1, max_size=2), st.integers(0, 50), max_size=12),
    st.lists(st.binary(min_size=1, max_size=2), max_size=4),
    st.integers(0, 8),
    st.binary(max_size=4),
)
def test_running_sums_draw_what_the_rule_says(
    weights: dict[bytes, int], exclude: list[bytes], count: int, seed: bytes
) -> None:
    """The rule itself: each time walk along the weights of those that were not drawn yet."""
    left = sorted((node, weight) for node, weight in weights.items() if weight > 0 and node not in exclude)
    drawn: list[bytes] = []
    while left and len(drawn) < count:
        point = int.from_bytes(
            digest(b"d", b"b", seed, len(drawn).to_bytes(4, "big")), "big"
        ) % sum(weight for _, weight in left)
        at = next(at for at in range(len(left)) if point < sum(weight for _, weight in left[: at + 1]))
        drawn.append(left.pop(at)[0])
    assert WeightedDraw(weights.items()).draw(b"d", b"b", seed, exclude, count) == tuple(drawn)
