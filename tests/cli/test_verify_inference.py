"""`folkmoot verify` on answers that are false without a model: they are called false, whatever an engine makes of
them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from p2p.base.body import one_message
from p2p.base.errors import Unavailable
from p2p.cli.verify_inference import Result, _check
from p2p.client.inspection import Case
from p2p.inference.local_engine import LoadedEngine
from p2p.verification import artifact as artifacts
from p2p.verification.engine import TokenStep
from testnet.simulated_engine import EOS, VOCAB
from tests.lab.attacks.engine import ToyEngine
from tests.peer.ready import ToyText
from tests.peer.test_executor import BEACON, DRAWN, PROMPT, executor, forward, request, served

TEXT: Any = ToyText()
ENDS = frozenset({EOS})


class Refuses(ToyEngine):
    """As engines do with ids that their model has not."""

    async def score(self, *words: Any, **rest: Any) -> Any:
        raise Unavailable("the ML node answers 400", field="ml_node")


class AnyProfile:
    def noise(self, *words: Any, **rest: Any) -> None:
        del words, rest

    equal = noise


async def test_an_answer_with_ids_that_the_model_has_not_is_invalid_without_a_prefill() -> None:
    signed = request()
    frames, _ = await served(executor(), forward(signed))
    done, artifact = frames[-1], artifacts.parse(frames[-1].artifact)
    steps = [TokenStep(one.token, "", one.logprob, one.top) for one in artifact.positions()]
    beyond = artifacts.build(artifact.header, [replace(steps[0], token=VOCAB), *steps[1:]])
    assert VOCAB in beyond.tokens
    case = Case(signed.request, done.finish.record, BEACON, one_message(PROMPT), beyond, DRAWN)
    result, profile = Result("", "", "", [], []), AnyProfile()
    await _check(case, None, LoadedEngine(Refuses(), "vllm-cpu-bf16", None, TEXT, ENDS), profile, result)  # type: ignore[arg-type]
    assert result.report is not None
    assert not result.report.valid
    assert result.rows == []
