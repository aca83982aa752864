"""A client's connection to one peer: questions about its chain, and account transactions.

Law: one stream for one question; nothing that is answered is believed here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from msgspec import to_builtins

from p2p.base.codec import decode, encode
from p2p.base.errors import RemoteProtocolError
from p2p.base.genesis import Genesis
from p2p.base.keys import Key, NetworkId
from p2p.base.limits import MAX_ANSWER_ITEMS
from p2p.base.types import VERSION
from p2p.client.nonces import Nonces
from p2p.client.question import id_of
from p2p.client.tip_proof import Prover, next_nonce
from p2p.client.transaction_wait import wait_for_transaction
from p2p.gossip.host import Network, NetworkConfig, open_network
from p2p.ledger.rules.ops import Body, sign_op
from p2p.wire.answers.accounts import Taken
from p2p.wire.answers.reading import read
from p2p.wire.failures import raise_failure
from p2p.wire.frames import Answer, Failure, Query, SubmitTransaction, pack_frame, receive_frame


@asynccontextmanager
async def open_to(peer: str, network_name: NetworkId) -> AsyncIterator[Network]:
    """A network of one connection, to `peer` (multiaddr), under a key of its own."""
    config = NetworkConfig(Key.generate(), network_name, (), (), expected_size=1, min_connections=0)
    async with open_network(config, topic_handlers={}, stream_handlers={}) as network:
        await network.connect(peer)
        yield network


async def query_once(peer: str, network_name: NetworkId, body: dict[str, Any]) -> dict[str, Any]:
    """Ask `peer` (multiaddr) one question, over a connection of its own. Raises the peer's error."""
    async with open_to(peer, network_name) as network:
        return await query(network, id_of(peer), body)


async def query(network: Network, peer: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask a connected peer about its chain: the operations that anyone may use (chain/queries.py). Raises its error."""
    return await _exchange(network, peer, Query(VERSION, encode(body)))


async def submit_operation(
    peer: str, genesis: Genesis, key: Key, body: Body, nonces: Nonces | None = None, wait_s: float = 0.0,
    on_taken: Callable[[dict[str, Any]], None] = lambda answer: None,
) -> dict[str, Any]:
    """Sign an account's transaction with its next nonce and submit it to `peer` (multiaddr). Raises the peer's error.

    nonces: what was used before, from here. wait_s: how long to wait for the chain; then the answer says how it ended
    (wait_for_transaction). on_taken: gets the peer's answer before that.
    """
    async with open_to(peer, genesis.network) as network:
        name = id_of(peer)

        async def ask(body: dict[str, Any]) -> dict[str, Any]:
            return await query(network, name, body)

        prover = Prover(genesis, ask, name)
        lowest = await next_nonce(prover, await prover.ground(key.public, ""), key.public, nonces)
        nonce = nonces.take(key.public, lowest) if nonces is not None else lowest
        transaction = SubmitTransaction(VERSION, sign_op(key, genesis.network, nonce, body))
        taken = read(Taken, await _exchange(network, name, transaction), "transaction", name)
        answer: dict[str, Any] = to_builtins(taken)
        if not wait_s:
            return answer
        on_taken(answer)
        ended = await wait_for_transaction(
            transaction.signed_op.op_id, ask, lambda: _exchange(network, name, transaction), wait_s, name
        )
        return {**answer, **ended}


async def _exchange(network: Network, peer: str, question: Query | SubmitTransaction) -> dict[str, Any]:
    stream = await network.open_stream(peer, "query")
    try:
        await stream.send(pack_frame(question))
        frame = await receive_frame(stream, Answer, Failure)
    finally:
        await stream.close()
    if isinstance(frame, Failure):
        raise_failure(frame)
    if not isinstance(frame, Answer):
        raise RemoteProtocolError(f"a {type(frame).__name__} frame came where Answer is expected", field="frame")
    answer = decode(frame.body, items=MAX_ANSWER_ITEMS)
    if not isinstance(answer, dict):
        raise RemoteProtocolError("the peer's answer is not a map", field="body")
    return answer
