"""The fuzzer on a small count, and one test for each fault that it has found."""

from __future__ import annotations

from random import Random

import cbor2
import pytest
from msgspec.structs import replace

from p2p.base.codec import encode, unpack
from p2p.base.errors import FolkmootError, RemoteProtocolError
from p2p.base.keys import Domain, Key
from p2p.base.types import FinishRecord, Params
from p2p.base.weighted_draw import WeightedDraw
from p2p.client.draw_check import DrawCheck
from p2p.client.receipt import check_receipt
from p2p.verification import artifact as artifacts
from p2p.wire.frames import pack_frame, parse_frame
from tests.fuzz.mutate import head, heads, mutate
from tests.fuzz.run import ACCEPTED, BAD, CRASH, UNCHANGED, case, judge, stretch
from tests.fuzz.targets import GENESIS, SERVING, TEXT, Claim, Target, claims, targets

COUNT, SEED = 20_000, 7


def test_nothing_changed_is_accepted_and_nothing_crashes() -> None:
    tally = stretch(SEED, 0, COUNT)
    again = [f"python -m tests.fuzz --seed {SEED} --case {name}:{number}: {why}" for name, number, why in tally.bad]
    assert not again, "\n".join(again[:5])
    assert sum(tally.counts.values()) == COUNT
    for name in targets():  # the deep checks are reached as well, not the codec alone
        assert tally.counts[name, "refused"] > COUNT // 8 // 20
        assert tally.counts[name, "unread"] > COUNT // 8 // 4


def test_a_case_is_its_number() -> None:
    for name, target in targets().items():
        assert case(1, target, 5) == case(1, target, 5)
        assert case(1, target, 5) != case(2, target, 5) != case(2, target, 6), name


def test_the_fuzzer_sees_what_it_should() -> None:
    """With a check that accepts everything, and with one that raises, each case is bad."""
    parts = targets()["verdict"].originals
    lenient, broken = Target("lenient", parts, lambda at, p: True), Target("broken", parts, lambda at, p: bool({}[at]))
    assert judge(lenient, 0, (b"x",)).fate == ACCEPTED
    assert judge(lenient, 0, parts[0]).fate == UNCHANGED
    assert judge(broken, 0, (b"x",)).fate == CRASH
    assert judge(Target("strict", parts, lambda at, p: False), 0, parts[0]).fate in BAD


def test_heads_are_found_and_written() -> None:
    for value in (0, 23, 24, 255, 256, 65_536, 2**32, 2**64 - 1):
        assert cbor2.loads(head(0, value)) == cbor2.loads(head(0, value, 8)) == value
    data = cbor2.dumps([1, b"abc", [300, "x"], {"k": None}])
    assert [data[at] >> 5 for at, _ in heads(data)] == [4, 0, 2, 4, 0, 3, 5, 3, 7]


def test_mutations_change_something_mostly() -> None:
    parts = targets()["artifact"].originals
    changed = sum(mutate(parts[0], parts[1], Random(n)) != parts[0] for n in range(500))
    assert changed > 400


def test_a_left_out_field_with_a_default_is_refused() -> None:
    """[700] and a whole list were both read as Params(): two byte strings with one meaning."""
    with pytest.raises(RemoteProtocolError, match="missing"):
        unpack(Params, cbor2.dumps([700]))
    assert unpack(Params, encode(Params())) == Params()
    with pytest.raises(RemoteProtocolError, match="missing"):
        parse_frame(cbor2.dumps(["sync_top", 1, 2]))
    outer = cbor2.loads(claims()[1].done.artifact)
    header = cbor2.loads(outer[0])
    assert header[11] == [700, 0, 0, 1000, 0, 0, 1000, 0, None]
    header[11] = []
    with pytest.raises(RemoteProtocolError, match="missing"):
        artifacts.parse(cbor2.dumps([cbor2.dumps(header), outer[1]]))


def drawn(claim: Claim, **changed: object) -> DrawCheck:
    """What an honest peer shows of the draw's height, with some fields changed."""
    request = claim.signed.request
    looked = DrawCheck(GENESIS, request.model, request.draw_height, SERVING, claim.accepted.beacon)
    for name, value in changed.items():
        setattr(looked, name, value)
    return looked


def problems(claim: Claim, **changed: object) -> list[str]:
    accepted = replace(claim.accepted, **changed)
    tokens = list(artifacts.parse(claim.done.artifact).tokens)
    return check_receipt(claim.accepted.agent, claim.signed, accepted, claim.done, tokens, TEXT, drawn=drawn(claim))


@pytest.mark.parametrize(("changed", "words"), [
    ({"agent": b"\x05" * 32}, "not the peer that was asked"),  # an agent that serves nothing changes no draw
    ({"beacon": b"\x05" * 32}, "not the one the draw gives"),  # with few peers another beacon often draws the same
    ({"candidates": ()}, "not drawn"), ({"inference_id": b"\x05" * 32}, "not the hash"),
])
def test_each_claim_of_the_draw_is_checked(changed: dict[str, object], words: str) -> None:
    claim = claims()[1]
    assert problems(claim) == []
    assert any(words in problem for problem in problems(claim, **changed))


def test_the_height_of_the_draw_is_checked_by_its_beacon() -> None:
    claim = claims()[1]
    tokens = list(artifacts.parse(claim.done.artifact).tokens)
    for looked, wrong in (
        (drawn(claim, beacon=b""), 1), (drawn(claim, beacon=b"\x01" * 32), 1), (drawn(claim), 0), (None, 0),
        (drawn(claim, height=claim.signed.request.draw_height + 1), 1), (drawn(claim, serving=None), 1),
        (drawn(claim, serving=WeightedDraw([(claim.accepted.agent, 1)])), 1),
    ):
        accepted = claim.accepted
        found = check_receipt(accepted.agent, claim.signed, accepted, claim.done, tokens, TEXT, drawn=looked)
        assert len(found) == wrong, (looked, found)


def signed_again(claim: Claim, header: dict[str, object], record: dict[str, object]) -> list[str]:
    """The problems of a receipt whose executor signs these changes."""
    executor = claim.done.finish.record.executor
    key = next(k for k in (Key(bytes([at]) * 32) for at in range(32, 35)) if k.public == executor)
    made = artifacts.parse(claim.done.artifact)
    made = artifacts.Artifact(replace(made.header, **header), made.rows)
    finish: FinishRecord = replace(claim.done.finish.record, artifact_root=made.root(), **record)
    signature = key.sign(Domain.FINISH, claim.signed.request.network, encode(finish))
    signed = replace(claim.done.finish, record=finish, signature=signature)
    done = replace(claim.done, finish=signed, artifact=made.to_bytes())
    accepted, tokens = claim.accepted, list(made.tokens)
    return check_receipt(accepted.agent, claim.signed, accepted, done, tokens, TEXT, drawn=drawn(claim))


@pytest.mark.parametrize(("header", "record", "words"), [
    ({}, {}, ""),
    ({"seed": b"\x01" * 32}, {}, "the seed"), ({"params": Params(900)}, {}, "other parameters"),
    ({"body_hash": b"\x01" * 32}, {}, "body"), ({"model": "other"}, {}, "another model"),
    ({"inference_id": b"\x01" * 32}, {}, "another inference"), ({}, {"prompt_tokens": 6}, "disagree"),
    ({"prompt_tokens": 6}, {}, "disagree"),
])
def test_a_signed_lie_about_the_request_is_named(
    header: dict[str, object], record: dict[str, object], words: str,
) -> None:
    found = signed_again(claims()[1], header, record)
    assert [words in sentence for sentence in found] == ([True] if words else [])


def test_frames_of_the_receipt_are_one_encoding() -> None:
    for claim in claims():
        for frame in (claim.accepted, claim.done):
            assert parse_frame(pack_frame(frame)) == frame
    with pytest.raises(FolkmootError):
        parse_frame(b"")
