"""Checks what a client is left with after an answer.

Law: every claim of a receipt is checked here, without a model and without believing the agent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct, to_builtins

from p2p.base.codec import encode
from p2p.base.errors import FolkmootError
from p2p.base.executor_draw import draw_id
from p2p.base.keys import Domain, verify
from p2p.base.serving_limits import MAX_CANDIDATES
from p2p.base.types import NO_SESSION, FinishReason, FinishRecord, SignedRequest
from p2p.base.weighted_draw import draw_executors
from p2p.client.draw_check import DrawCheck, Known
from p2p.text.vocabulary import text_hash
from p2p.verification import artifact as artifacts
from p2p.verification.artifact import Artifact, Position
from p2p.verification.streamed import wrong_handover
from p2p.verification.tape import tape_seed
from p2p.wire.frames import Accepted, Done


class Receipt(Struct, frozen=True):
    """What was answered, by whom, and what is wrong with it."""

    inference_id: bytes
    executor: bytes
    agent: bytes
    peer: str  # that was asked
    artifact_root: bytes
    output_hash: bytes
    prompt_tokens: int
    output_tokens: int
    finish_reason: FinishReason
    draw_height: int
    signature: bytes  # the executor's, over the finish record
    artifact_bytes: int
    draw: Known  # how well the set is known that the executors were drawn from
    passed_over: tuple[bytes, ...]  # executors of whom only the agent says that they did not answer
    problems: tuple[str, ...]  # sentences; none: every claim holds
    # Inferences whose tokens this one continues, the first one first; their tokens come before those counted here.
    continues: tuple[bytes, ...] = ()
    cached: int = 0  # prompt tokens that the executor's prefix cache had, by its mere word

    @property
    def checked(self) -> bool:
        """Whether every claim holds."""
        return not self.problems

    def plain(self) -> dict[str, Any]:
        """For JSON: bytes are hexadecimal digits."""
        found = hexed(self)
        problems = found.pop("problems")
        reason = self.finish_reason.name.lower()
        return {**found, "finish_reason": reason, "checked": self.checked, "problems": problems}


def hexed(value: Struct) -> dict[str, Any]:
    """The struct as plain data, with its bytes as hexadecimal digits."""

    def digits(part: Any) -> Any:
        if isinstance(part, bytes):
            return part.hex()
        if isinstance(part, dict):
            return {name: digits(one) for name, one in part.items()}
        return [digits(one) for one in part] if isinstance(part, list | tuple) else part

    found: dict[str, Any] = digits(to_builtins(value, builtin_types=(bytes,)))
    return found


def summary(
    signed: SignedRequest, accepted: Accepted, done: Done, peer: str, problems: Sequence[str], draw: Known,
    passed_over: Sequence[bytes] = (), continues: Sequence[bytes] = (),
) -> Receipt:
    """The receipt of an answer that was checked."""
    record = done.finish.record
    return Receipt(
        record.inference_id, record.executor, accepted.agent, peer, record.artifact_root, record.output_hash,
        record.prompt_tokens, record.output_tokens, record.finish_reason, signed.request.draw_height,
        done.finish.signature, len(done.artifact), draw, tuple(passed_over), tuple(problems),
        tuple(continues), min(done.cached, record.prompt_tokens),
    )


def check_receipt(
    agent: bytes, signed: SignedRequest, accepted: Accepted, done: Done, tokens: list[int], text: str, *,
    drawn: DrawCheck | None = None,
) -> list[str]:
    """What is wrong with a receipt, as sentences; an empty list when every claim holds. Pure.

    agent: node key of the peer that was asked. text: as it came with the tokens, stop strings
    included. drawn: what was found out about the draw's height; None: nobody looked, and the draw is not checked.
    """
    record = done.finish.record
    problems = []
    if accepted.inference_id != signed.inference_id or record.inference_id != signed.inference_id:
        problems.append("the inference id is not the hash of the signed request")
    if accepted.agent != agent:
        problems.append("the agent named is not the peer that was asked")
    if record.executor not in accepted.candidates:
        problems.append("the executor was not drawn")
    if not verify(record.executor, Domain.FINISH, signed.request.network, encode(record), done.finish.signature):
        problems.append("the finish record is not signed by the executor")
    if drawn is not None:
        problems += draw_problems(drawn, accepted, signed)
    if record.output_hash != artifacts.output_hash(tokens) or record.output_tokens != len(tokens):
        problems.append("the finish record claims other tokens than were streamed")
    if record.text_hash != text_hash(text):
        problems.append("the text that was shown is not the one signed for")
    try:
        artifact = artifacts.parse(done.artifact)
    except FolkmootError as error:
        return [*problems, f"the artifact cannot be read: {error.message}"]
    return problems + _artifact_problems(artifact, signed, accepted, record)


def streamed_by(done: Done) -> set[bytes]:
    """Whose signed words the artifact has beside its executor's."""
    try:
        return {one.record.executor for one in artifacts.parse(done.artifact).header.taken}
    except FolkmootError:
        return set()


def draw_problems(drawn: DrawCheck, accepted: Accepted, signed: SignedRequest) -> list[str]:
    """What is wrong with who was drawn, as sentences."""
    request, session, problems = signed.request, drawn.session, []
    if drawn.lots is None:
        problems.append("who was serving at the draw's height is not shown")
    else:
        by = accepted.beacon if session is None else session.beacon
        right = draw_executors(by, draw_id(signed), drawn.lots, accepted.agent, MAX_CANDIDATES)
        if accepted.candidates != right:
            problems.append("the draw is not what beacon, inference id and serving set give")
    if drawn.height != request.draw_height or drawn.beacon != accepted.beacon:
        problems.append("the beacon is not that of the height that was signed")
    named = (request.session, request.session_height)
    if named != ((session.id, session.height) if session is not None else (NO_SESSION, 0)):
        problems.append("the session is not the one that was signed")
    return problems


def rows_problems(done: Done, rows: Sequence[Position]) -> list[str]:
    """What is wrong with log-probabilities that came with the tokens, against the artifact, whose root is signed. Of
    tokens that were taken over the artifact has the last executor's numbers, and the client saw others'."""
    try:
        artifact = artifacts.parse(done.artifact)
    except FolkmootError:
        return []  # check_receipt says so
    own = artifact.header.taken_over
    if artifact.positions()[own:] == tuple(rows[own:]):
        return []
    return ["the log-probabilities that were shown are not those of the artifact"]


def _artifact_problems(
    artifact: Artifact, signed: SignedRequest, accepted: Accepted, record: FinishRecord
) -> list[str]:
    """What the client can check of an artifact without a model and without the end-of-sequence tokens."""
    header, request = artifact.header, signed.request
    facts = (
        (artifact.root() == record.artifact_root, "the artifact is not the one whose root was signed"),
        (artifact.output_hash() == record.output_hash, "the artifact holds other tokens than were streamed"),
        (header.inference_id == signed.inference_id, "the artifact is about another inference"),
        ((header.model, header.body_hash, header.params) == (request.model, request.body_hash, request.params),
         "the artifact is about another model, body or other parameters than were asked for"),
        ((header.length, header.prompt_tokens, header.finish_reason)
         == (record.output_tokens, record.prompt_tokens, record.finish_reason), "artifact and finish record disagree"),
        (0 < header.length <= request.max_tokens, "the answer is empty or longer than asked for"),
        (header.taken_over == record.taken_over < header.length,
         "two counts of tokens that were taken over are claimed"),
        (wrong_handover(
            header.taken, artifact.tokens[: header.taken_over], request.network, signed.inference_id,
            accepted.candidates, record.executor,
        ) is None, "what was taken over is not signed by whoever streamed it"),
        (record.finish_reason is not FinishReason.STOPPED, "the answer was cut short as if you had left"),
        (header.seed == tape_seed(accepted.beacon, signed.inference_id, request.client_nonce, request.params.seed),
         "the seed is not the one the draw gives"),
    )
    return [sentence for holds, sentence in facts if not holds]
