"""Peers as processes for the network tests, and a bare libp2p host that can send anything.

Tests wait for events. PATIENCE_S only bounds a wait for something that never comes: an idle machine needs a second or
two, a busy one can need a hundred times that.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.network.config import ConnectionConfig
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr

ROOT = Path(__file__).resolve().parents[2]
VICTIM = Path(__file__).with_name("victim.py")
PATIENCE_S = 180.0
POLL_S = 0.2


def seed(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


class Peer:
    """A process that runs tests/gossip/victim.py."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._buffer = b""
        self.address = self.id = ""

    async def line(self) -> dict[str, Any]:
        """The next line that it writes."""
        assert self.process.stdout is not None
        with trio.fail_after(PATIENCE_S):
            while b"\n" not in self._buffer:
                chunk = await self.process.stdout.receive_some(65536)
                assert chunk, f"the peer died with {self.process.poll()}"
                self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)

    async def tell(self, op: str, **words: Any) -> dict[str, Any]:
        """Make it do `op`, and return its state afterwards."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all((json.dumps({"op": op, **words}) + "\n").encode())
        return await self.line()

    async def until(self, holds: Any) -> dict[str, Any]:
        """Ask for its state until holds(state); the failure shows the last one."""
        state: dict[str, Any] = {}
        with trio.move_on_after(PATIENCE_S):
            while True:
                state = await self.tell("state")
                if holds(state):
                    return state
                await trio.sleep(POLL_S)
        raise AssertionError(f"not within {PATIENCE_S} s: {state}")


async def until_one_mesh(running: list[Peer]) -> None:
    """Wait until the gossip mesh connects all of `running`: links count that both sides have in their mesh."""
    with trio.fail_after(PATIENCE_S):
        while True:
            meshed = {one.id: set((await one.tell("state"))["meshed"]) for one in running}
            reached, todo = {running[0].id}, [running[0].id]
            while todo:
                here = todo.pop()
                new = {other for other in meshed[here] - reached if here in meshed.get(other, ())}
                reached |= new
                todo += new
            if reached == set(meshed):
                return
            await trio.sleep(POLL_S)


@asynccontextmanager
async def peers(*settings: dict[str, Any], kind: str = "peer") -> AsyncIterator[list[Peer]]:
    """Start processes of victim.py at once and wait until each listens."""
    async with started(*([sys.executable, str(VICTIM), kind, json.dumps(words)] for words in settings)) as running:
        yield running


@asynccontextmanager
async def started(*commands: list[str]) -> AsyncIterator[list[Peer]]:
    """Start programs that speak as victim.py does, and wait until each listens."""
    running: list[Peer] = []
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        for command in commands:
            process = await trio.lowlevel.open_process(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
            )
            running.append(Peer(process))
        for one in running:
            ready = await one.line()
            one.address, one.id = ready["ready"], ready["peer"]
        yield running
    finally:
        for one in running:
            one.process.kill()
        with trio.CancelScope(shield=True), trio.move_on_after(5):
            for one in running:
                await one.process.wait()


@asynccontextmanager
async def bare_host(name: str) -> AsyncIterator[Any]:
    """A libp2p host without our code on it. It takes gossip and does nothing with it: who takes none is not heard."""
    host = new_host(
        key_pair=create_new_key_pair(seed(name)),
        listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")],
        connection_config=ConnectionConfig(min_connections=0, low_watermark=0, max_connections_per_peer=1),
    )

    async def drain(stream: Any) -> None:
        with suppress(Exception):  # the other side may end it in any way
            while await stream.read(65536):
                pass

    host.set_stream_handler(TProtocol("/meshsub/1.1.0"), drain)
    async with host.run(listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        yield host


def info(address: str) -> Any:
    return info_from_p2p_addr(Multiaddr(address))
