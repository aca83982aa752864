"""Checks the inferences this peer was drawn for. Law: an error, a timeout or a missing model is never 'valid'; what was committed to is
on disk before the commitment leaves, so a restart goes on with the same word.

Fetch the payload from whoever has it (sources.py), check it exactly, prefill once on the own ML node, commit; reveal when the chain says so.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
import trio

from p2p.base.codec import encode, unpack
from p2p.base.errors import ConfigError, Overloaded, Unavailable
from p2p.base.keys import Key, NetworkId
from p2p.base.limits import GIVE_WAY_CHECK_S, MAX_FETCHES, REVEAL_RANKS, TOP_RANKS
from p2p.base.types import RecordKind, RevealedRow, StackClass, Verdict, VerdictCommit, VerdictKind, verdict_commitment
from p2p.chain.stores.payload_keys import verdict_key
from p2p.machine.load import Load
from p2p.machine.tasks import once
from p2p.peer.payload_sources import FoundPayload, Search, opened
from p2p.verification import artifact as artifacts
from p2p.verification import check, profile, statistics, tape
from p2p.verification.duty import reveal_positions
from p2p.verification.engine import Engine, Row
from p2p.verification.text import Vocabulary, text_hash
from p2p.wire.frames import Payload

if TYPE_CHECKING:
    from p2p.chain.chain import Chain
    from p2p.chain.views.inferences import Claim, Duty
    from p2p.peer.agent import OpenStream
    from p2p.peer.outbox import Outbox

log = structlog.get_logger()

MAX_CHECKS_AT_ONCE = 2  # on the ML node
MAX_CHECKS_LATE = 8  # begun at once by a peer that is late: as many an honest one must get through to keep its duties
RETRY_S = 2.0


@dataclass(frozen=True, slots=True)
class Opinion:
    """A report and the rows of the own prefill it rests on; none where stage 0 refused. withheld: the payload could not be had, and the report's
    reason says so; it says nothing of the answer."""

    report: check.CheckResult
    rows: Sequence[Row] = ()
    withheld: bool = False


@dataclass(slots=True)
class Validator:
    """One per peer. engine is None until the ML node is ready. vocabulary: None where no tokenizer.json is here; texts are not checked then.
    profile: None takes the one that is shipped for the model.

    Attacks override `opinion`, `numbers` or `verdict`.
    """

    key: Key
    network: NetworkId
    chain: Chain
    outbox: Outbox
    open_stream: OpenStream
    eos_ids: frozenset[int]
    engine: Engine | None = None
    vocabulary: Vocabulary | None = None
    stack: str = StackClass.CPU_BF16
    profile: profile.Profile | None = None
    load: Load = field(default_factory=Load)
    _places: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(MAX_CHECKS_AT_ONCE))
    _busy: set[bytes] = field(default_factory=set)
    _sent: set[tuple[bytes, int, bool]] = field(default_factory=set)

    async def on_height(self, nursery: trio.Nursery) -> None:
        """Reveal what is due; start a check for each duty that has none, at most MAX_FETCHES together."""
        duties = self.chain.reader.pending_duties(self.key.public)
        self._sent &= {_step(duty) for duty in duties}
        for duty in duties:
            if _step(duty) in self._sent or duty.inference_id in self._busy:
                continue
            if duty.commitment is not None:
                self._reveal(duty)
            elif self.engine is not None and len(self._busy) < (MAX_CHECKS_LATE if self.load.is_late else MAX_FETCHES):
                self._busy.add(duty.inference_id)
                nursery.start_soon(once, "check", self._check, duty)

    async def _check(self, duty: Duty) -> None:
        try:
            verdict = self._kept(duty)
            if verdict is None:
                await self.load.give_way(GIVE_WAY_CHECK_S)
                claim = self.chain.reader.claim(duty.inference_id)
                if claim is None:
                    return
                verdict = self.verdict(duty, await self.opinion(duty, claim))
                await trio.to_thread.run_sync(self.chain.payloads.put, verdict_key(duty.inference_id, duty.height), encode(verdict))
            commit = VerdictCommit(duty.inference_id, self.key.public, verdict_commitment(verdict))
            self.outbox.put(RecordKind.VERDICT_COMMIT, commit)
            self._sent.add(_step(duty))
        except (Unavailable, Overloaded) as error:  # our own engine or queue: no word is better than a wrong one; tried again next height
            log.warning("check not done", inference=duty.inference_id.hex()[:12], reason=str(error))
            await trio.sleep(RETRY_S)
        finally:
            self._busy.discard(duty.inference_id)

    def _reveal(self, duty: Duty) -> None:
        verdict = self._kept(duty)
        self._sent.add(_step(duty))
        if verdict is None or verdict_commitment(verdict) != duty.commitment:
            log.warning("the committed verdict is not here", inference=duty.inference_id.hex()[:12])
            return
        try:
            self.outbox.put(RecordKind.VERDICT, verdict)
        except Overloaded:
            self._sent.discard(_step(duty))  # tried again next height

    def _kept(self, duty: Duty) -> Verdict | None:
        raw = self.chain.payloads.read(verdict_key(duty.inference_id, duty.height))
        return unpack(Verdict, raw) if raw is not None else None

    # -- what attacks replace -------------------------------------------------------------------------------------

    async def opinion(self, duty: Duty, claim: Claim) -> Opinion:
        """The whole check. Raises Unavailable when this peer cannot judge."""
        if self.key.public == (claim.host or claim.finish.executor):
            raise Unavailable("own inference", field="executor")
        try:
            found = await self._payload(duty, claim)
        except Unavailable as error:
            return Opinion(check.refused(error.message), withheld=True)
        payload, artifact = found.payload, found.artifact
        seed = tape.tape_seed(claim.beacon, duty.inference_id, claim.request.client_nonce)
        wrong = await trio.to_thread.run_sync(self.exact, artifact, claim, seed)
        if wrong is not None:
            return Opinion(check.refused(wrong))
        if self.engine is None:
            raise Unavailable("the ML node is not ready", field="ml_node")
        async with self._places:
            await self.load.give_way(GIVE_WAY_CHECK_S)
            prompt_tokens = await self.engine.tokenize_chat(payload.prompt)
            if len(prompt_tokens) != claim.finish.prompt_tokens:
                return Opinion(check.refused("the prompt's token count is not what was charged"))
            if artifacts.prompt_tokens_hash(prompt_tokens) != artifact.header.prompt_tokens_hash:
                return Opinion(check.refused("the prompt's tokens are not those that this model's template gives"))
            rows = await self.engine.score(prompt_tokens, artifact.tokens, statistics.ROW_TOP)
        return Opinion(await trio.to_thread.run_sync(self.weigh, artifact, rows, claim.spec.profile_hash), rows)

    def exact(self, artifact: artifacts.Artifact, claim: Claim, seed: bytes) -> str | None:
        """Stage 0, and the text where this peer has the vocabulary."""
        wrong = check.check_exact(artifact, claim.request, claim.finish, claim.spec, seed, self.eos_ids, drawn=claim.candidates)
        if wrong is None and self.vocabulary is not None and text_hash(self.vocabulary.text(artifact.tokens)) != claim.finish.text_hash:
            return "the text signed for is not that of the tokens"
        return wrong

    def weigh(self, artifact: artifacts.Artifact, rows: Sequence[Row], wanted: str = "") -> check.CheckResult:
        """Stage 1 under the profile of the two stacks. Raises Unavailable where this peer's own stack is not calibrated, or its profile is
        not the one the network wants (hash `wanted`, empty = any)."""
        stack = artifact.header.stack
        found = self.profile or profile.shipped(artifact.header.model)
        if found is None or found.model != artifact.header.model:
            raise Unavailable(f"no calibration of {artifact.header.model}; run: folkmoot calibrate", field="profile")
        if wanted and found.hash() != wanted:
            raise Unavailable(f"this profile is {found.hash()[:12]}, validators of the model judge by {wanted[:12]}", field="profile")
        if not found.knows(stack):  # else any executor could make validators miss their duty
            return check.refused("the artifact names a stack that is not calibrated for this model")
        try:
            noise = found.noise(stack, self.stack, context=artifact.header.context)
        except ConfigError as error:
            raise Unavailable(error.message, field="profile") from error
        equal = found.equal(stack, self.stack, context=artifact.header.context)
        return check.judge(artifact, rows, noise, ppm=self.chain.reader.checks().false_alarm_ppm, equal=equal)

    def numbers(self, duty: Duty, rows: Sequence[Row]) -> tuple[RevealedRow, ...]:
        """This validator's own ranks after the artifact's at its positions: proof that it ran the prefill."""
        positions = reveal_positions(duty.beacon, duty.inference_id, self.key.public, len(rows))
        return tuple(RevealedRow(at, next_ranks(rows[at], duty.panel)) for at in positions)

    def verdict(self, duty: Duty, opinion: Opinion) -> Verdict:
        report = opinion.report
        numbers = self.numbers(duty, opinion.rows[: report.tokens])
        kind = VerdictKind.WITHHELD if opinion.withheld else VerdictKind.VALID if report.valid else VerdictKind.INVALID
        return Verdict(
            duty.inference_id, self.key.public, kind, report.reason[:300], report.llr_milli, report.tokens, numbers,
            secrets.token_bytes(32),
        )

    async def _payload(self, duty: Duty, claim: Claim) -> FoundPayload:
        """It is kept: for the others of the committee, and so that this peer's owner can check it again (folkmoot verify)."""
        raw = await trio.to_thread.run_sync(self.chain.payloads.read, bytes(duty.inference_id))
        if raw is not None and (found := await trio.to_thread.run_sync(opened, stored_payload(raw), claim)) is not None:
            return found
        found = await Search(self.key.public, duty, claim, self.open_stream, self.chain.height).run()
        await trio.to_thread.run_sync(self.chain.payloads.put, bytes(duty.inference_id), encode(found.payload))
        return found


def next_ranks(row: Row, panel: int = 0) -> tuple[tuple[int, int], ...]:
    """(token, log-probability in thousandths of a nat) of ranks that nothing on chain holds yet: 9 to 12 for an inference's first
    committee, 13 to 16 for its second, who has seen the first one's, and so on. Ties by token id."""
    first = TOP_RANKS + REVEAL_RANKS * panel
    best = sorted(row.items(), key=lambda item: (-item[1], item[0]))[first : first + REVEAL_RANKS]
    if len(best) < REVEAL_RANKS:
        raise Unavailable(f"the ML node gives fewer than {first + REVEAL_RANKS} candidates", field="ml_node")
    return tuple((token, round(min(max(logprob, -1000.0), 0.0) * 1000)) for token, logprob in best)


def _step(duty: Duty) -> tuple[bytes, int, bool]:
    return duty.inference_id, duty.height, duty.commitment is not None


def stored_payload(raw: bytes) -> Payload:
    """The payload as the executor's store keeps it."""
    return unpack(Payload, raw)
