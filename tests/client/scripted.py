"""Peers with a true chain and a scripted model, which answer as real ones do, or die where a test wants them to.

The model's next token is a hash of the tape's seed, the prompt and the position. So an answer that is continued with
the same seed goes on as it would have.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from p2p.base.body import Body, open_body
from p2p.base.codec import decode, encode
from p2p.base.errors import FolkmootError, InvalidRequest, Unavailable
from p2p.base.keys import Domain, Key, digest
from p2p.base.token_ids import unpack_ids
from p2p.base.types import FinishReason, FinishRecord, SignedFinish, SignedRequest
from p2p.verification import artifact as artifacts
from p2p.verification.artifact import output_hash, pack_rows
from p2p.verification.engine import TokenStep
from p2p.verification.streamed import chain_after, sign_streamed
from p2p.verification.tape import tape_seed
from p2p.wire.answers.model_files import model_file_answer, no_model_file
from p2p.wire.failures import failure
from p2p.wire.frames import Accepted, Answer, Ask, Done, Query, Tokens, Trying, Working, pack_frame, receive_frame
from tests.client.liar import BY_KEY, Liar
from tests.client.one_answer import pipe, text_hash

END = 2  # the token that ends an answer
LONGEST = 60  # tokens of an answer
PROMPT_TOKENS = 5


def word(token: int) -> str:
    return "" if token == END else f"{token} "


def step(token: int) -> TokenStep:
    return TokenStep(token, word(token), -0.25, ((token, -0.25), *((token + at, -3.0 - at) for at in range(1, 8))))


def next_token(seed: bytes, body: Body, position: int) -> int:
    drawn = int.from_bytes(digest(b"scripted", seed, encode(body.prompt), position.to_bytes(4, "big"))[:8], "big")
    return END if drawn % 25 == 0 or position >= LONGEST else 10 + drawn % 1000


def whole(seed: bytes, body: Body, max_tokens: int) -> tuple[list[int], FinishReason]:
    """The answer's tokens, those of `Body.begun` not included, and why it ends."""
    begun = unpack_ids(body.begun)
    if END in begun:
        raise InvalidRequest("nobody can continue after the end", field="begun")
    tokens: list[int] = []
    while True:
        tokens.append(next_token(seed, body, len(begun) + len(tokens)))
        text = "".join(map(word, (*begun, *tokens)))
        if tokens[-1] == END:
            return tokens, FinishReason.STOP
        if body.stop and any(stop in text for stop in body.stop):
            return tokens, FinishReason.STOP_STRING
        if len(tokens) == max_tokens:
            return tokens, FinishReason.LENGTH


async def at_work(stream: Any, seconds: float) -> None:
    """Wait, and say that one works, as peers do."""
    end = trio.current_time() + seconds
    while trio.current_time() + 1.0 < end:
        await trio.sleep(1.0)
        await stream.send(pack_frame(Working(1200)))
    await trio.sleep(max(0.0, end - trio.current_time()))


@dataclass(slots=True)
class Script:
    """What a peer does with a request. Left alone, it answers it."""

    refuses: FolkmootError | None = None  # before it accepts
    dies_after: int | None = None  # tokens of a request; -1: it has not even accepted
    error: FolkmootError | None = None  # what it says then; None: the stream breaks
    forges_after: int | None = None  # tokens, after which another one signs
    other_rows: bool = False  # it shows other log-probabilities than the artifact has
    waits_s: float = 0.0  # before each frame
    hangs: bool = False  # it accepts and says nothing more


@dataclass(slots=True)
class ScriptedPeer:
    """One peer. script: for the next requests, one after the other; then it answers."""

    liar: Liar
    key: Key
    script: list[Script] = field(default_factory=list)
    rng: random.Random = field(default_factory=lambda: random.Random(7))
    files: dict[bytes, bytes] = field(default_factory=dict)  # of models, by SHA-256
    asked: list[tuple[SignedRequest, Body]] = field(default_factory=list)
    gone: int = 0  # clients that left
    running: int = 0

    async def query(self, stream: Any) -> None:
        frame = await receive_frame(stream, Query)
        assert isinstance(frame, Query)
        try:
            body: Any = decode(frame.body)
            if body["op"] == "model_file":
                answer = self._file(bytes.fromhex(body["hash"]), body["offset"])
            else:
                answer = await self.liar.question(body)
            await stream.send(pack_frame(Answer(encode(answer))))
        except FolkmootError as error:
            await stream.send(pack_frame(failure(error)))

    def _file(self, wanted: bytes, offset: int) -> Any:
        if wanted not in self.files:
            raise no_model_file(wanted)
        return model_file_answer(self.files[wanted], wanted, offset)

    async def infer(self, stream: Any) -> None:
        ask = await receive_frame(stream, Ask)
        assert isinstance(ask, Ask)
        script = self.script.pop(0) if self.script else Script()
        self.running += 1
        try:
            await self._answer(stream, ask, script)
        except _Dead:
            await stream.reset()
        except InvalidRequest as error:
            await stream.send(pack_frame(failure(error)))
        except Unavailable as error:
            if error.field == "stream":
                self.gone += 1
            else:
                await stream.send(pack_frame(failure(error)))
        finally:
            self.running -= 1

    async def _answer(self, stream: Any, ask: Ask, script: Script) -> None:
        signed, chain = ask.signed_request, self.liar.chain
        request = signed.request
        body = open_body(ask.body, request.body_hash)
        self.asked.append((signed, body))
        if script.refuses is not None:
            await stream.send(pack_frame(failure(script.refuses)))
            return
        if script.dies_after == -1:
            raise _Dead
        assert signed.is_signed()
        assert request.may_be_started_by(self.key.public)
        draw = chain.reader.draw_for(signed)
        assert draw is not None
        drawn = draw.executors(signed, self.key.public)
        executor = BY_KEY[drawn[0]]
        seed = tape_seed(draw.beacon, signed.inference_id, request.client_nonce, request.params.seed)
        tokens, reason = whole(seed, body, request.max_tokens)
        await stream.send(pack_frame(Accepted(signed.inference_id, self.key.public, draw.beacon, drawn)))
        await stream.send(pack_frame(Trying(executor.public)))
        if script.hangs:
            await trio.sleep_forever()
        sent: list[int] = []
        while len(sent) < len(tokens):
            await at_work(stream, script.waits_s)
            if script.dies_after is not None and len(sent) >= script.dies_after:
                if script.error is not None:
                    raise script.error
                raise _Dead
            upto = min(len(sent) + self.rng.randint(1, 4), len(tokens))
            if script.dies_after is not None:
                upto = min(upto, max(script.dies_after, len(sent) + 1))
            part = tokens[len(sent) : upto]
            by = executor
            if script.forges_after is not None and len(sent) >= script.forges_after:
                by = self.key
            await stream.send(pack_frame(self._tokens(signed, by, sent, part, rows=ask.rows, script=script)))
            sent += part
        if script.dies_after is not None and script.dies_after >= len(tokens):
            raise _Dead
        await stream.send(pack_frame(self._done(signed, body, executor, seed, tokens, reason)))

    def _tokens(
        self, signed: SignedRequest, by: Key, sent: Sequence[int], part: Sequence[int], *, rows: bool, script: Script
    ) -> Tokens:
        network, upto = signed.request.network, len(sent) + len(part)
        chain = chain_after(signed.inference_id, (*sent, *part))
        signature = sign_streamed(by, network, signed.inference_id, 0, upto, chain).signature
        shown = [step(token) for token in part]
        if script.other_rows:
            shown = [TokenStep(one.token, one.text, -0.5, one.top) for one in shown]
        text = "".join(map(word, part))
        return Tokens(len(sent), tuple(part), text, signature, pack_rows(shown) if rows else b"")

    def _done(
        self, signed: SignedRequest, body: Body, executor: Key, seed: bytes, tokens: Sequence[int], reason: FinishReason
    ) -> Done:
        request = signed.request
        spec = self.liar.chain.reader.model(request.model)
        assert spec is not None
        prompt = (*range(PROMPT_TOKENS), *unpack_ids(body.begun))
        header = artifacts.header_for(request, signed.inference_id, spec, seed, prompt, reason)
        made = artifacts.build(header, [step(token) for token in tokens])
        record = FinishRecord(
            signed.inference_id, executor.public, made.root(), output_hash(tokens), len(prompt), len(tokens), reason,
            text_hash=text_hash("".join(map(word, tokens))),
        )
        signature = executor.sign(Domain.FINISH, request.network, encode(record))
        return Done(SignedFinish(record, signature), made.to_bytes())


class _Dead(Exception):
    """The peer dies here."""


class FakeNetwork:
    """What a client sees of its network, over streams in memory. dead: peers that nobody reaches."""

    def __init__(self, nursery: trio.Nursery, peers: Sequence[ScriptedPeer]) -> None:
        self.nursery = nursery
        self.peers = {peer.key.peer_id: peer for peer in peers}
        self.dead: set[str] = set()

    def connected(self) -> tuple[str, ...]:
        return tuple(peer for peer in self.peers if peer not in self.dead)

    def alone(self) -> str:
        return "all of them are dead"

    async def open_stream(self, peer: str, protocol: str) -> Any:
        await trio.lowlevel.checkpoint()
        if peer in self.dead:
            raise Unavailable("it is dead", field="peer_id")
        mine, theirs = pipe()
        found = self.peers[peer]
        self.nursery.start_soon({"query": found.query, "infer": found.infer}[protocol], theirs)
        return mine
