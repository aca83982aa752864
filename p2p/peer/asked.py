"""What a validator makes of the question before it checks the answer: its tokens, and how the answer is sampled.

Law: a function of the request, its body and the model's own files; no engine is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2p.base.body import Body
from p2p.base.types import FinishRecord
from p2p.peer.ready_engine import ReadyEngine
from p2p.text.stop import wrong_end
from p2p.text.vocabulary import Vocabulary, text_hash
from p2p.verification.artifact import Artifact, prompt_tokens_hash
from p2p.verification.sampling import Sampling

if TYPE_CHECKING:
    from p2p.chain.views.inferences import Claim


@dataclass(frozen=True, slots=True)
class Asked:
    """One question, ready to be checked against."""

    body: Body
    prompt: tuple[int, ...]  # token ids, those that the answer continues included
    sampling: Sampling


def open_question(ready: ReadyEngine, claim: Claim, body: Body) -> Asked:
    """Raises InvalidRequest for a question that no host can answer, Unavailable without the model's files."""
    sampling = ready.sampling(claim.request.params, body, claim.spec)
    return Asked(body, (*ready.words().prompt(body), *body.begun_tokens), sampling)


def wrong_text(asked: Asked, artifact: Artifact, finish: FinishRecord, vocabulary: Vocabulary) -> str | None:
    """What is wrong with the prompt that was charged, the text that was signed, or the end at a stop string."""
    if len(asked.prompt) != finish.prompt_tokens:
        return "the prompt's token count is not what was charged"
    if prompt_tokens_hash(asked.prompt) != artifact.header.prompt_tokens_hash:
        return "the prompt's tokens are not those of this model's chat template"
    begun = asked.body.begun_tokens
    if text_hash(vocabulary.text(artifact.tokens, begun)) != finish.text_hash:
        return "the text signed for is not the text of the tokens"
    return wrong_end(vocabulary, begun, artifact.tokens, asked.body.stop, finish.finish_reason)
