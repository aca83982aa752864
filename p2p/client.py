"""The libp2p client. Law: believe nothing the agent says that can be recomputed; the receipt is checked here.

Asks one peer, yields events as they happen, and ends with a receipt whose every claim it has checked by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from p2p.codec import decode, encode, unpack
from p2p.draw_check import DrawCheck, Known
from p2p.errors import FolkmootError, InvalidRequest, RemoteProtocolError, Unavailable
from p2p.genesis import Genesis
from p2p.gossip.host import Network, NetworkConfig, open_network
from p2p.gossip.streams import Stream
from p2p.inference.draw import Lots, draw_executors
from p2p.inference.session import (
    Accepted,
    Answer,
    Ask,
    Done,
    Failure,
    Order,
    Passed,
    Query,
    Tokens,
    Trying,
    check_text,
    pack_frame,
    raise_failure,
    receive_frame,
)
from p2p.keys import Domain, Key, NetworkId, digest, peer_id, public_key_of, verify
from p2p.ledger.ops import Body, sign_op
from p2p.limits import FIRST_TOKEN_TIMEOUT_S, MAX_ANSWER_ITEMS, MAX_CANDIDATES, MAX_PROMPT_BYTES
from p2p.nonces import Nonces
from p2p.order_wait import wait_for_order
from p2p.proof import Proof
from p2p.serving_proof import ServingProof, open_serving
from p2p.types import VERSION, FinishReason, FinishRecord, Params, Request, SignedRequest
from p2p.verification import artifact as artifacts
from p2p.verification.artifact import Artifact
from p2p.verification.streamed import wrong_handover
from p2p.verification.tape import tape_seed
from p2p.verification.text import text_hash

TEMPLATE_TOKENS = 64  # room for the chat template in the client's own bound on prompt tokens
NONCE_TRIES = 48  # below the ledger's window: a nonce chosen ahead leaves those of the account's other requests free


@dataclass(frozen=True, slots=True)
class AskSpec:
    """One question. peer: multiaddr with /p2p/ID. choose_executor: for test networks, search a nonce whose draw puts
    this node first (a client may pick its nonce; the beacon may move on, so the draw may still differ). on_proof: gets the
    proof of the answer before the event `done`, whatever the receipt says. account: who pays, where `key` is a hot key of it.
    nonces: what was used before; None: the peer's word is taken, which is behind for as long as a Start takes into a block.
    on_signed: gets the request before it is sent.
    on_notices: gets what the peer says became of earlier inferences after height notices_since, when there is anything; its word only."""

    peer: str
    key: Key
    network: NetworkId
    model: str
    prompt: str
    params: Params = field(default_factory=Params)
    max_tokens: int = 128
    max_price_micro: int = 1_000_000
    deadline_ahead: int = 300
    nonce: int | None = None
    nonces: Nonces | None = None
    genesis: Genesis | None = None
    choose_executor: bytes | None = None
    on_proof: Callable[[Proof], None] | None = None
    on_signed: Callable[[SignedRequest], None] | None = None
    account: bytes | None = None
    notices_since: int = 0
    on_notices: Callable[[list[dict[str, Any]]], None] | None = None

    @property
    def payer(self) -> bytes:
        return self.account or self.key.public


async def ask(spec: AskSpec) -> AsyncIterator[dict[str, Any]]:
    """Events: accepted, executor, busy | failed, token, done (with the receipt). Raises FolkmootError."""
    if len(spec.prompt.encode()) > MAX_PROMPT_BYTES:
        raise InvalidRequest(f"the prompt is longer than {MAX_PROMPT_BYTES} bytes", field="prompt")
    async with _open_to(spec.peer, spec.network) as network:
        async for event in ask_over(network, spec):
            yield event


async def ask_over(network: Network, spec: AskSpec) -> AsyncIterator[dict[str, Any]]:
    """As `ask`, over an open connection."""
    peer = spec.peer.rsplit("/p2p/", 1)[-1]
    about = {"op": "account", "account": spec.payer.hex(), "since": spec.notices_since}
    tip = await query(network, peer, about)  # with height, beacon and notices: one question
    if spec.on_notices is not None and isinstance(tip.get("notices"), list) and tip["notices"]:
        if any(isinstance(n, dict) and isinstance(n.get("height"), int) and n["height"] > int(tip["height"]) for n in tip["notices"]):
            raise RemoteProtocolError("a notice is of a height that the peer's chain has not", field="notices")
        spec.on_notices(tip["notices"])
    serving = await _serving_now(network, peer, spec.model, int(tip["height"])) if spec.choose_executor is not None else None
    signed = _sign(spec, tip, serving)
    if spec.on_signed is not None:
        spec.on_signed(signed)
    stream, ended = await network.open_stream(peer, "infer"), False
    try:
        await stream.send(pack_frame(Ask(VERSION, signed, spec.prompt)))
        async for event in _follow(network, stream, spec, signed, peer):
            ended = event["event"] == "done"
            yield event
    finally:
        await (stream.close() if ended else stream.reset())  # a reset tells the agent to stop and to charge for no more


async def send_order(
    peer: str, network_name: NetworkId, key: Key, body: Body, nonces: Nonces | None = None, wait_s: float = 0.0,
    on_taken: Callable[[dict[str, Any]], None] = lambda answer: None,
) -> dict[str, Any]:
    """Sign an order with the account's next nonce and hand it to `peer` (multiaddr). Its answer; raises the peer's error. nonces: as in AskSpec.
    wait_s: how long to wait for the chain, then the answer says what became of it (wait_for_order); on_taken: gets the peer's answer before."""
    async with _open_to(peer, network_name) as network:
        name = peer.rsplit("/p2p/", 1)[-1]
        tip = await query(network, name, {"op": "account", "account": key.public.hex()})
        offered = int(tip["next_nonce"])
        nonce = nonces.take(key.public, offered) if nonces is not None else offered
        order = Order(VERSION, sign_op(key, network_name, nonce, body))
        answer = await _question(network, name, order)
        if not wait_s:
            return answer
        on_taken(answer)
        fate = await wait_for_order(
            order.signed_op.op_id, lambda about: query(network, name, about), lambda: _question(network, name, order), wait_s
        )
        return {**answer, **fate}


async def query_once(peer: str, network_name: NetworkId, body: dict[str, Any]) -> dict[str, Any]:
    """One question to `peer` (multiaddr), over a connection of its own."""
    async with _open_to(peer, network_name) as network:
        return await query(network, peer.rsplit("/p2p/", 1)[-1], body)


@asynccontextmanager
async def _open_to(peer: str, network_name: NetworkId) -> AsyncIterator[Network]:
    config = NetworkConfig(Key.generate(), network_name, (), (), expected_size=1, min_connections=0)
    async with open_network(config, topic_handlers={}, stream_handlers={}) as network:
        await network.connect(peer)
        yield network


async def query(network: Network, peer: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask a peer about its chain: the operations of the control socket that anyone may use."""
    return await _question(network, peer, Query(VERSION, encode(body)))


async def _question(network: Network, peer: str, question: Query | Order) -> dict[str, Any]:
    stream = await network.open_stream(peer, "query")
    try:
        await stream.send(pack_frame(question))
        frame = await receive_frame(stream, Answer, Failure)
    finally:
        await stream.close()
    if isinstance(frame, Failure):
        raise_failure(frame)
    if not isinstance(frame, Answer):
        raise RemoteProtocolError("the peer's answer is not an answer", field="frame")
    answer = decode(frame.body, items=MAX_ANSWER_ITEMS)
    if not isinstance(answer, dict):
        raise RemoteProtocolError("the peer's answer is not a map", field="body")
    return answer


async def _serving_now(network: Network, peer: str, model: str, height: int) -> Lots:
    """By the peer's word: for a choice of nonce, which proves nothing."""
    answer = await query(network, peer, {"op": "serving", "model": model, "height": height})
    return open_serving(unpack(ServingProof, bytes.fromhex(answer["proof"])), model, height)[0]


def _sign(spec: AskSpec, tip: dict[str, Any], serving: Lots | None) -> SignedRequest:
    """serving: where an executor is chosen, whom the draw will be made from unless the height moves on."""
    request = Request(
        VERSION, spec.network, spec.payer, 0, spec.model,
        digest(b"prompt", spec.prompt.encode()), spec.params, len(spec.prompt.encode()) + TEMPLATE_TOKENS,
        spec.max_tokens, spec.max_price_micro, int(tip["height"]) + spec.deadline_ahead, spec.key.public,
    )
    agent = public_key_of(spec.peer.rsplit("/p2p/", 1)[-1])

    def with_nonce(nonce: int) -> SignedRequest:
        return _signed(spec.key, replace(request, client_nonce=nonce))

    def choose(lowest: int) -> int:
        if serving is None:
            return lowest
        for nonce in range(lowest, lowest + NONCE_TRIES):
            if draw_executors(bytes.fromhex(tip["beacon"]), with_nonce(nonce).inference_id, serving, agent, 1) == (spec.choose_executor,):
                return nonce
        raise Unavailable("no nonce draws the executor wanted; does it serve the model?", field="choose_executor")

    offered = int(tip["next_nonce"])
    if spec.nonce is not None:
        return with_nonce(spec.nonce)
    return with_nonce(choose(offered) if spec.nonces is None else spec.nonces.take(spec.payer, offered, choose))


def _signed(key: Key, request: Request) -> SignedRequest:
    return SignedRequest(request, key.sign(Domain.REQUEST, request.network, encode(request)))


async def _follow(
    network: Network, stream: Stream, spec: AskSpec, signed: SignedRequest, peer: str
) -> AsyncIterator[dict[str, Any]]:
    accepted: Accepted | None = None
    drawn: DrawCheck | None = None
    tokens: list[int] = []
    text: list[str] = []
    tries = passed = 0

    async def to_peer(body: dict[str, Any]) -> dict[str, Any]:
        return await query(network, peer, body)

    while True:
        frame = await receive_frame(
            stream, Accepted, Trying, Passed, Tokens, Done, Failure, timeout_s=FIRST_TOKEN_TIMEOUT_S + 10
        )
        if isinstance(frame, Failure):
            raise_failure(frame)
        elif isinstance(frame, Accepted):
            if accepted is not None:
                raise RemoteProtocolError("accepted twice", field="frame")
            accepted = frame
            yield {
                "event": "accepted", "inference_id": frame.inference_id.hex(), "agent": frame.agent.hex(),
                "draw_height": frame.draw_height, "beacon": frame.beacon.hex(), "candidates": [c.hex() for c in frame.candidates],
            }
            if spec.genesis is not None:
                drawn = DrawCheck(spec.genesis, spec.model, frame.draw_height)
                await drawn.look(to_peer)
        elif isinstance(frame, Trying):
            tries += 1
            if accepted is None or tries > len(accepted.candidates):
                raise RemoteProtocolError("more executors were tried than drawn", field="frame")
            yield {"event": "executor", "node": frame.node.hex(), "peer_id": peer_id(frame.node)}
        elif isinstance(frame, Passed):
            passed += 1
            if passed > tries:
                raise RemoteProtocolError("an executor passed that was not tried", field="frame")
            yield {"event": "busy" if frame.busy else "failed", "node": frame.node.hex(), "reason": frame.reason}
        elif isinstance(frame, Tokens):
            if frame.position != len(tokens) or len(tokens) + len(frame.tokens) > spec.max_tokens:
                raise RemoteProtocolError("tokens that do not follow on those before, or more than were asked for", field="position")
            check_text(frame)
            tokens.extend(frame.tokens)
            text.append(frame.text)
            yield {"event": "token", "text": frame.text, "token": frame.tokens[0]}
        elif isinstance(frame, Done):
            if accepted is None:
                raise RemoteProtocolError("finished before it was accepted", field="frame")
            if spec.on_proof is not None:
                spec.on_proof(Proof(VERSION, spec.prompt, signed, accepted, frame.finish, frame.artifact, tuple(tokens), "".join(text)))
            if drawn is not None:
                await drawn.settle(to_peer)
            problems = check_receipt(spec, signed, accepted, frame, tokens, "".join(text), drawn=drawn)
            known = drawn.known if drawn else Known.UNKNOWN
            yield {"event": "done", "receipt": _receipt(accepted, frame, peer, problems, known), "text": "".join(text)}
            return
        else:
            raise RemoteProtocolError(f"{type(frame).__name__} has no place here", field="frame")


def _receipt(accepted: Accepted, done: Done, peer: str, problems: list[str], draw: Known) -> dict[str, Any]:
    """draw: how well it is known whom the executors were drawn from."""
    record = done.finish.record
    return {
        "inference_id": record.inference_id.hex(), "executor": record.executor.hex(), "agent": accepted.agent.hex(), "peer": peer,
        "artifact_root": record.artifact_root.hex(), "output_hash": record.output_hash.hex(),
        "prompt_tokens": record.prompt_tokens, "output_tokens": record.output_tokens,
        "finish_reason": record.finish_reason.name.lower(), "draw_height": accepted.draw_height,
        "signature": done.finish.signature.hex(), "artifact_bytes": len(done.artifact),
        "draw": draw.value, "checked": not problems, "problems": problems,
    }


def check_receipt(
    spec: AskSpec, signed: SignedRequest, accepted: Accepted, done: Done, tokens: list[int], text: str, *, drawn: DrawCheck | None = None
) -> list[str]:
    """What is wrong with a receipt, as sentences; an empty list when every claim holds. text: that came beside the tokens. Pure.

    drawn: what was found out about the draw's height; None: nobody looked, and the draw is not checked.
    """
    record = done.finish.record
    problems = []
    if accepted.inference_id != signed.inference_id or record.inference_id != signed.inference_id:
        problems.append("the inference id is not the hash of the signed request")
    if accepted.agent != public_key_of(spec.peer.rsplit("/p2p/", 1)[-1]):
        problems.append("the agent named is not the peer that was asked")
    if record.executor not in accepted.candidates:
        problems.append("the executor was not drawn")
    if not verify(record.executor, Domain.FINISH, spec.network, encode(record), done.finish.signature):
        problems.append("the finish record is not signed by the executor")
    if drawn is not None:
        problems += _draw_problems(drawn, accepted, signed)
    if record.output_hash != artifacts.output_hash(tokens) or record.output_tokens != len(tokens):
        problems.append("the finish record claims other tokens than were streamed")
    if record.text_hash != text_hash(text):
        problems.append("the text that was shown is not the one signed for")
    try:
        artifact = artifacts.parse(done.artifact)
    except FolkmootError as error:
        return [*problems, f"the artifact cannot be read: {error.message}"]
    return problems + _artifact_problems(artifact, signed, accepted, record)


def _draw_problems(drawn: DrawCheck, accepted: Accepted, signed: SignedRequest) -> list[str]:
    problems = []
    if drawn.serving is None:
        problems.append("who was serving at the draw's height is not shown")
    elif accepted.candidates != draw_executors(accepted.beacon, signed.inference_id, drawn.serving, accepted.agent, MAX_CANDIDATES):
        problems.append("the draw is not what beacon, inference id and serving set give")
    if drawn.height != accepted.draw_height or drawn.beacon != accepted.beacon:
        problems.append("the beacon is not shown to be that of the height named")
    return problems


def _artifact_problems(artifact: Artifact, signed: SignedRequest, accepted: Accepted, record: FinishRecord) -> list[str]:
    """What the client can check of an artifact without a model and without the end-of-sequence tokens."""
    header, request = artifact.header, signed.request
    facts = (
        (artifact.root() == record.artifact_root, "the artifact is not the one whose root was signed"),
        (artifact.output_hash() == record.output_hash, "the artifact holds other tokens than were streamed"),
        (header.inference_id == signed.inference_id, "the artifact is about another inference"),
        ((header.model, header.prompt_hash, header.params) == (request.model, request.prompt_hash, request.params),
         "the artifact is about another model, prompt or other parameters than were asked for"),
        ((header.length, header.prompt_tokens, header.finish_reason)
         == (record.output_tokens, record.prompt_tokens, record.finish_reason), "artifact and finish record disagree"),
        (0 < header.length <= request.max_tokens, "the answer is empty or longer than asked for"),
        (header.taken_over == record.taken_over < header.length, "two counts of tokens that were taken over are claimed"),
        (wrong_handover(
            header.taken, artifact.tokens[: header.taken_over], request.network, signed.inference_id, accepted.candidates, record.executor
        ) is None, "what was taken over is not signed by whoever streamed it"),
        (record.finish_reason is not FinishReason.STOPPED, "the answer was cut short as if you had left"),
        (header.seed == tape_seed(accepted.beacon, signed.inference_id, request.client_nonce), "the seed is not the one the draw gives"),
    )
    return [sentence for holds, sentence in facts if not holds]
