"""Collects what `folkmoot doctor` judges: facts about one peer's folder, machine and network.

Law: it changes nothing and judges nothing; what it cannot find out is a fact too.

A peer that runs is asked by its control socket: its ports are taken, and it knows how others reach it. For one that
does not run, a network with a key of its own is opened for a moment on the same ports, so that no other peer takes it
for a copy of this peer's key.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import trio
from msgspec import to_builtins

from p2p.base.errors import ConfigError, FolkmootError, Unavailable
from p2p.base.genesis import Genesis, load_genesis
from p2p.base.keys import Key
from p2p.base.limits import DIAL_BACK_S
from p2p.gossip.connections.reach import HERE, scope_at
from p2p.gossip.host import Network, NetworkConfig, open_network
from p2p.inference.vllm.engine import VllmClient
from p2p.inference.vllm.server import closing, read_key
from p2p.ledger.genesis import check_genesis
from p2p.machine.deadlines import move_on_after
from p2p.peer.config import NodeConfig, check_network, load_config
from p2p.peer.control import call
from p2p.peer.machine_facts import MachineFacts, look_around

PROBE_S = 4 * DIAL_BACK_S  # for others to say whether they can dial this machine, and for a relay to answer
_LOOK_S = 0.2


@dataclass(slots=True)
class Facts:
    """What was found. A mapping is from a name to an error; an empty error says that all is well."""

    directory: Path
    config: NodeConfig | None = None
    files: dict[str, str] = field(default_factory=dict)  # settings, keys, genesis
    free_bytes: int | None = None  # on the folder's disk; None: not known
    status: dict[str, Any] | None = None  # of the running peer; None: it does not run
    silent: str = ""  # why a peer that seems to run does not answer
    ports: dict[str, str] = field(default_factory=dict)  # by address to listen on
    bootstrap: dict[str, str] = field(default_factory=dict)  # by address
    reach: dict[str, Any] = field(default_factory=dict)  # as ReachStatus; empty: nobody could be asked
    engine: str | None = None  # None: none is configured
    now_ms: int = 0  # of this machine's clock
    machine: MachineFacts = field(default_factory=MachineFacts)


async def collect(directory: Path, bootstrap: Sequence[str] = ()) -> Facts:
    """All facts. bootstrap: instead of the configured ones. Never raises for what is wrong with the peer."""
    facts = Facts(directory, now_ms=time.time_ns() // 1_000_000)
    genesis = _read_files(facts, bootstrap)
    try:
        facts.free_bytes = shutil.disk_usage(directory).free
    except OSError:
        facts.free_bytes = None
    _ask_the_peer(facts)
    facts.machine = look_around(directory, facts.config, runs=facts.status is not None)
    if facts.status is None and facts.config is not None:
        await _probe(facts, facts.config, genesis)
    return facts


def _read_files(facts: Facts, bootstrap: Sequence[str]) -> Genesis | None:
    genesis: Genesis | None = None

    def settings() -> None:
        facts.config = load_config(facts.directory, bootstrap=tuple(bootstrap))

    def keys() -> None:
        Key.load(facts.directory / "node.key")

    def beginning() -> None:
        nonlocal genesis
        found = load_genesis(facts.directory / "genesis.cbor")
        check_genesis(found)
        if facts.config is not None:
            check_network(facts.config, found)
        genesis = found

    for name, read in (("settings", settings), ("keys", keys), ("genesis", beginning)):
        facts.files[name] = ""
        try:
            read()
        except FolkmootError as error:
            facts.files[name] = str(error)
    return genesis


def _ask_the_peer(facts: Facts) -> None:
    if not facts.directory.is_dir():
        return
    try:
        facts.status = call(facts.directory, {"op": "status"})
        facts.reach = facts.status.get("reach") or {}
    except Unavailable as error:
        facts.silent = "" if "no peer runs" in error.message else error.message
    except FolkmootError as error:
        facts.silent = error.message


async def _probe(facts: Facts, config: NodeConfig, genesis: Genesis | None) -> None:
    facts.engine = await _engine(config)
    if genesis is None:
        return
    try:
        await _network(facts, config, genesis, config.listen)
        facts.ports = dict.fromkeys(config.listen, "")
    except ConfigError as error:  # a port is taken; the rest can be looked at without it
        facts.ports = dict.fromkeys(config.listen, error.message)
        await _network(facts, config, genesis, ())


async def _network(facts: Facts, config: NodeConfig, genesis: Genesis, listen: tuple[str, ...]) -> None:
    """Raises ConfigError where it cannot listen."""
    network = NetworkConfig(Key.generate(), genesis.network, listen, (), min_connections=0, relay=False)
    async with open_network(network, topic_handlers={}, stream_handlers={}) as net:
        for address in config.bootstrap:
            facts.bootstrap[address] = ""
            try:
                await net.connect(address)
            except FolkmootError as error:
                facts.bootstrap[address] = error.message
        answered = [address for address, error in facts.bootstrap.items() if not error]
        # peers on this machine say nothing of how others reach it (OUT-2), so nobody waits for them
        if listen and any(scope_at(address.rpartition("/p2p/")[0]) != HERE for address in answered):
            facts.reach = await _reached(net)


async def _reached(net: Network) -> dict[str, Any]:
    """What others say, once somebody said it; of one that they cannot dial, once a relay answered."""
    found: dict[str, Any] = {}
    with move_on_after(PROBE_S):
        while True:
            found = to_builtins(net.status().reach)
            is_told = found["witnesses"] or found["verdict"] == "reachable"
            if is_told and (found["verdict"] != "not reachable" or found["places"]):
                break
            await trio.sleep(_LOOK_S)
    return found


async def _engine(config: NodeConfig) -> str | None:
    if config.ml_node is not None:
        key = read_key(config.ml_node_key) if config.ml_node_key else ""
        async with closing(VllmClient(config.ml_node, config.model, key=key)) as client:
            return "" if await client.health() else f"nothing answers at {config.ml_node}"
    if config.model_path is not None:
        module = "vllm" if config.engine == "vllm" else "torch"
        return "" if find_spec(module) is not None else f"the package {module} is not installed"
    return None
