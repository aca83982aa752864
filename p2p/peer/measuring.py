"""Fills a peer's metrics from what its parts say of themselves. Law: it only reads, and only when somebody asks."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from p2p.consensus.messages import Block, CommitCertificate
from p2p.gossip.connections.topics import topic_name
from p2p.metrics import peer as m
from p2p.metrics.registry import Named, Registry
from p2p.peer.topic_handlers import TOPICS

if TYPE_CHECKING:
    from p2p.peer.node import Node

log = structlog.get_logger()

_STARTED = time.time()
_PAGE = os.sysconf("SC_PAGE_SIZE")


def _signed(node: Node) -> int:
    """The last height at which this peer's key signed, 0 for none."""
    found = node.chain.guard.load()
    return found.height if found is not None else 0


class Measuring:
    """Of one peer."""

    def __init__(self, node: Node, registry: Registry) -> None:
        self._node, self._registry = node, registry
        self._last_ms = node.chain.last_time_ms()
        self._signed: int | None = _signed(node)  # last before this start; None: it signed since
        network = node.chain.genesis.network
        self._topics = {topic_name(network, short): short for short in TOPICS}
        registry.before.append(self.look)

    def committed(self, block: Block, certificate: CommitCertificate, refused: int) -> None:
        """A block was decided or fetched. refused: records of this peer that it refused."""
        registry, header = self._registry, block.header
        registry.add(m.BLOCKS)
        registry.add(m.TRANSACTIONS, by=len(block.txs))
        registry.add(m.ROUNDS, by=certificate.round)
        registry.add(m.REFUSED, by=refused)
        if header.height > 1:
            registry.observe(m.INTERVAL, max(0.0, (header.time_ms - self._last_ms) / 1000))
        self._last_ms = header.time_ms
        if self._signed is not None and (now := _signed(self._node)) != self._signed:
            log.info("this peer signs again since its start", height=now, before=self._signed)
            self._signed = None
        own = self._node.key.public
        if own in dict(self._node.chain.last_validators()) and own not in dict(certificate.signatures):
            registry.add(m.UNSIGNED)

    def look(self) -> None:
        """Set everything that others count."""
        self._peer()
        self._consensus()
        self._network()
        self._serving()
        self._ledger()
        self._process()

    def _peer(self) -> None:
        node, put = self._node, self._registry.set
        for state in m.STATES:
            put(m.INFO, node.announcer.state == state, state)
        put(m.FAILURES, sum(node.tasks.failures.values()))
        put(m.PARTS_DOWN, len(node.tasks.waiting))
        put(m.LATE, node.load.late_s)

    def _consensus(self) -> None:
        node, put, found = self._node, self._registry.set, self._node.consensus.status()
        put(m.HEIGHT, node.chain.height())
        put(m.BLOCK_TIME, node.chain.last_time_ms() / 1000)
        put(m.ROUND, max(found.round, 0))
        put(m.IS_VALIDATOR, found.validator)
        put(m.OBSERVING, found.observing)
        put(m.EVIDENCE, found.evidence)
        put(m.VOTE_STREAMS, found.vote_streams)
        put(m.QUEUE_DROPS, found.dropped)
        put(m.CLOCK_LAG, (found.clock_lag_ms or 0) / 1000)
        put(m.CLOCK_WRONG, bool(found.clock))

    def _network(self) -> None:
        if self._node.network is None:
            return
        put, found = self._registry.set, self._node.network.status()
        put(m.CONNECTIONS, found.links.linked)
        put(m.DIALS, found.links.dials)
        put(m.DIALS_FAILED, found.links.dials_failed)
        put(m.KNOWN, found.links.known)
        put(m.STRAIN, found.links.strain)
        put(m.BANNED, len(found.banned))
        put(m.REFUSED_BY, len(found.refused_by))
        put(m.TWIN, bool(found.twin))
        self._by(m.ENDED, dict(found.ended))
        for resource_, row in found.budgets.items():
            name = resource_.replace(" ", "_")
            if name in m.RESOURCES:
                put(m.BUDGET_REFUSED, row.refused, name)
                put(m.BUDGET_USED, row.used if isinstance(row.used, int) else 0, name)
        if found.reach is not None:
            for verdict in m.REACH:
                put(m.REACHABLE, found.reach.verdict == verdict, verdict)
            put(m.CIRCUITS, found.reach.circuits)
            put(m.CARRIED, found.reach.carried_bytes)
        gossip = found.gossip
        for metric, name in ((m.MESH, "mesh"), (m.MESSAGES, "messages"), (m.GOSSIP_BYTES, "bytes")):
            self._by(metric, {self._topics.get(topic, topic): n for topic, n in gossip.get(name, {}).items()})
        self._by(m.SHED_MESSAGES, gossip.get("shed", {}))
        put(m.GRAYLISTED, gossip.get("graylisted messages", 0))

    def _by(self, metric: Named, rows: dict[str, int]) -> None:
        """Set a metric of one label; rows that it does not name are added up under 'other'."""
        ((_, names),) = metric.labels
        sums = dict.fromkeys(names, 0)
        for name, count in rows.items():
            sums[name if name in sums else names[-1]] += count
        for name, count in sums.items():
            self._registry.set(metric, count, name)

    def _serving(self) -> None:
        node, put = self._node, self._registry.set
        put(m.AGENT_RUNNING, node.agent.entrance.running)
        put(m.AGENT_LIMIT, node.agent.entrance.limit)
        scheduler = node.ml.nodes.gate.scheduler
        put(m.JOBS, scheduler.running)
        put(m.WAITING, scheduler.waiting)
        views = scheduler.views()
        for state in ("ready", "draining", "down"):
            put(m.NODES, sum(view.state == state for view in views), state)
        put(m.STARTS, sum(row["starts"] for row in node.ml.nodes.rows()))
        put(m.KV, max((view.kv_usage or 0.0 for view in views), default=0.0))
        put(m.ENGINE_RUNNING, sum(view.engine_running or 0 for view in views))
        put(m.ENGINE_WAITING, sum(view.engine_waiting or 0 for view in views))

    def _ledger(self) -> None:
        node, put, reader = self._node, self._registry.set, self._node.chain.reader
        put(m.DUTIES, len(reader.pending_duties(node.key.public)))
        put(m.BEHIND, node.load.is_behind)
        put(m.REGISTERED, reader.is_registered(node.key.public))
        put(m.FIRST_BLOCK, node.chain.blocks.first_height())
        put(m.OUTBOX, len(node.outbox))
        put(m.FLIGHT, node.outbox.in_flight)
        put(m.MEMPOOL, len(node.chain.pool.mempool))
        put(m.DISPUTES, len(reader.open_dispute_rows(node.key.public)))
        standing = reader.standing(node.key.public)
        put(m.WEIGHT, standing.weight)
        put(m.COLLATERAL, standing.collateral_micro)
        put(m.BALANCE, standing.owner_micro)
        put(m.PRICE, reader.price_micro(node.config.model) or 0)

    def _process(self) -> None:
        put, directory = self._registry.set, self._node.config.directory
        used = resource.getrusage(resource.RUSAGE_SELF)
        put(m.CPU, used.ru_utime + used.ru_stime)
        put(m.STARTED, _STARTED)
        put(m.MEMORY, int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE)
        put(m.FILES, len(os.listdir("/proc/self/fd")))
        put(m.STORE, (directory / "data" / "data.mdb").stat().st_size)
        disk = os.statvfs(directory)
        put(m.DISK, disk.f_bavail * disk.f_frsize)
