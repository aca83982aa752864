"""Looks at one peer from its address to its chain, a step at a time.

Law: a step that fails says what that means and what to look at; the steps after it are not tried. Nothing that the peer
says is believed: only its key is proved, and the hash of its genesis file is computed here.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import trio

from p2p.base.errors import FolkmootError
from p2p.base.keys import Key, public_key_of
from p2p.base.limits import MAX_CLOCK_APART_MS, STALE_TIP_S
from p2p.client.connection import query
from p2p.gossip import probe
from p2p.gossip.host import Network, NetworkConfig, open_network
from p2p.joining.genesis_fetch import NO_NETWORK, fetch_part_by_part
from p2p.joining.identity import Identity
from p2p.wire.answers.reading import read
from p2p.wire.answers.status import PublicStatus

OK, NOTE, FAILED, SKIPPED = "ok", "note", "failed", "skipped"
STEPS = ("parse", "resolve", "tcp", "security", "identity", "protocols", "network", "genesis", "height", "dial-back")
_MEANS = {
    "parse": "Give an address such as /ip4/192.0.2.7/tcp/7470/p2p/ID, as `folkmoot status` shows it.",
    "resolve": "Check the name, and this machine's DNS; an /ip4 address needs none.",
    "tcp": "The peer is down, its port is another, or a firewall on the way drops the connection.",
    "security": "Something else than a peer listens there, or every place for connections is taken; try again later.",
    "identity": "The address names another peer's key: ask its owner for the new address.",
    "protocols": "It is a libp2p peer of another program, or a much older one.",
    "network": "It is of another network, or too busy to answer: take another peer of the network that you mean.",
    "genesis": "Do not join through this peer: it gives a file that is not its network's.",
    "height": "The peer is behind or its network stands still; ask another one.",
    "dial-back": "Others cannot dial this machine: forward the port, or rely on relays (docs/join-as-a-host.md).",
}

_SEED = "it is a bootstrap seed: it introduces peers, and holds no chain"


@dataclass(frozen=True, slots=True)
class Step:
    """What one step found."""

    name: str
    state: str = SKIPPED
    text: str = ""
    fix: str = ""
    ms: float = 0.0


@dataclass(slots=True)
class Ping:
    """One look at `address`. wanted: the network that it should be of; unknown: any. listen: where this side waits to
    be dialled back. tell: is given each step when it ends."""

    address: str
    wanted: Identity
    listen: tuple[str, ...]
    tell: Callable[[Step], None] = lambda step: None
    _peer: str = ""
    _bare: str = ""
    _shorts: tuple[str, ...] = ()  # the protocols that it names
    _status: PublicStatus | None = None
    _steps: list[Step] = field(default_factory=list)

    async def run(self) -> list[Step]:
        """All steps; those after a failed one are skipped."""
        found: list[str] = []
        if (
            await self._did("parse", self._parse) and await self._did("resolve", partial(self._resolve, found))
            and await self._did("tcp", partial(self._tcp, found))
        ):
            config = NetworkConfig(Key.generate(), NO_NETWORK, self.listen, (), min_connections=0, greets=False)
            async with open_network(config, topic_handlers={}, stream_handlers={}) as network:
                await self._connected(network)
        tried = {step.name for step in self._steps}
        for name in STEPS:
            if name not in tried:
                self._note(Step(name, text="not tried"))
        return self._steps

    async def _connected(self, network: Network) -> None:
        secured = await self._timed("security", partial(self._connect, network))
        if secured.state == FAILED and secured.text.startswith("another peer than"):
            self._note(Step("security", OK, "secured, by another key than the address names", ms=secured.ms))
            self._note(replace(secured, name="identity", fix=_MEANS["identity"], ms=0.0))
            return
        self._note(secured)
        if secured.state == FAILED:
            return
        self._note(Step("identity", OK, f"it proved the key of {self._peer}"))
        for name, act in (
            ("protocols", self._protocols), ("network", self._network), ("genesis", self._genesis),
            ("height", self._height), ("dial-back", self._dial_back),
        ):
            if not await self._did(name, partial(act, network)):
                return

    async def _did(self, name: str, act: Callable[[], Awaitable[tuple[str, str]]]) -> bool:
        """Try a step. Returns whether the next one can be tried."""
        step = await self._timed(name, act)
        self._note(step)
        return step.state != FAILED

    def _note(self, step: Step) -> None:
        self._steps.append(step)
        self.tell(step)

    async def _timed(self, name: str, act: Callable[[], Awaitable[tuple[str, str]]]) -> Step:
        begun = time.perf_counter()
        try:
            state, text = await act()
            fix = _MEANS[name] if state in (FAILED, NOTE) else ""
        except FolkmootError as error:
            state, text, fix = FAILED, error.message, _MEANS[name]
        return Step(name, state, text, fix, round((time.perf_counter() - begun) * 1000, 1))

    # -- the steps: each returns (state, sentence)

    async def _parse(self) -> tuple[str, str]:
        self._peer, self._bare = probe.split_address(self.address)
        public_key_of(self._peer)
        await trio.lowlevel.checkpoint()
        return OK, f"peer {self._peer} at {self._bare}"

    async def _resolve(self, found: list[str]) -> tuple[str, str]:
        found += await probe.resolve(probe.first_hop(self._bare))
        return OK, ", ".join(found)

    async def _tcp(self, found: list[str]) -> tuple[str, str]:
        failed: FolkmootError | None = None
        for address in found:
            try:
                await probe.open_socket(address)
                return OK, f"{address} accepts connections"
            except FolkmootError as error:
                failed = error
        assert failed is not None, "resolve gives one address at least, or fails"
        raise failed

    async def _connect(self, network: Network) -> tuple[str, str]:
        await network.connect(self.address)
        return OK, "Noise and Yamux agreed"

    async def _protocols(self, network: Network) -> tuple[str, str]:
        found = self._shorts = await probe.answers_on(network, self._peer)
        return (OK if found else FAILED), ", ".join(found) or "it names no protocol of this program"

    async def _network(self, network: Network) -> tuple[str, str]:
        if "query" not in self._shorts:
            return SKIPPED, _SEED
        answer = await query(network, self._peer, {"op": "status"})
        status = self._status = read(PublicStatus, answer, "status", self._peer)
        if self.wanted.network not in ("", status.network):
            return FAILED, f"it says {status.network}, and {self.wanted.network} is wanted"
        return OK, f"it says {status.network}, state {status.state}, {status.connections} connections"

    async def _genesis(self, network: Network) -> tuple[str, str]:
        if self._status is None:
            return SKIPPED, _SEED
        raw = await fetch_part_by_part(partial(query, network, self._peer), self._peer)
        identity = Identity(self._status.network).joined(self.wanted)
        found = await trio.to_thread.run_sync(identity.check, raw, f"peer {self._peer}")
        whose = "yours" if self.wanted.is_known else "its own word; compare it with the founders'"
        return OK, f"{len(raw)} bytes with the hash {found.hash.hex()}: {whose}"

    async def _height(self, network: Network) -> tuple[str, str]:
        if self._status is None:
            return SKIPPED, _SEED
        await trio.lowlevel.checkpoint()
        age_s = time.time() - self._status.last_time_ms / 1000
        text = f"height {self._status.height}, decided {max(0.0, age_s):.0f} s ago"
        return (NOTE if age_s > STALE_TIP_S else OK), text

    async def _dial_back(self, network: Network) -> tuple[str, str]:
        code, address, ahead_ms = await probe.ask_back(network, self._peer)
        clock = f"; its clock is {abs(ahead_ms)} ms {'ahead' if ahead_ms > 0 else 'behind'}" if ahead_ms else ""
        if code == "reached":
            note = abs(ahead_ms) > MAX_CLOCK_APART_MS
            return (NOTE if note else OK), f"it can dial this machine at {address}{clock}"
        if code in ("busy", "relayed"):
            return SKIPPED, f"it did not try: {code}{clock}"
        return NOTE, f"it cannot dial this machine at {address or 'any address'}: {code}{clock}"


def summary(steps: list[Step]) -> dict[str, Any]:
    """For JSON."""
    rows = [{"step": s.name, "state": s.state, "text": s.text, "fix": s.fix, "ms": s.ms} for s in steps]
    return {"ok": all(step.state != FAILED for step in steps), "steps": rows}
