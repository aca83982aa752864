"""One peer: everything wired in one nursery. Law: composition only; reads like a diagram.

libp2p streams and topics -> {agent, executor, validator, consensus engine} -> outbox -> chain (LMDB).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import structlog
import trio

from p2p.base.codec import decode, encode
from p2p.base.errors import FolkmootError, InvalidRequest, RemoteProtocolError, Unavailable
from p2p.base.files import keep_private, narrow_tree
from p2p.base.genesis import Genesis, load_genesis
from p2p.base.keys import Key
from p2p.base.limits import MAX_TX, STORE_LOOK_S
from p2p.base.outcome import Outcome
from p2p.chain.account_transactions import AccountTransactions
from p2p.chain.body_stream import fetch_body, serve_body
from p2p.chain.chain import Chain
from p2p.chain.checkpoint import Anchor, parse_checkpoint
from p2p.chain.queries import Queries
from p2p.chain.sync_client import Catchup, serve_sync
from p2p.chain.valued import Validators
from p2p.consensus.engine import ConsensusEngine
from p2p.consensus.messages import Block, CommitCertificate
from p2p.consensus.timing import Timing
from p2p.gossip.host import DIALLING, Network, NetworkConfig, open_network
from p2p.gossip.streams import Stream
from p2p.ledger.genesis import check_genesis
from p2p.machine.load import Load
from p2p.machine.logs import plain
from p2p.machine.tasks import Tasks
from p2p.peer.config import NodeConfig, check_network
from p2p.peer.control import serve_control
from p2p.peer.dispute_alerts import CaseLog
from p2p.peer.fault_injector import Planter
from p2p.peer.lending import Lending
from p2p.peer.outbox import Outbox
from p2p.peer.quotas import Bandwidth
from p2p.peer.roles import Roles
from p2p.peer.sent_batches import SentStore
from p2p.peer.sprint_runner import SprintRunner
from p2p.peer.validator import stored_payload
from p2p.verification.profile import load as load_profile
from p2p.wire.frames import (
    Answer,
    Ask,
    BodyWanted,
    Forward,
    Frame,
    PayloadWanted,
    Query,
    SubmitTransaction,
    failure,
    pack_frame,
    receive_frame,
)

log = structlog.get_logger()

Report = Callable[[str, str], None]
HONEST = Roles()
TOPICS = ("votes", "proposals", "transactions")
_WRAPPING = 16  # bytes around a transaction on its topic, at most


class Node:
    """The parts of one running peer and the wires between them."""

    def __init__(self, config: NodeConfig, genesis: Genesis, report: Report, roles: Roles = HONEST) -> None:
        check_network(config, genesis)
        self.config = config
        self.report = report
        self.state = "joining"
        self.key = Key.load(config.directory / "node.key")
        self.chain = Chain.open(config.directory, genesis, keep_for=None if config.keep_records == "all" else self.key.public)
        self.anchor = Anchor(parse_checkpoint(config.checkpoint) if config.checkpoint else None)
        self.anchor.agree(self.chain.height(), self.chain.blocks.header)
        self.sent = SentStore(self.chain.store)
        self.outbox = Outbox(self.key, genesis.network, self.sent.load(self.key.public))
        self.account_transactions = AccountTransactions(self.chain)
        self.network: Network | None = None
        self._new_height = trio.Event()
        self._retries = 0
        self._valued = Validators(self.chain)
        self.tasks = Tasks()
        self.load = Load()
        self._is_joined = False
        self.said = ""
        timing = Timing(block_interval_ms=config.block_interval_ms, empty_block_interval_ms=config.empty_block_interval_ms)
        self.consensus = ConsensusEngine(
            key=self.key, network=genesis.network, app=self.chain, guard=self.chain.guard, publish=self._publish, timing=timing,
            clock=lambda: time.time_ns() // 1_000_000, on_commit=self._committed, has_txs=self.chain.pool.has_txs,
            find_tx=self.chain.pool.mempool.find, fetch=fetch_body(self._open),
        )
        waits_s = (config.first_token_timeout_ms / 1000, config.token_timeout_ms / 1000)
        self.agent = roles.agent(self.key, self.chain, self.outbox, self._open, *waits_s)
        self.agent.bandwidth = Bandwidth("account", config.account_limit)
        eos: frozenset[int] = frozenset()
        self.executor = roles.executor(self.key, self.chain, self.outbox, self.chain.payloads, eos)
        self.chain.on_refused_start = self.executor.credit.refused
        self.executor.bandwidth = Bandwidth("agent", config.agent_limit)
        self.validator = roles.validator(self.key, genesis.network, self.chain, self.outbox, self._open, eos)
        self.validator.profile = load_profile(config.profile) if config.profile else None
        self.ml = Lending(config, roles, self.chain, self.executor, self.validator, lambda text: self._say("loading", text), self._tell)
        self.racer = SprintRunner(self.key, self.chain, self.outbox, self.executor, config.model, config.sprint_jobs)
        self.executor.load = self.validator.load = self.agent.entrance.load = self.load
        self.planter = self._planter(roles)
        self.cases = CaseLog(self.chain, self.key.public)
        self.queries = Queries(self.chain, self.status, self._peers, self.account_transactions.fate)

    def _planter(self, roles: Roles) -> Planter | None:
        c = self.config
        if not roles.plant_every_s:
            return None
        owner = Key.load(c.directory / "account.key")
        planter = Planter(self.key, owner, self.chain, self.outbox, c.model, lambda: self.network, roles.plant_every_s, roles.faults)
        self.executor.engine_for = planter.engine_for
        return planter

    # -- what the wires call --------------------------------------------------------------------------------------

    async def _publish(self, topic: str, data: bytes) -> None:
        """To gossip, as far as it goes: what is lost is said again, and its failure is not that of who had something to say."""
        if self.network is None:
            return
        try:
            await self.network.publish(topic, data)
        except Exception as error:  # the library raises anything
            log.warning("not published", topic=topic, reason=f"{type(error).__name__}: {error}")

    async def _open(self, peer: str, protocol: str) -> Stream:
        if self.network is None:
            raise Unavailable("the network is not open", field="network")
        return await self.network.open_stream(peer, protocol)

    def _committed(self, block: Block, certificate: CommitCertificate) -> None:
        del certificate
        height = block.header.height
        for one in self.chain.blocks.receipts(height):
            if one.sender == self.key.public:
                log.debug("a block refused a record of this peer", height=height, index=one.index, code=one.code, field=one.field)
        self._new_height.set()
        self._new_height = trio.Event()

    def _consensus(self, peer: str, topic: str, data: bytes) -> Outcome:
        """Topics `votes` and `proposals`. Below a checkpoint signatures prove nothing, so nothing is decided by them."""
        if self.anchor.is_below(self.chain.height() + 1):
            return Outcome.IGNORE
        return self.consensus.deliver(peer, topic, data)

    def _transaction(self, peer: str, data: bytes) -> Outcome:
        """Topic `transactions`: [retry counter, raw]; the counter lets a repeat pass the duplicate filter."""
        del peer
        try:
            wrapped = decode(data, limit=MAX_TX + _WRAPPING)
        except RemoteProtocolError:
            return Outcome.REJECT
        match wrapped:
            case [int(), bytes(raw)]:
                outcome = self.chain.pool.hear(raw)
            case _:
                return Outcome.REJECT
        if outcome is Outcome.ACCEPT and self.chain.pool.is_next(raw):
            self.consensus.wake()
        return outcome

    async def _say_tx(self, raw: bytes) -> None:
        self._retries += 1
        self.consensus.wake()
        await self._publish("transactions", encode([self._retries, raw]))

    # -- streams --------------------------------------------------------------------------------------------------

    async def _serve(self, stream: Stream, handle: Callable[[Stream, Any], Awaitable[None]], *kinds: type[Frame]) -> None:
        """One request frame of the `kinds` that this protocol has, one handler; its typed error goes back as a Failure frame."""
        try:
            await handle(stream, await receive_frame(stream, *kinds))
        except FolkmootError as error:
            with trio.move_on_after(2):
                await stream.send(pack_frame(failure(error)))
            if isinstance(error, RemoteProtocolError):
                raise  # the network counts the penalty
        finally:
            with trio.CancelScope(deadline=trio.current_time() + 2, shield=True):
                await stream.close()

    async def _infer(self, stream: Stream, frame: Ask | Forward) -> None:
        stream.paid()
        await self._wait_height(frame.signed_request.request.draw_height)
        if isinstance(frame, Ask):
            await self.agent.serve(stream, frame)
        else:
            await self.executor.serve(stream, frame)

    async def _wait_height(self, height: int) -> None:
        """Client or agent may be a block ahead of us: give that block a moment to arrive."""
        with trio.move_on_after(3):
            while height == self.chain.height() + 1:
                await self._new_height.wait()

    async def _payload(self, stream: Stream, frame: PayloadWanted) -> None:
        raw = self.chain.payloads.read(frame.inference_id)
        if raw is None or not await self._has_part(frame.inference_id, stream.peer):
            raise InvalidRequest("no such payload here", field="inference_id", code="not_found")
        await stream.send(pack_frame(stored_payload(raw)))

    async def _has_part(self, inference_id: bytes, peer: str) -> bool:
        """Whether the chain gives this peer a part in it: then executor, agent and members of its committees all hand it on. A drawn validator
        may be a block ahead of us."""
        with trio.move_on_after(3):
            while not self.chain.reader.may_fetch(inference_id, peer):
                await self._new_height.wait()
        return self.chain.reader.may_fetch(inference_id, peer)

    async def _query(self, stream: Stream, frame: Query | SubmitTransaction) -> None:
        if isinstance(frame, SubmitTransaction):
            raw, answer = self.account_transactions.take(frame.signed_op)
            if raw is not None:
                await self._say_tx(raw)
            await stream.send(pack_frame(Answer(encode(answer))))
            return
        await stream.send(pack_frame(Answer(encode(self.queries.query(decode(frame.body, limit=4096), public=True)))))

    # -- tasks ----------------------------------------------------------------------------------------------------

    async def _send_records(self) -> None:
        """Each height, and whenever records wait: new batches, and again batches and orders that no block took in time. Batches of a peer that
        is not registered no chain takes, so it keeps them to itself."""
        while True:
            height = self.chain.height()
            due = self.outbox.due(self.chain.reader.batch_nonce(self.key.public), height, may_send=self.chain.reader.is_registered(self.key.public))
            self.sent.keep(self.outbox.flight)  # before any of it leaves
            for raw in due:
                try:
                    self.chain.pool.add(raw)
                except FolkmootError as error:
                    log.debug("own batch not taken", reason=str(error))
            for raw in (*due, *self.account_transactions.due()):
                await self._say_tx(raw)
            with trio.move_on_after(2.0):
                while self.chain.height() == height and not self.outbox.ready:
                    with trio.move_on_after(0.02):
                        await self._new_height.wait()

    async def _watch_store(self) -> None:
        """Its failure ends the peer, wherever it was met and whoever answered it: a stream, a check, the ledger."""
        while self.chain.store.failure is None:
            await trio.sleep(STORE_LOOK_S)
        raise self.chain.store.failure

    async def _validate(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                with trio.move_on_after(2.0):
                    await self._new_height.wait()
                self.cases.look()
                await self.validator.on_height(nursery)

    async def _race(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                with trio.move_on_after(2.0):
                    await self._new_height.wait()
                await self.racer.on_height(nursery)

    async def _joined(self) -> None:
        """Wait for a first connection; say why there is none, and again when the reason changes."""
        said = ""
        while self.config.bootstrap and self.network is not None and not self.network.connected():
            if (why := self.network.alone()) not in (said, DIALLING):
                self.report("joining", why)
                said = why
            await trio.sleep(0.1)

    async def _announce(self) -> None:
        await self._joined()
        self._is_joined = True
        self._tell()

    def _tell(self) -> None:
        """Whenever one of the two that make a peer ready has come: the network, the ML node."""
        if not self._is_joined:
            return
        if not self.ml.wanted:
            self._say("ready", "no ML node: agent and validator of blocks only")
        elif self.ml.ready:
            self._say("ready", "serving " + self.config.model)
        elif self.state == "joining":
            self._say("loading", "waiting for the ML node")

    # -- answers --------------------------------------------------------------------------------------------------

    def _say(self, state: str, text: str) -> None:
        self.state, self.said = state, plain(text)  # an ML node's words may be in it
        self.report(state, self.said)

    def status(self) -> dict[str, Any]:
        network = self.network
        return {
            "peer_id": self.key.peer_id, "node": self.key.public.hex(), "network": self.chain.genesis.network, "state": self.state,
            "addresses": list(network.addresses()) if network else [], "connections": len(network.connected()) if network else 0,
            **(network.status() if network else {}),
            "base": self.chain.blocks.first_height(), "height": self.chain.height(),
            "registered": self.chain.reader.is_registered(self.key.public),
            "app_hash": self.chain.app_hash().hex(), "last_time_ms": self.chain.last_time_ms(),
            "ml_node": self.config.ml_node or (str(self.config.model_path) if self.config.model_path else ""),
            "jobs": self.executor.jobs, "sprint": self.racer.status(), "consensus": self.consensus.status(),
            "said": self.said, "failures": self.tasks.status(),
        }

    def _peers(self) -> list[dict[str, Any]]:
        return [{"peer_id": peer} for peer in (self.network.connected() if self.network else ())]

    def network_config(self) -> NetworkConfig:
        c = self.config
        return NetworkConfig(
            self.key, self.chain.genesis.network, c.listen, c.bootstrap, topics=TOPICS, expected_size=c.expected_size,
            book=c.directory / "peers", valued=self._valued.knows, paid=frozenset({"infer"}),
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Network]:
        """Join the network: topics to their consumers, streams to their servers."""
        topics = {
            "votes": lambda peer, data: self._consensus(peer, "votes", data),
            "proposals": lambda peer, data: self._consensus(peer, "proposals", data),
            "transactions": self._transaction,
        }
        streams: dict[str, Callable[[Stream], Awaitable[None]]] = {
            "infer": lambda s: self._serve(s, self._infer, Ask, Forward),
            "payload": lambda s: self._serve(s, self._payload, PayloadWanted),
            "query": lambda s: self._serve(s, self._query, Query, SubmitTransaction),
            "body": lambda s: self._serve(s, partial(serve_body, self.consensus), BodyWanted),
            "sync": lambda s: serve_sync(self.chain, s),
        }
        async with open_network(self.network_config(), topic_handlers=topics, stream_handlers=streams) as network:
            self.network = network
            try:
                yield network
            finally:
                self.network = None


async def run_node(config: NodeConfig, report: Report, roles: Roles = HONEST, *, beside: Sequence[Callable[[Node], Awaitable[None]]] = ()) -> None:
    """Run one peer until cancelled. report(state, text): joining, loading, ready. beside: more tasks, which know the node (a test's load).
    Raises FolkmootError when it must halt."""
    keep_private()
    narrow_tree(config.directory)
    genesis = load_genesis(config.directory / "genesis.cbor")
    check_genesis(genesis)
    report("joining", f"network {genesis.network}")
    node = Node(config, genesis, report, roles)
    try:
        async with node.open() as network:
            async with trio.open_nursery() as nursery:
                for name, task in _parts(node, network):
                    nursery.start_soon(node.tasks.keep, name, task, *([node.ml.unfit] if name == "ml_node" else []))
                for load in beside:
                    nursery.start_soon(load, node)
    finally:
        node.chain.close()


def _parts(node: Node, network: Network) -> Iterator[tuple[str, Callable[[], Awaitable[None]]]]:
    """All that runs as long as the peer. What fails begins anew; only StorageError ends the peer (p2p/machine/tasks.py)."""
    inject, reload = node.consensus.inject_commit, node.consensus.reload
    catchup = Catchup(node.chain, network.connected, network.open_stream, inject, reload, node.anchor)
    yield "store", node._watch_store
    yield "load", node.load.run
    yield "consensus", node.consensus.run
    yield "sync", catchup.run
    yield "records", node._send_records
    yield "checks", node._validate
    yield "ml_node", node.ml.run
    yield "announcement", node._announce
    yield "control", lambda: serve_control(node.config.directory, lambda request: node.queries.query(request))
    if node.chain.genesis.sprint.blocks:
        yield "sprint", node._race
    if node.planter is not None:
        yield "planting", node.planter.run
