"""What a gateway remembers of its answers: proofs, and how fast executors were."""

from __future__ import annotations

from msgspec.structs import replace

from p2p.base.codec import encode
from p2p.base.types import VERSION, FinishReason, FinishRecord, SignedFinish, SignedRequest
from p2p.client.answer_proof import AnswerProof, parse_proof
from p2p.gateway.host_times import HostTimes, Watch
from p2p.gateway.kept_proofs import KeptProofs
from p2p.wire.frames import Accepted
from tests.client.one_answer import BODY, EXECUTOR, SIGNED


def proof(number: int, text: str = "said") -> AnswerProof:
    signed = SignedRequest(replace(SIGNED.request, client_nonce=number + 1), bytes(64))
    record = FinishRecord(signed.inference_id, EXECUTOR.public, bytes(32), bytes(32), 3, 0, FinishReason.STOP)
    accepted = Accepted(signed.inference_id, EXECUTOR.public, bytes(32), (EXECUTOR.public,))
    return AnswerProof(VERSION, encode(BODY), signed, accepted, SignedFinish(record, bytes(64)), b"", b"", text)


def name_of(one: AnswerProof) -> str:
    return one.signed_request.inference_id.hex()


def test_a_proof_is_given_as_it_came() -> None:
    kept = KeptProofs()
    kept.keep(proof(0))
    raw = kept.get(name_of(proof(0)))
    assert raw is not None
    assert parse_proof(raw) == proof(0)
    assert kept.get("00" * 32) is None


def test_proofs_are_bounded_in_number_and_bytes() -> None:
    kept = KeptProofs(most=3)
    for number in range(5):
        kept.keep(proof(number))
    assert [kept.get(name_of(proof(number))) is not None for number in range(5)] == [False, False, True, True, True]
    size = len(encode(proof(0)))
    small = KeptProofs(size=2 * size + 10)
    for number in range(3):
        small.keep(proof(number))
        small.keep(proof(number))
    assert [small.get(name_of(proof(number))) is not None for number in range(3)] == [False, True, True]


def test_times_are_medians_from_the_moment_an_executor_is_asked() -> None:
    times = HostTimes()
    for first, step in ((0.2, 0.1), (0.4, 0.2), (9.0, 5.0)):
        watch = Watch(times)
        watch.asked("a", 100.0)
        for number in range(11):
            watch.token(100.0 + first + number * step)
        watch.done()
    row = times.rows()["a"]
    assert (row.answers, row.first_token_ms, row.tokens_a_second) == (3, 400, 5.0)


def test_another_executor_that_takes_over_begins_anew_and_one_frame_gives_no_rate() -> None:
    times = HostTimes()
    watch = Watch(times)
    watch.asked("a", 0.0)
    watch.token(1.0)
    watch.asked("b", 5.0)
    watch.token(5.5)
    watch.token(5.5)
    watch.done()
    assert times.rows().keys() == {"b"}
    assert (times.rows()["b"].first_token_ms, times.rows()["b"].tokens_a_second) == (500, 0.0)


def test_a_bounded_number_of_executors_is_remembered() -> None:
    times = HostTimes(most=2)
    for name in "abac":
        times.add(name, 1.0, 1.0, 5)
    assert times.rows().keys() == {"a", "c"}
