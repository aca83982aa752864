"""Checks the inferences this peer was drawn for. Law: an error, a timeout or a missing model is never 'valid'.

Fetch the payload from the executor, check it exactly, prefill once on the own ML node, put a verdict on the chain.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
import trio

from p2p.codec import unpack
from p2p.errors import FolkmootError, RemoteProtocolError, Unavailable
from p2p.inference.engine import Engine
from p2p.inference.session import Failure, Payload, PayloadWanted, pack_frame, parse_frame
from p2p.keys import Key, digest, peer_id
from p2p.limits import MAX_FRAME
from p2p.types import VERSION, RecordKind, Request, Verdict
from p2p.verification import artifact as artifacts
from p2p.verification import check, tape

if TYPE_CHECKING:
    from p2p.chain import Chain, Claim
    from p2p.inference.agent import OpenStream
    from p2p.outbox import Outbox

log = structlog.get_logger()

MAX_CHECKS_AT_ONCE = 2
PAYLOAD_TRIES = 5
RETRY_S = 2.0


@dataclass(slots=True)
class Validator:
    """One per peer. engine is None until the ML node is ready."""

    key: Key
    network: str
    chain: Chain
    outbox: Outbox
    open_stream: OpenStream
    eos_ids: frozenset[int]
    engine: Engine | None = None
    _busy: set[bytes] = field(default_factory=set)

    async def on_height(self, nursery: trio.Nursery) -> None:
        """Start a check for each duty that has none, at most MAX_CHECKS_AT_ONCE together."""
        if self.engine is None:
            return
        for inference_id in self.chain.pending_duties(self.key.public, self.chain.height()):
            if inference_id in self._busy or len(self._busy) >= MAX_CHECKS_AT_ONCE:
                continue
            self._busy.add(inference_id)
            nursery.start_soon(self._duty, inference_id)

    async def _duty(self, inference_id: bytes) -> None:
        try:
            verdict = await self._judge(inference_id)
            if verdict is not None:
                self.outbox.put(RecordKind.VERDICT, verdict)
                with trio.move_on_after(60):  # until the chain has it, so that the duty is not done twice
                    while inference_id in self.chain.pending_duties(self.key.public, self.chain.height()):
                        await trio.sleep(0.5)
        except Unavailable as error:  # our own engine or store: no word is better than a wrong one; tried again next height
            log.warning("check not done", inference=inference_id.hex()[:12], reason=str(error))
            await trio.sleep(RETRY_S)
        finally:
            self._busy.discard(inference_id)

    async def _judge(self, inference_id: bytes) -> Verdict | None:
        facts = self.chain.claim(inference_id)
        if facts is None:
            return None
        try:
            payload = await self._payload(inference_id, facts.finish.executor)
        except FolkmootError as error:
            return self._verdict(inference_id, check.Report(False, f"payload withheld: {error.message}"[:300], 0.0, 0.0, 0))
        report = await self._check(facts.request, inference_id, facts, payload)
        return self._verdict(inference_id, report)

    async def _check(self, request: Request, inference_id: bytes, facts: Claim, payload: Payload) -> check.Report:
        if digest(b"prompt", payload.prompt.encode()) != request.prompt_hash:
            return check.Report(False, "the payload's prompt is not the client's", 0.0, 0.0, 0)
        try:
            artifact = artifacts.parse(payload.artifact)
        except RemoteProtocolError as error:
            return check.Report(False, f"the artifact cannot be read: {error.message}"[:300], 0.0, 0.0, 0)
        seed = tape.tape_seed(facts.beacon, inference_id, request.client_nonce)
        wrong = check.check_exact(artifact, request, facts.finish, facts.spec, seed, self.eos_ids)
        if wrong is not None:
            return check.Report(False, wrong, 0.0, 0.0, artifact.length)
        assert self.engine is not None
        prompt_tokens = await self.engine.tokenize_chat(payload.prompt)
        if len(prompt_tokens) != facts.finish.prompt_tokens:
            return check.Report(False, "the prompt's token count is not what was charged", 0.0, 0.0, artifact.length)
        rows = await self.engine.score(prompt_tokens, artifact.tokens, 32)
        return await trio.to_thread.run_sync(check.check_statistics, artifact, rows, request.params, seed)

    async def _payload(self, inference_id: bytes, executor: bytes) -> Payload:
        if executor == self.key.public:
            raise Unavailable("own inference", field="executor")
        last: FolkmootError = Unavailable("not asked", field="payload")
        for _ in range(PAYLOAD_TRIES):
            try:
                stream = await self.open_stream(peer_id(executor), "payload")
                try:
                    await stream.send(pack_frame(PayloadWanted(VERSION, inference_id)))
                    frame = parse_frame(await stream.receive(limit=MAX_FRAME))
                finally:
                    await stream.close()
                if isinstance(frame, Payload):
                    return frame
                reason = frame.message if isinstance(frame, Failure) else type(frame).__name__
                last = Unavailable(reason, field="payload")
            except FolkmootError as error:
                last = error
            await trio.sleep(RETRY_S)
        raise last

    def _verdict(self, inference_id: bytes, report: check.Report) -> Verdict:
        return Verdict(
            inference_id, self.key.public, report.valid, report.reason[:300],
            round(max(report.margin_mean, 0.0) * 1e6), round(max(report.distance_mean, 0.0) * 1e6),
        )


def stored_payload(raw: bytes) -> Payload:
    """The payload as the executor's store keeps it."""
    return unpack(Payload, raw)
