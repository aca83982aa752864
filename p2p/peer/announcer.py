"""Tells the operator what state this peer is in. Law: 'ready' only when it is connected and its ML node, if it has one,
is ready."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from p2p.gossip.host import DIALLING, Network
from p2p.machine.logs import plain
from p2p.peer.config import NodeConfig
from p2p.peer.lending import Lending

Report = Callable[[str, str], None]  # (state, text)
CONNECTION_LOOK_S = 0.1


@dataclass(slots=True)
class Announcer:
    """One per peer."""

    config: NodeConfig
    report: Report
    network: Callable[[], Network | None]
    ml: Callable[[], Lending]
    state: str = "joining"  # then loading, ready
    said: str = ""  # the sentence reported last
    is_joined: bool = False

    async def run(self) -> None:
        """Wait for a first connection, then tell."""
        await self._until_connected()
        self.is_joined = True
        self.tell()

    async def _until_connected(self) -> None:
        """Say why there is no connection, and again when the reason changes."""
        said = ""
        while self.config.bootstrap and (network := self.network()) is not None and not network.connected():
            if (why := network.alone()) not in (said, DIALLING):
                self.report("joining", why)
                said = why
            await trio.sleep(CONNECTION_LOOK_S)

    def tell(self) -> None:
        """Called when the network or the ML node has become ready."""
        ml = self.ml()
        if not self.is_joined:
            return
        if not ml.wanted:
            self.say("ready", "no ML node: agent and validator of blocks only")
        elif ml.ready:
            self.say("ready", "serving " + self.config.model)
        elif self.state == "joining":
            self.say("loading", "waiting for the ML node")

    def say(self, state: str, text: str) -> None:
        if self.state == "draining":  # the last word
            return
        self.state, self.said = state, plain(text)  # the text may hold an ML node's words
        self.report(state, self.said)
