"""One peer: all its parts and the wires between them. Law: composition only; reads like a diagram.

libp2p streams and topics -> {agent, executor, validator, consensus engine} -> outbox -> chain (LMDB).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

import structlog
import trio
from msgspec.structs import asdict

from p2p.base.errors import Unavailable
from p2p.base.files import keep_private, narrow_tree
from p2p.base.genesis import Genesis, load_genesis
from p2p.base.keys import Key
from p2p.base.limits import STORE_LOOK_S
from p2p.chain.account_transactions import AccountTransactions
from p2p.chain.body_stream import fetch_body
from p2p.chain.chain import Chain
from p2p.chain.checkpoint import Anchor, parse_checkpoint
from p2p.chain.queries import Queries
from p2p.chain.sync_client import Catchup
from p2p.chain.valued import Validators
from p2p.consensus.engine import ConsensusEngine
from p2p.consensus.messages import Block, CommitCertificate
from p2p.consensus.timing import Timing
from p2p.gossip.connections.streams import Stream
from p2p.gossip.host import Network, NetworkConfig, open_network
from p2p.ledger.genesis import check_genesis
from p2p.machine.deadlines import strain
from p2p.machine.load import Load
from p2p.machine.tasks import Tasks
from p2p.metrics.peer import PEER
from p2p.metrics.registry import Registry
from p2p.peer.announcer import Announcer, Report
from p2p.peer.config import NodeConfig, check_network
from p2p.peer.control import serve_control
from p2p.peer.dispute_alerts import DisputeAlerts
from p2p.peer.draining import Draining, drain_handler, work_of
from p2p.peer.entrance import Entrance
from p2p.peer.fault_injector import FaultInjector
from p2p.peer.gate import Gate
from p2p.peer.intake import Intake
from p2p.peer.key_lock import key_lock
from p2p.peer.lending import Lending
from p2p.peer.measuring import Measuring
from p2p.peer.ml_control import ml_handler
from p2p.peer.outbox import Outbox
from p2p.peer.quotas import Quotas
from p2p.peer.ready_engine import ReadyEngine
from p2p.peer.record_sender import RecordSender
from p2p.peer.restored import Restored
from p2p.peer.roles import Roles
from p2p.peer.scheduled import Scheduled
from p2p.peer.sent_batches import SentStore
from p2p.peer.sprint_runner import SprintRunner
from p2p.peer.stream_handlers import METERED_BY_QUOTA, StreamHandlers
from p2p.peer.topic_handlers import TOPICS, TopicHandlers
from p2p.peer.vote_streams import VoteStreams
from p2p.peer.wakeup import Wakeup
from p2p.verification.profile import load as load_profile
from p2p.wire.answers.status import OwnerStatus

log = structlog.get_logger()

HONEST = Roles()
HEIGHT_LOOK_S = 2.0  # validator and sprint look at least this often, also while no block is decided
Task = Callable[[], Awaitable[None]]


class Node:
    """The parts of one running peer."""

    def __init__(self, config: NodeConfig, genesis: Genesis, report: Report, roles: Roles = HONEST) -> None:
        """Opens the store. Raises ConfigError, StorageError."""
        check_network(config, genesis)
        self.config = config
        self.key = Key.load(config.directory / "node.key")
        keep_for = None if config.keep_records == "all" else self.key.public
        self.chain = Chain.open(config.directory, genesis, keep_for=keep_for)
        self.anchor = Anchor(parse_checkpoint(config.checkpoint) if config.checkpoint else None)
        self.anchor.agree(self.chain.height(), self.chain.blocks.header)
        self.network: Network | None = None
        self.restored = Restored(self.chain.guard, lambda: self.network.status().twin if self.network else "")
        self.intake = Intake(restored=lambda: self.restored.waits)
        self.draining = Draining(lambda: work_of(self), self._close, self.chain.height)
        self.metrics = Registry(PEER)
        self.new_height = Wakeup()
        self.tasks = Tasks()
        self.load = Load()
        self.announcer = Announcer(config, report, lambda: self.network, lambda: self.ml)
        self._valued = Validators(self.chain, self.key.public)
        self._make_consensus()
        self._make_records()
        self._make_roles(roles)
        self.queries = Queries(
            self.chain, self.status, self._peers, self.account_transactions.fate, self._model_file,
        )
        self.measuring = Measuring(self, self.metrics)
        self.topics = TopicHandlers(self.chain, self.consensus, self.anchor)
        self.streams = StreamHandlers(
            self.chain, self.consensus, self.agent, self.executor, self.queries, self.account_transactions,
            self.records, self.new_height, self.votes, self.intake,
        )

    def _close(self) -> None:
        """Take nothing new, and say so."""
        self.intake.drains = True
        self.announcer.say("draining", "finishes what runs, then ends")

    def _model_file(self, wanted: bytes) -> bytes | None:
        """For clients that count tokens themselves."""
        text = self.executor.ready.text if self.executor.ready is not None else None
        if text is None:
            return None
        return {text.tokenizer_hash: text.tokenizer, text.template_hash: text.template}.get(wanted)

    def _make_consensus(self) -> None:
        timing = Timing(
            block_interval_ms=self.config.block_interval_ms,
            empty_block_interval_ms=self.config.empty_block_interval_ms,
        )
        self.consensus = ConsensusEngine(
            key=self.key, network=self.chain.genesis.network, app=self.chain, guard=self.chain.guard,
            publish=self._publish, timing=timing, clock=lambda: time.time_ns() // 1_000_000, on_commit=self._committed,
            has_txs=self.chain.pool.has_txs, find_tx=self.chain.pool.mempool.find, fetch=fetch_body(self._open),
            strain=strain,
        )
        self.votes = VoteStreams(
            self.key.peer_id, self.consensus, self._valued.all, self._peers, self._open, self._publish,
            lambda: not self.anchor.is_below(self.chain.height() + 1),
        )

    def _make_records(self) -> None:
        """What this peer says on chain, from the outbox to the topic."""
        wakeup, sent = Wakeup(), SentStore(self.chain.store)
        kept = sent.load(self.key.public)
        self.outbox = Outbox(self.key, self.chain.genesis.network, kept, on_record=wakeup.set)
        self.account_transactions = AccountTransactions(self.chain)
        self.records = RecordSender(
            self.key.public, self.chain, self.outbox, sent, self.account_transactions, self._publish,
            self.consensus.wake, wakeup,
        )

    def _make_roles(self, roles: Roles) -> None:
        """Agent, executor and validator, and what serves them."""
        config, key, chain, outbox = self.config, self.key, self.chain, self.outbox
        self.agent = roles.agent(
            key, chain, outbox, self._open, config.first_token_timeout_ms / 1000, config.token_timeout_ms / 1000,
            entrance=Entrance(self.load), quotas=Quotas("account", config.account_limit), metrics=self.metrics,
        )
        self.fault_injector = self._make_fault_injector(roles)
        faults = {"engine_for": self.fault_injector.engine_for} if self.fault_injector is not None else {}
        gate = Gate()
        admission = Scheduled(
            key.public, chain, outbox, quotas=Quotas("agent", config.agent_limit), gate=gate, engine_at=self._engine_at,
            own=frozenset(map(bytes.fromhex, config.own_accounts)),
        )
        self.executor = roles.executor(
            key, chain, outbox, chain.payloads, admission, load=self.load, metrics=self.metrics, **faults,
        )
        self.executor.closed = lambda: self.intake.closed
        chain.on_refused_start = admission.credit.refused
        self.validator = roles.validator(
            key, chain.genesis.network, chain, outbox, self._open, load=self.load,
            profile=load_profile(config.profile) if config.profile else None, place=gate.hold,
            engine_at=self._engine_at, engine_of=self._engine_of, metrics=self.metrics,
        )
        self.ml = Lending(
            config, roles, chain, self.executor, self.validator, lambda text: self.announcer.say("loading", text),
            self.announcer.tell, gate,
        )
        self.sprint_runner = SprintRunner(
            key, chain, outbox, self.executor, config.model, config.sprint_jobs, gate.hold, self._engine_at
        )
        self.dispute_alerts = DisputeAlerts(chain, key.public)

    def _engine_at(self, name: str) -> ReadyEngine | None:
        """Of the ML node of that name."""
        return self.ml.nodes.ready(name)

    def _engine_of(self, model: str) -> ReadyEngine | None:
        """Of some ML node with that model."""
        return self.ml.nodes.any_ready(model)

    def _make_fault_injector(self, roles: Roles) -> FaultInjector | None:
        if not roles.plant_every_s:
            return None
        owner = Key.load(self.config.directory / "account.key")
        return FaultInjector(
            self.key, owner, self.chain, self.outbox, self.config.model, lambda: self.network, roles.plant_every_s,
            roles.faults,
        )

    # -- what the wires call --------------------------------------------------------------------------------------

    async def _publish(self, topic: str, data: bytes) -> None:
        """To the network, if it is open. Never raises: what is lost is published again later by whoever needs it
        known."""
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
        self.restored.committed(block)
        height = block.header.height
        refused = [one for one in self.chain.blocks.receipts(height) if one.sender == self.key.public]
        for one in refused:
            log.debug(
                "a block refused a record of this peer", height=height, index=one.index, code=one.code, field=one.field
            )
        self.measuring.committed(block, certificate, len(refused))
        self.new_height.set()
        self.records.wakeup.set()

    # -- tasks ----------------------------------------------------------------------------------------------------

    async def _watch_store(self) -> None:
        """A failure of the store ends the peer, whichever part met it and whoever answered it."""
        while self.chain.store.failure is None:
            await trio.sleep(STORE_LOOK_S)
        raise self.chain.store.failure

    @property
    def last_draws(self) -> int | None:
        """The last height whose draws this peer checks; None: it checks all."""
        return 0 if self.restored.waits else self.draining.last_draws

    async def _validate(self) -> None:
        async def look(nursery: trio.Nursery) -> None:
            self.dispute_alerts.look()
            await self.validator.on_height(nursery, until=self.last_draws)

        await self._at_each_height(look)

    async def _run_sprint(self) -> None:
        async def look(nursery: trio.Nursery) -> None:
            if not self.intake.closed:
                await self.sprint_runner.on_height(nursery)

        await self._at_each_height(look)

    async def _at_each_height(self, look: Callable[[trio.Nursery], Awaitable[None]]) -> None:
        """For ever. What `look` starts in the nursery belongs to the calling task."""
        async with trio.open_nursery() as nursery:
            while True:
                with trio.move_on_after(HEIGHT_LOOK_S):
                    await self.new_height.wait()
                await look(nursery)

    def parts(self, network: Network) -> Iterator[tuple[str, Task]]:
        """(name, task) of all that runs as long as the peer. What fails begins anew; only StorageError ends the peer
        (p2p/machine/tasks.py)."""
        inject, reload = self.restored.watching(self.consensus.inject_commit), self.consensus.reload
        yield "store", self._watch_store
        yield "load", self.load.run
        yield "consensus", self.consensus.run
        yield "votes", self.votes.run
        yield "sync", Catchup(self.chain, network.connected, network.open_stream, inject, reload, self.anchor).run
        yield "records", self.records.run
        yield "checks", self._validate
        yield "ml_node", self.ml.run
        yield "announcement", self.announcer.run
        answer = drain_handler(self.draining, ml_handler(self.ml.nodes, self.queries.answer))
        yield "control", lambda: serve_control(self.config.directory, answer)
        if self.chain.genesis.sprint.blocks:
            yield "sprint", self._run_sprint
        if self.fault_injector is not None:
            yield "fault_injector", self.fault_injector.run

    # -- answers --------------------------------------------------------------------------------------------------

    def status(self) -> OwnerStatus:
        """What `folkmoot status` prints."""
        network, chain = self.network, self.chain
        return OwnerStatus(
            self.key.peer_id, self.key.public.hex(), chain.genesis.network, self.announcer.state,
            network.addresses() if network else (), len(network.connected()) if network else 0,
            chain.blocks.first_height(), chain.height(), chain.reader.is_registered(self.key.public),
            chain.app_hash().hex(), chain.last_time_ms(), self.executor.jobs, self.sprint_runner.status(),
            self.consensus.status(),
            ml_node=", ".join(row["where"] for row in self.ml.nodes.rows()),
            said=self.announcer.said, failures=self.tasks.status(),
            **(asdict(network.status()) if network else {}),
        )

    def _peers(self) -> tuple[str, ...]:
        return self.network.connected() if self.network else ()

    def network_config(self) -> NetworkConfig:
        c = self.config
        return NetworkConfig(
            self.key, self.chain.genesis.network, c.listen, c.bootstrap, topics=TOPICS, expected_size=c.expected_size,
            book=c.directory / "peers", valued=self._valued.knows, partners=self._valued.partners,
            paid=METERED_BY_QUOTA, relay=c.relay,
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Network]:
        """Join the network: topics to their consumers, streams to their servers."""
        topics, streams = self.topics.table(), self.streams.table()
        async with open_network(self.network_config(), topic_handlers=topics, stream_handlers=streams) as network:
            self.network = network
            try:
                yield network
            finally:
                self.network = None


async def run_node(
    config: NodeConfig, report: Report, roles: Roles = HONEST, *,
    load: Sequence[Callable[[Node], Awaitable[None]]] = (),
) -> None:
    """Run one peer until it is cancelled, or has drained. report(state, text): joining, loading, ready, draining. load:
    more tasks, which are given the node. Raises FolkmootError when it must halt."""
    keep_private()
    narrow_tree(config.directory)
    genesis = load_genesis(config.directory / "genesis.cbor")
    check_genesis(genesis)
    report("joining", f"network {genesis.network}")
    node = Node(config, genesis, report, roles)
    try:
        with key_lock(node.key.peer_id):
            await _run(node, load)
    finally:
        node.chain.close()


async def _run(node: Node, load: Sequence[Callable[[Node], Awaitable[None]]]) -> None:
    async with node.open() as network:
        async with trio.open_nursery() as nursery:
            for name, task in node.parts(network):
                fatal = [node.ml.unfit] if name == "ml_node" else []
                nursery.start_soon(node.tasks.keep, name, task, *fatal)
            for extra in load:
                nursery.start_soon(extra, node)
            await node.draining.run()
            nursery.cancel_scope.cancel()
