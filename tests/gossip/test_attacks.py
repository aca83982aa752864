"""G-1, G-6, PUBSUB: nothing that a peer sends ends our process; the same bytes end a stock one."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import trio

from p2p.base.errors import FolkmootError
from p2p.base.keys import Key
from p2p.base.limits import BUDGETS
from p2p.gossip.host import Network, NetworkConfig, open_network

from .attacks import ATTACKS, STOCK_DIES_OF
from .evil import EVIL, evil_host
from .lab import PATIENCE_S, Peer, bare_host, info, peers, seed

pytestmark = pytest.mark.network

ATTACK_S = 6.0  # some attacks never end by themselves


async def ended(victim: Peer) -> None:
    with trio.fail_after(PATIENCE_S):
        await victim.process.wait()


async def served(witness: Network, victim: Peer) -> None:
    with trio.fail_after(PATIENCE_S):
        stream = await witness.open_stream(victim.id, "echo")
        await stream.send(b"still there?")
        assert await stream.receive() == b"still there?"
        await stream.close()


async def strike(name: str, victim: Peer, look: Callable[[], Awaitable[None]], limit_s: float) -> None:
    """Attack for `limit_s` at most, then `look` at the victim while the attacker is still connected.

    The victim has read the attack when it answers on the attacker's own connection, or ends that.
    """
    port = int(victim.address.split("/")[4])
    async with bare_host(f"attacker {name}") as host:
        target = info(victim.address)
        # the victim may end the attacker's stream or connection at any point
        with suppress(Exception), trio.move_on_after(limit_s):
            await host.connect(target)
            await ATTACKS[name](host, target.peer_id, port)
            stream = await host.new_stream(target.peer_id, ["/folkmoot/echo/1"])
            await stream.write(b"\x02hi")
            await stream.read(3)
        await look()


async def test_victim_survives_every_attack() -> None:
    config = NetworkConfig(Key(seed("witness")), "lab", (), (), min_connections=0)
    async with peers({"seed": seed("victim").hex()}) as (victim,):
        async with open_network(config, topic_handlers={}, stream_handlers={}) as witness:
            await witness.connect(victim.address)
            for name in ATTACKS:
                try:
                    await strike(name, victim, lambda: served(witness, victim), ATTACK_S)
                except (FolkmootError, trio.TooSlowError) as error:
                    raise AssertionError(f"no service after {name}: {error!r}") from error
                assert victim.process.poll() is None, f"died of {name}"
            state = await victim.tell("state")
            assert (b"x" * 50).hex() in state["got"]
            assert witness.peer_id in state["connected"]


async def test_stock_dies_of_the_same_bytes() -> None:
    settings = [{"seed": seed(f"stock {name}").hex()} for name in STOCK_DIES_OF]
    async with peers(*settings, kind="stock") as running:
        for name, victim in zip(STOCK_DIES_OF, running, strict=True):
            try:
                await strike(name, victim, partial(ended, victim), PATIENCE_S)
            except trio.TooSlowError as error:
                raise AssertionError(f"stock survives {name}: is the guard still needed?") from error


async def test_inbound_connections_in_one_life_are_not_bounded() -> None:
    """G-1: stock refuses everybody after as many connections as may be open at once, here 2 * 4 + 64."""
    most, callers = 2 * 4 + BUDGETS["half open"].total, 4
    async with peers({"seed": seed("listener").hex(), "inbound": 4}) as (victim,):
        target = info(victim.address)

        async def call(name: str) -> None:
            async with bare_host(name) as host:
                for number in range(most // callers + 10):
                    host.get_network().unblock_peer(target.peer_id)
                    with trio.fail_after(PATIENCE_S):
                        await host.connect(target)
                        stream = await host.new_stream(target.peer_id, ["/folkmoot/echo/1"])
                        await stream.write(b"\x02hi")
                        assert await stream.read(3) == b"\x02hi", f"connection {number} of {name}"
                    await host.disconnect(target.peer_id)

        async with trio.open_nursery() as nursery:
            for number in range(callers):
                nursery.start_soon(call, f"caller {number}")


def met(state: dict[str, Any]) -> set[str]:
    """Peers that a victim has greeted, or has a reason not to have."""
    return {*state["connected"], *(row["peer"] for row in state["status"]["troubles"])}


async def test_peer_survives_those_it_dials() -> None:
    """G-6: garbage, floods and silence in the answers of identify, negotiation, DHT and greeting."""
    async with contextlib.AsyncExitStack() as stack:
        hosts = [await stack.enter_async_context(evil_host(name)) for name in EVIL]
        bootstrap = [str(host.get_addrs()[0]) for host in hosts]
        async with peers({"seed": seed("dialler").hex(), "bootstrap": bootstrap, "min": 20}) as (victim,):
            config = NetworkConfig(Key(seed("witness")), "lab", (), (), min_connections=0)
            async with open_network(config, topic_handlers={}, stream_handlers={}) as witness:
                await witness.connect(victim.address)
                evil = {str(host.get_id()) for host in hosts}
                await victim.until(lambda state: evil <= met(state))
                assert str(hosts[-1].get_id()) in (await victim.tell("state"))["connected"]
                await served(witness, victim)
                assert victim.process.poll() is None
