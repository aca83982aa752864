"""The libp2p client. Law: believe nothing the agent says that can be recomputed; the receipt is checked here.

Asks one peer, yields events as they happen, and ends with a receipt whose every claim it has checked by itself.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from msgspec import to_builtins
from msgspec.structs import replace

from p2p.base.codec import decode, encode, unpack
from p2p.base.errors import ConfigError, InvalidRequest, RemoteProtocolError, Unavailable
from p2p.base.genesis import Genesis
from p2p.base.keys import Domain, Key, NetworkId, digest, peer_id, public_key_of
from p2p.base.limits import FIRST_TOKEN_TIMEOUT_S, MAX_ANSWER_ITEMS, MAX_PROMPT_BYTES
from p2p.base.types import VERSION, Params, Request, SignedRequest
from p2p.base.weighted_draw import WeightedDraw, draw_executors
from p2p.chain.proofs.serving import ServingProof, open_serving
from p2p.client.answer_proof import AnswerProof
from p2p.client.draw_check import DrawCheck
from p2p.client.known_prices import KnownPrices
from p2p.client.nonces import Nonces
from p2p.client.receipt import check_receipt, streamed_by, summary
from p2p.client.tip_proof import Ground, Prover, Question, next_nonce, price_limit
from p2p.client.transaction_wait import wait_for_transaction
from p2p.client.way import Way
from p2p.gossip.host import Network, NetworkConfig, open_network
from p2p.gossip.streams import Stream
from p2p.ledger.rules.ops import Body, sign_op
from p2p.wire.answers.accounts import Taken
from p2p.wire.answers.blocks import ServingAnswer
from p2p.wire.answers.reading import read
from p2p.wire.frames import (
    Accepted,
    Answer,
    Ask,
    Declined,
    Done,
    Failure,
    Query,
    SubmitTransaction,
    Tokens,
    Trying,
    check_text,
    pack_frame,
    raise_failure,
    receive_frame,
)

TEMPLATE_TOKENS = 64  # room for the chat template in the client's own bound on prompt tokens
NONCE_TRIES = 48  # below the ledger's window: a nonce chosen ahead leaves those of the account's other requests free


@dataclass(frozen=True, slots=True)
class Terms:
    """What a request is about to cost: shown before it is signed. price: of a token now, by the peer's word; max_price: what is signed;
    tokens: the most of prompt and answer together."""

    price_micro: int
    max_price_micro: int
    tokens: int
    balance_micro: int

    @property
    def most_micro(self) -> int:
        return self.max_price_micro * self.tokens


@dataclass(frozen=True, slots=True)
class AskSpec:
    """One question. peer: multiaddr with /p2p/ID. genesis: without it nothing can be proved, and nothing is signed. max_price_micro: of a
    token; None: what tip_proof.py makes of known_prices and the genesis file. deadline_ahead: heights after the draw's. choose_executor: for
    test networks, search a nonce whose draw puts this node first (a client may pick its nonce). on_proof: gets the proof of the answer before
    the event `done`, whatever the receipt says. account: who pays, where `key` is a hot key of it. nonces: what was used before. on_signed: gets the
    request before it is sent. on_terms: gets
    what it will cost, before anything is signed; what it raises ends the question. on_notices: gets what the peer says became of earlier
    inferences after height notices_since, when there is anything; its word only. ground: what the asking peer's own chain says, where there
    is one: then the other peer is not asked for it."""

    peer: str
    key: Key
    network: NetworkId
    model: str
    prompt: str
    params: Params = field(default_factory=Params)
    max_tokens: int = 128
    max_price_micro: int | None = None
    deadline_ahead: int = 300
    nonce: int | None = None
    nonces: Nonces | None = None
    genesis: Genesis | None = None
    choose_executor: bytes | None = None
    on_proof: Callable[[AnswerProof], None] | None = None
    on_signed: Callable[[SignedRequest], None] | None = None
    account: bytes | None = None
    notices_since: int = 0
    on_notices: Callable[[list[dict[str, Any]]], None] | None = None
    on_terms: Callable[[Terms], None] | None = None
    known_prices: KnownPrices | None = None
    ground: Ground | None = None

    @property
    def payer(self) -> bytes:
        return self.account or self.key.public

    @property
    def tokens(self) -> int:
        """The client's bound on prompt and answer together."""
        return prompt_bound(self.prompt) + self.max_tokens


def prompt_bound(prompt: str) -> int:
    """No tokenizer makes more tokens of a text than it has bytes (decision 004)."""
    return len(prompt.encode()) + TEMPLATE_TOKENS


async def ask(spec: AskSpec) -> AsyncGenerator[dict[str, Any], None]:
    """Events: accepted, executor, busy | failed, token, done (with the receipt). Raises FolkmootError. Iterate within `aclosing`: a loop that is
    left early must end the connection at once."""
    if len(spec.prompt.encode()) > MAX_PROMPT_BYTES:
        raise InvalidRequest(f"the prompt is longer than {MAX_PROMPT_BYTES} bytes", field="prompt")
    async with _open_to(spec.peer, spec.network) as network, aclosing(ask_over(network, spec)) as events:
        async for event in events:
            try:
                yield event
            except GeneratorExit:  # through the nursery it would become a group, and hide why the loop was left
                return


async def ask_over(network: Network, spec: AskSpec) -> AsyncGenerator[dict[str, Any], None]:
    """As `ask`, over an open connection."""
    peer = spec.peer.rsplit("/p2p/", 1)[-1]

    async def question(body: dict[str, Any]) -> dict[str, Any]:
        return await query(network, peer, body)

    signed, drawn = await prepare(spec, question)
    if spec.on_signed is not None:
        spec.on_signed(signed)
    stream, ended = await network.open_stream(peer, "infer"), False
    try:
        await stream.send(pack_frame(Ask(VERSION, signed, spec.prompt)))
        async for event in _follow(stream, spec, signed, peer, drawn, question):
            ended = event["event"] == "done"
            yield event
    finally:
        await (stream.close() if ended else stream.reset())  # a reset tells the agent to stop and to charge for no more


async def prepare(spec: AskSpec, question: Question) -> tuple[SignedRequest, DrawCheck]:
    """The request, signed on what is proved or bounded; question: to the peer that will be asked. Raises FolkmootError, with nothing signed."""
    peer = spec.peer.rsplit("/p2p/", 1)[-1]
    if spec.genesis is None:
        raise ConfigError("without the network's genesis file nothing that a peer says can be proved", field="genesis")
    prover = Prover(spec.genesis, question, peer)
    ground = spec.ground or await prover.ground(spec.payer, spec.model, spec.notices_since)
    if spec.on_notices is not None and ground.tip.notices:
        spec.on_notices([to_builtins(notice) for notice in ground.tip.notices])
    terms = await _terms(spec, prover, ground)
    if spec.on_terms is not None:
        spec.on_terms(terms)
    lowest = ground.tip.next_nonce if spec.ground is not None else await next_nonce(prover, ground, spec.payer, spec.nonces)
    drawn = DrawCheck(spec.genesis, spec.model, ground.height, beacon=ground.beacon, facts=ground.facts)
    serving = await _serving(spec.model, ground.height, question, peer) if spec.choose_executor is not None else None
    return _sign(spec, ground, terms, lowest, serving), drawn


async def _serving(model: str, height: int, question: Question, peer: str) -> WeightedDraw:
    """By the peer's word: for a choice of nonce, which proves nothing."""
    answer = read(ServingAnswer, await question({"op": "serving", "model": model, "height": height}), "serving", peer)
    return open_serving(unpack(ServingProof, bytes.fromhex(answer.proof)), model, height)[0]


async def _terms(spec: AskSpec, prover: Prover, ground: Ground) -> Terms:
    seen = ground.tip.price_micro
    if seen is None:
        raise InvalidRequest(f"peer {prover.peer} knows no model {spec.model[:60]!r}", field="model")
    known = spec.known_prices.get(spec.model) if spec.known_prices is not None else None
    if known is None:
        known = next((model.price_micro for model in prover.genesis.models if model.model == spec.model), None)
    if known is None and spec.max_price_micro is None:  # a model that came by a vote, and was never asked for from here
        known = await prover.price(ground.facts, spec.model, ground.height)
    return Terms(seen, price_limit(spec.model, seen, known or seen, spec.max_price_micro), spec.tokens, ground.tip.balance_micro)


async def submit_operation(
    peer: str, genesis: Genesis, key: Key, body: Body, nonces: Nonces | None = None, wait_s: float = 0.0,
    on_taken: Callable[[dict[str, Any]], None] = lambda answer: None,
) -> dict[str, Any]:
    """Sign an order with the account's next nonce and hand it to `peer` (multiaddr). Its answer; raises the peer's error. nonces: as in AskSpec.
    wait_s: how long to wait for the chain, then the answer says what became of it (wait_for_transaction); on_taken: gets the peer's answer before."""
    async with _open_to(peer, genesis.network) as network:
        name = peer.rsplit("/p2p/", 1)[-1]

        async def question(asked: dict[str, Any]) -> dict[str, Any]:
            return await query(network, name, asked)

        prover = Prover(genesis, question, name)
        lowest = await next_nonce(prover, await prover.ground(key.public, ""), key.public, nonces)
        nonce = nonces.take(key.public, lowest) if nonces is not None else lowest
        order = SubmitTransaction(VERSION, sign_op(key, genesis.network, nonce, body))
        answer: dict[str, Any] = to_builtins(read(Taken, await _question(network, name, order), "transaction", name))
        if not wait_s:
            return answer
        on_taken(answer)
        fate = await wait_for_transaction(order.signed_op.op_id, question, lambda: _question(network, name, order), wait_s)
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


async def _question(network: Network, peer: str, question: Query | SubmitTransaction) -> dict[str, Any]:
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


def _sign(spec: AskSpec, ground: Ground, terms: Terms, lowest: int, serving: WeightedDraw | None) -> SignedRequest:
    """serving: where an executor is chosen, whom the draw will be made from."""
    agent = public_key_of(spec.peer.rsplit("/p2p/", 1)[-1])
    request = Request(
        VERSION, spec.network, spec.payer, 0, spec.model,
        digest(b"prompt", spec.prompt.encode()), spec.params, prompt_bound(spec.prompt),
        spec.max_tokens, terms.max_price_micro, ground.height + spec.deadline_ahead, spec.key.public, ground.height, agent,
    )

    def with_nonce(nonce: int) -> SignedRequest:
        return _signed(spec.key, replace(request, client_nonce=nonce))

    def choose(lowest: int) -> int:
        if spec.choose_executor is None:
            return lowest
        for nonce in range(lowest, lowest + NONCE_TRIES):
            if serving is not None and draw_executors(ground.beacon, with_nonce(nonce).inference_id, serving, agent, 1) == (spec.choose_executor,):
                return nonce
        raise Unavailable("no nonce draws the executor wanted; does it serve the model?", field="choose_executor")

    if spec.nonce is not None:
        return with_nonce(spec.nonce)
    return with_nonce(choose(lowest) if spec.nonces is None else spec.nonces.take(spec.payer, lowest, choose))


def _signed(key: Key, request: Request) -> SignedRequest:
    return SignedRequest(request, key.sign(Domain.REQUEST, request.network, encode(request)))


async def _follow(
    stream: Stream, spec: AskSpec, signed: SignedRequest, peer: str, drawn: DrawCheck, question: Question
) -> AsyncIterator[dict[str, Any]]:
    accepted: Accepted | None = None
    tokens: list[int] = []
    text: list[str] = []
    way = Way(spec.network)

    while True:
        frame = await receive_frame(
            stream, Accepted, Trying, Declined, Tokens, Done, Failure, timeout_s=FIRST_TOKEN_TIMEOUT_S + 10
        )
        if isinstance(frame, Failure):
            raise_failure(frame)
        elif isinstance(frame, Accepted):
            if accepted is not None:
                raise RemoteProtocolError("accepted twice", field="frame")
            accepted = frame
            yield {
                "event": "accepted", "inference_id": frame.inference_id.hex(), "agent": frame.agent.hex(),
                "draw_height": drawn.height, "beacon": frame.beacon.hex(), "candidates": [c.hex() for c in frame.candidates],
            }
            await drawn.look(question, peer)
        elif isinstance(frame, Trying):
            way.trying(accepted, frame)
            yield {"event": "executor", "node": frame.node.hex(), "peer_id": peer_id(frame.node)}
        elif isinstance(frame, Declined):
            way.passed(accepted, frame)
            yield {"event": "busy" if frame.busy else "failed", "node": frame.node.hex(), "reason": frame.reason}
        elif isinstance(frame, Tokens):
            if frame.position != len(tokens) or len(tokens) + len(frame.tokens) > spec.max_tokens:
                raise RemoteProtocolError("tokens that do not follow on those before, or more than were asked for", field="position")
            check_text(frame)
            tokens.extend(frame.tokens)
            text.append(frame.text)
            for at, token in enumerate(frame.tokens):  # an event each; the text of all that share a frame is with the first
                yield {"event": "token", "text": "" if at else frame.text, "token": token}
        elif isinstance(frame, Done):
            if accepted is None:
                raise RemoteProtocolError("finished before it was accepted", field="frame")
            if spec.on_proof is not None:
                spec.on_proof(AnswerProof(VERSION, spec.prompt, signed, accepted, frame.finish, frame.artifact, tuple(tokens), "".join(text)))
            await drawn.settle(question, peer)
            problems = check_receipt(spec, signed, accepted, frame, tokens, "".join(text), drawn=drawn) + way.problems(frame)
            if not problems and drawn.price_micro is not None and spec.known_prices is not None:
                spec.known_prices.keep(spec.model, drawn.price_micro, drawn.height)
            receipt = summary(signed, accepted, frame, peer, problems, drawn.known, way.passed_over(streamed_by(frame)))
            yield {"event": "done", "receipt": receipt, "text": "".join(text)}
            return
        else:
            raise RemoteProtocolError(f"{type(frame).__name__} has no place here", field="frame")
