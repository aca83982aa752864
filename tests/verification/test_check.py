"""Artifact and checks on a toy model: honest passes, each lie is named, any bytes are survived, short answers are judged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from p2p.errors import RemoteProtocolError
from p2p.inference.engine import TokenStep
from p2p.keys import Key
from p2p.types import FinishReason, FinishRecord, InferenceId, ModelSpec, Params, Request
from p2p.verification import artifact as artifacts
from p2p.verification import check, tape
from tests.fake_vllm import EOS, VOCAB, Toy

SEED, IID = b"\x07" * 32, InferenceId(b"\x09" * 32)
SPEC = ModelSpec("toy", b"\x01" * 32, b"\x02" * 32, "bfloat16", 10, 1, 2048)
PROMPT = (1, 50, 60)


def request(tokens: int, params: Params) -> Request:
    return Request(1, "n", bytes(32), 1, "toy", b"\x03" * 32, params, 64, tokens, 100, 50)


def generate(toy: Toy, count: int, params: Params, seed: bytes = SEED) -> list[TokenStep]:
    context, steps = list(PROMPT), []
    for position in range(count):
        row = toy.logprobs(context)
        token = int(np.argmax(tape.scores(row, params, tape.gumbel_row(seed, position, VOCAB))))
        best = np.argsort(-row)[:8]
        steps.append(TokenStep(token, "", float(row[token]), tuple((int(t), float(row[t])) for t in best)))
        context.append(token)
        if token == EOS:
            break
    return steps


def rows(toy: Toy, tokens: tuple[int, ...]) -> list[dict[int, float]]:
    context, found = list(PROMPT), []
    for token in tokens:
        row = toy.logprobs(context)
        found.append({int(t): float(row[t]) for t in [*np.argsort(-row)[:32], token]})
        context.append(token)
    return found


def claim(count: int = 40, params: Params | None = None, salt: int = 1) -> tuple[artifacts.Artifact, Request, FinishRecord]:
    params = params or Params(700)
    req = request(count, params)
    steps = generate(Toy(salt), count, params)
    header = artifacts.header_for(req, IID, SPEC, SEED, PROMPT, FinishReason.LENGTH)
    made = artifacts.build(header, steps)
    record = FinishRecord(IID, Key(bytes(32)).public, made.root(), made.output_hash(), len(PROMPT), len(steps), FinishReason.LENGTH)
    return made, req, record


@pytest.mark.parametrize("params", [Params(0), Params(700), Params(1000, 20, 0), Params(1000, 0, 50)])
@pytest.mark.parametrize("count", [1, 3, 8, 40])
def test_honest_work_passes_at_every_length(params: Params, count: int) -> None:
    made, req, record = claim(count, params)
    assert check.check_exact(made, req, record, SPEC, SEED, frozenset({EOS})) is None
    report = check.check_statistics(made, rows(Toy(1), made.tokens), params, SEED)
    assert report.valid, report.reason
    assert report.margin_mean < 1e-6


@pytest.mark.parametrize("count", [1, 4, 40])
def test_another_model_is_caught_by_its_probabilities(count: int) -> None:
    made, req, _ = claim(count, salt=2)
    assert not check.check_statistics(made, rows(Toy(1), made.tokens), req.params, SEED).valid


def test_laundered_text_is_caught_by_its_tokens() -> None:
    """Text of a cheap model, probabilities of the right one: only the tape sees it."""
    params = Params(700)
    cheap = generate(Toy(2), 40, params)
    right = rows(Toy(1), tuple(s.token for s in cheap))
    laundered = [TokenStep(s.token, "", r[s.token], tuple(sorted(r.items(), key=lambda i: -i[1])[:8])) for s, r in zip(cheap, right, strict=True)]
    made = artifacts.build(artifacts.header_for(request(40, params), IID, SPEC, SEED, PROMPT, FinishReason.LENGTH), laundered)
    report = check.check_statistics(made, right, params, SEED)
    assert not report.valid
    assert "not what this model samples" in report.reason
    assert check._check_tape(made, params, SEED) is not None


@pytest.mark.parametrize(("change", "words"), [
    ({"seed": b"\x08" * 32}, "root"), ({"model": "other"}, "root"), ({"params": Params(900)}, "root"),
])
def test_a_changed_header_is_not_under_the_root(change: dict[str, object], words: str) -> None:
    made, req, record = claim()
    forged = artifacts.Artifact(replace(made.header, **change), made.rows)
    wrong = check.check_exact(forged, req, record, SPEC, SEED, frozenset({EOS}))
    assert wrong is not None
    assert words in wrong


def test_truncation_and_wrong_ends_are_exact() -> None:
    made, req, record = claim(20)
    longer = replace(req, max_tokens=30)
    wrong = check.check_exact(made, longer, record, SPEC, SEED, frozenset({EOS}))
    assert wrong == "the answer is truncated: shorter than max_tokens without an end-of-sequence token"


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes_are_survived(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        artifacts.parse(data)


@settings(max_examples=300)
@given(st.data())
def test_no_changed_byte_keeps_the_root(data: st.DataObject) -> None:
    made, _, record = claim(5)
    raw = bytearray(made.to_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        changed = artifacts.parse(bytes(raw))
    except RemoteProtocolError:
        return
    assert changed.root() != record.artifact_root


def test_size_is_within_its_goal() -> None:
    made, _, _ = claim(40)
    assert len(made.rows) / made.length <= 32
