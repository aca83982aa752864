"""What a client signs, whatever its peer answers: a draw of a proved height, a nonce near the known one or proved, a
price near a proved one."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from p2p.base.body import one_message
from p2p.base.codec import encode, unpack
from p2p.base.errors import FolkmootError, InvalidRequest, RemoteProtocolError
from p2p.base.keys import Domain, Key, digest
from p2p.base.serving_limits import BEACON_MAX_AGE, HEIGHTS_APART, MAX_NONCE_AHEAD
from p2p.base.token_ids import pack_ids
from p2p.base.types import VERSION, RecordKind, SignedRequest, StartRecord
from p2p.base.weighted_draw import WeightedDraw, draw_executors
from p2p.client import tip_proof as ground
from p2p.client.answer_proof import AnswerProof
from p2p.client.inspection import proof_problems
from p2p.client.known_prices import KnownPrices
from p2p.client.tip_proof import NONCES_ON_WORD, PRICE_FACTOR, Prover, next_nonce
from p2p.consensus.light import LightBlock
from p2p.ledger.apply_operation import carry_out
from p2p.ledger.participants.serving import DRAW_WINDOW
from p2p.ledger.rules.ops import Cap, Transfer, sign_op
from p2p.ledger.state.records import Account
from p2p.verification.artifact import parse
from p2p.wire.frames import Accepted, Ask, Forward
from tests.client.liar import BY_KEY, PEER, Liar
from tests.client.one_answer import RAW
from tests.ledger.account_transactions import refused, signed
from tests.ledger.lab import Lab
from tests.ledger.money.test_money import signed_request
from tests.sim.run import KEYS
from tests.sim.traffic import CLIENT, MODEL

MAX_U64 = 2**63 - 1
__all__ = ["BY_KEY", "CLIENT", "MODEL", "PEER", "Liar"]

# -- the draw ----------------------------------------------------------------------------------------------------------


async def test_the_draw_is_of_the_newest_proved_header_and_the_deadline_follows_it(peer: Liar) -> None:
    signed, drawn = await peer.signed()
    request = signed.request
    assert (request.draw_height, request.deadline_height) == (peer.chain.height(), peer.chain.height() + 300)
    assert drawn.beacon == peer.chain.beacon(), "it is known before the client signs"
    assert peer.asked == ["tip"], "one question, and no wait for a block"


@pytest.mark.parametrize("height", [6, 2**31, 2**32 - 1])
async def test_a_height_that_is_not_decided_is_not_signed(peer: Liar, height: int) -> None:
    peer.says(height=height)
    peer.grow = lambda heights: None  # type: ignore[method-assign]
    with pytest.raises(FolkmootError):
        await peer.request()


@pytest.mark.parametrize("height", [0, 2, 4])
async def test_an_older_height_is_a_true_one(peer: Liar, height: int) -> None:
    """A peer may hide its newest heights, but before it knows the request, so it gains no choice. A draw that is too
    old is accepted by nobody."""
    peer.says(height=height)
    signed, drawn = await peer.signed()
    assert (signed.request.draw_height, drawn.beacon) == (height, peer.chain.reader.beacon_at(height))


async def test_a_header_that_the_validators_did_not_sign_is_not_believed(peer: Liar) -> None:
    top = unpack(LightBlock, bytes.fromhex((await peer.question({"op": "light", "height": 5}))["light"]))
    other = replace(top, header=replace(top.header, beacon=bytes(32)))
    peer.says(light=encode(other).hex())
    with pytest.raises(RemoteProtocolError):
        await peer.request()


def test_nobody_but_the_client_says_the_height_of_a_draw() -> None:
    """No field of Start, Forward or Accepted holds a height, so an agent has nothing to choose."""
    for kind in (StartRecord, Forward, Accepted):
        assert not [name for name in kind.__struct_fields__ if "height" in name], kind


def test_one_request_has_one_draw() -> None:
    """With 32 beacons to choose from, an agent could have a friend with 5 % of the weight drawn first in 1 - 0.95^32 =
    81 % of all requests. With one beacon it is 5 %. Each request that it refuses before it accepts one gives it another
    5 %, and the client sees every refusal."""
    friend, weight = digest(b"friend"), 5
    serving = WeightedDraw([(friend, weight), *((digest(b"node", bytes([at])), 5) for at in range(19))])
    requests = [digest(b"request", at.to_bytes(4, "big")) for at in range(1000)]

    def first(beacon: int, request: bytes) -> bool:
        return draw_executors(digest(b"beacon", bytes([beacon])), request, serving, b"", 1) == (friend,)

    once = sum(first(0, request) for request in requests)
    chosen = sum(any(first(beacon, request) for beacon in range(32)) for request in requests[:200])
    assert once < 80
    assert chosen > 140, "what a choice among 32 beacons would be worth"


def test_the_bounds_of_a_draws_age_fit_into_the_chains_window() -> None:
    assert 2 * HEIGHTS_APART < BEACON_MAX_AGE < DRAW_WINDOW - 2 * HEIGHTS_APART


async def test_an_agent_takes_no_draw_that_is_old_or_not_decided(peer: Liar) -> None:
    from p2p.peer.agent import Agent
    from p2p.peer.outbox import Outbox

    signed = await peer.request()
    outbox = Outbox(KEYS[0], peer.chain.genesis.network)
    agent = Agent(KEYS[0], peer.chain, outbox, None)  # type: ignore[arg-type]
    peer.grow(BEACON_MAX_AGE + 1)
    later = replace(signed.request, draw_height=peer.chain.height() + 1)
    for request in (replace(signed.request, agent=KEYS[0].public), replace(later, agent=KEYS[0].public)):
        asked = SignedRequest(request, CLIENT.sign(Domain.REQUEST, request.network, encode(request)))
        with pytest.raises(InvalidRequest) as caught:
            await agent.serve(None, Ask(VERSION, asked, encode(one_message("hello"))))  # type: ignore[arg-type]
        assert caught.value.field == "draw_height"
    assert len(outbox) == 0


@pytest.mark.parametrize("behind", [-1, 0, DRAW_WINDOW + 1, 40])
def test_the_chain_takes_no_draw_that_is_old_or_not_decided(behind: int) -> None:
    lab = Lab()
    lab.block(45)
    with pytest.raises(RemoteProtocolError) as caught:
        lab.put(
            lab.nodes[0], RecordKind.START,
            StartRecord(signed_request(lab, draw_height=lab.height - behind), lab.nodes[0])
        )
    assert caught.value.field == "draw_height"
    good = signed_request(lab, draw_height=lab.height - DRAW_WINDOW)
    lab.put(lab.nodes[0], RecordKind.START, StartRecord(good, lab.nodes[0]))
    assert lab.inference(good.inference_id).draw_height == lab.height - DRAW_WINDOW


def test_a_proof_of_a_hot_keys_answer_is_signed_by_the_key_it_names() -> None:
    """`folkmoot verify` used to check the signature against the account's key, and refused every answer to a hot
    key."""
    from tests.fuzz.targets import CLIENT as FUZZ_CLIENT
    from tests.fuzz.targets import claims

    claim, account = claims()[0], Key(b"\x55" * 32)
    request = replace(claim.signed.request, account=account.public)
    assert request.signer == FUZZ_CLIENT.public

    def problems(signer: Key) -> list[str]:
        signed = SignedRequest(request, signer.sign(Domain.REQUEST, request.network, encode(request)))
        tokens = pack_ids(parse(claim.done.artifact).tokens)
        done = claim.done
        proof = AnswerProof(
            VERSION, RAW, signed, claim.accepted, done.finish, done.artifact, tokens, ""
        )
        return proof_problems(proof, None)

    sentence = "the request is not signed by the key it names"
    assert sentence not in problems(FUZZ_CLIENT)
    assert sentence in problems(account)
    assert sentence in problems(PEER)


# -- the nonce ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [MAX_U64, 2**62, 10**6, MAX_NONCE_AHEAD, NONCES_ON_WORD + 1])
async def test_a_nonce_far_ahead_is_proved_first(peer: Liar, said: int) -> None:
    peer.says(next_nonce=said)
    assert (await peer.request()).request.client_nonce == 1
    assert "prove" in peer.asked


@pytest.mark.parametrize("said", ["7", -1, 0, None, [1], {"a": 1}, 2**63, 1.5, True, [[[[]]]], "x" * 10_000])
async def test_a_nonce_that_is_none_is_one_sentence_that_names_the_peer(peer: Liar, said: Any) -> None:
    peer.says(next_nonce=said)
    with pytest.raises(RemoteProtocolError) as caught:
        await peer.request()
    assert PEER.peer_id in caught.value.message
    assert len(caught.value.message) < 500
    assert not (peer.folder / "nonces").exists(), "nothing was signed"


async def test_a_proof_of_another_state_proves_no_nonce(peer: Liar) -> None:
    peer.says(next_nonce=10**6)
    peer.lies["prove"] = lambda answer: {**answer, "value": encode(Account(10**9, 10**6 - 1, 1)).hex()}
    with pytest.raises(RemoteProtocolError, match="proves what the chain does not say"):
        await peer.request()


async def test_nonces_that_never_came_on_chain_do_not_end_an_account(peer: Liar) -> None:
    """A liar that accepted requests and dropped them has driven this client's own count far ahead of the chain's."""
    peer.nonces.take(CLIENT.public, 5000)
    assert (await peer.request()).request.client_nonce == 1
    assert (await peer.request()).request.client_nonce == 2


def test_the_ledger_refuses_what_is_signed_far_ahead() -> None:
    lab = Lab()
    lab.block()
    key = lab.owners[0]
    body = Transfer(b"\x07" * 32, 1)
    for nonce in (MAX_NONCE_AHEAD + 1, 2**62, MAX_U64):
        refused(lab, signed(lab, key, body, nonce=nonce), "nonce")
    assert Account().nonce_is_free(MAX_NONCE_AHEAD)
    assert not Account().nonce_is_free(MAX_NONCE_AHEAD + 1)
    carry_out(lab.ctx, sign_op(key, lab.network, 1, Cap(0, 0)))


# -- the price ---------------------------------------------------------------------------------------------------------


async def test_a_price_far_above_the_known_one_is_refused_with_the_option_that_allows_it(peer: Liar) -> None:
    known = peer.chain.genesis.models[0].price_micro
    peer.says(price_micro=PRICE_FACTOR * known + 1)
    with pytest.raises(InvalidRequest, match="--max-price") as caught:
        await peer.request()
    assert caught.value.field == "max_price"
    assert (await peer.request(max_price_micro=100)).request.max_price_micro == 100
    with pytest.raises(InvalidRequest):
        await peer.request(max_price_micro=PRICE_FACTOR * known)
    peer.prices.keep(MODEL, 50)
    limit = (await peer.request()).request.max_price_micro
    assert limit == PRICE_FACTOR * (PRICE_FACTOR * known + 1), "it is near the proved price"


async def test_a_price_is_proved_where_none_is_known(peer: Liar) -> None:
    prover = Prover(peer.chain.genesis, peer.question, PEER.peer_id)
    found = await prover.ground(CLIENT.public, MODEL)
    assert await prover.price(found.facts, MODEL, found.height) == peer.chain.reader.price_micro(MODEL)


@pytest.mark.parametrize("found", ["[]", "no", '{"m": true}', '{"m": -1}', '{"m": "7"}', "[" * 5000, ""])
def test_an_odd_file_of_prices_is_none(tmp_path: Path, found: str) -> None:
    (tmp_path / "prices").write_text(found)
    prices = KnownPrices(tmp_path / "prices")
    assert prices.get("m") is None
    prices.keep("m", 7)
    assert prices.get("m") == 7


# -- notices -----------------------------------------------------------------------------------------------------------

NOTICE: dict[str, Any] = {"inference_id": "ab" * 32, "what": "INVALIDATED", "amount_micro": 300, "height": 3}


@pytest.mark.parametrize("bad", [
    {}, [], NOTICE | {"height": "3"}, NOTICE | {"what": "\x1b[2J"}, NOTICE | {"inference_id": "a\n"},
    # a client that remembered such a height would have every later question refused
    NOTICE | {"height": -1}, NOTICE | {"height": 6}, NOTICE | {"height": 2**32}, NOTICE | {"height": 2**60},
])
async def test_an_odd_notice_ends_the_question(peer: Liar, bad: Any) -> None:
    peer.says(notices=[NOTICE])
    assert (await peer.request()).is_signed(), "else this shows nothing"
    peer.says(notices=[NOTICE, bad])
    with pytest.raises(RemoteProtocolError):
        await peer.request()


# -- all of it ---------------------------------------------------------------------------------------------------------

ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1, 3, 63, 64, 65, 66, 1024, 10**6, 2**31, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, "",
    "7", "\x1b[2J", [], {},
    [1], {"a": {"b": []}}, "ff" * 32, "zz",
)


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_a_peer_answers_a_request_is_bounded_or_there_is_none(peer: Liar, seed: int) -> None:
    """Seeded: fields of every answer are replaced, left out or added. What the client signs keeps the bounds, or there
    is one typed error."""
    rng = random.Random(seed)
    known = peer.chain.genesis.models[0].price_micro

    def odd(answer: dict[str, Any]) -> Any:
        if rng.random() < 0.05:
            return rng.choice([[], 7, None, "x", {}])
        changed = dict(answer)
        for name in list(changed):
            if rng.random() < 0.25:
                changed[name] = rng.choice(ODD)
            elif rng.random() < 0.05:
                del changed[name]
        return changed

    signed_some = 0
    for _ in range(40):
        for op in ("tip", "prove", "serving", "light"):
            peer.lies[op] = odd if op == "tip" or rng.random() < 0.3 else lambda answer: answer
        last = peer.nonces.last(CLIENT.public)
        try:
            request = (await peer.request()).request
        except FolkmootError:
            continue
        signed_some += 1
        assert 0 <= request.draw_height <= peer.chain.height()
        assert request.deadline_height == request.draw_height + 300
        assert 1 <= request.client_nonce <= max(last, 0) + NONCES_ON_WORD
        assert 1 <= request.max_price_micro <= PRICE_FACTOR * known
    assert signed_some, "else the test shows nothing"


async def test_a_proof_waits_for_a_block_and_not_for_ever(peer: Liar, autojump_clock: trio.testing.MockClock) -> None:
    peer.says(next_nonce=10**6)

    def never(answer: dict[str, Any]) -> Any:
        raise InvalidRequest("no such block", field="height", code="not_found")

    peer.lies["light"] = never
    with pytest.raises(FolkmootError, match="did not come"):
        await peer.request()
    assert ground.HEADER_WAIT_S <= trio.current_time() < 10 * ground.HEADER_WAIT_S
    assert autojump_clock


async def test_the_next_nonce_of_orders_is_bounded_too(peer: Liar) -> None:
    peer.says(next_nonce=MAX_U64)
    prover = Prover(peer.chain.genesis, peer.question, PEER.peer_id)
    assert await next_nonce(prover, await prover.ground(CLIENT.public, ""), CLIENT.public, None) == 1


def test_a_price_of_an_older_draw_does_not_replace_a_newer_one(tmp_path: Path) -> None:
    """A liar that shows an old tip could else prove a price of long ago, when it was high."""
    prices = KnownPrices(tmp_path / "prices")
    prices.keep("m", 7, 100)
    prices.keep("m", 900, 99)
    assert prices.get("m") == 7
    prices.keep("m", 8, 100)
    assert prices.get("m") == 8
