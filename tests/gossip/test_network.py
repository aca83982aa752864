"""Discovery, liveness, isolation and delivery between real processes."""

from __future__ import annotations

import signal

import pytest

from p2p.base.errors import ConfigError, LocalProtocolError, RemoteProtocolError, Unavailable
from p2p.base.keys import Key
from p2p.base.limits import MAX_GOSSIP
from p2p.gossip.connections import guards
from p2p.gossip.host import NetworkConfig, open_network

from .lab import peers, seed, until_one_mesh


def client(name: str, network: str = "lab") -> NetworkConfig:
    return NetworkConfig(Key(seed(name)), network, (), (), min_connections=0)


@pytest.mark.network
async def test_eight_peers_from_one_bootstrap_and_gossip_to_all() -> None:
    """DISC-1: four connections each from one address; one message reaches all seven others once."""
    async with peers({"seed": seed("boot").hex(), "size": 8}) as (boot,):
        rest = [{"seed": seed(f"peer {i}").hex(), "bootstrap": [boot.address], "size": 8} for i in range(7)]
        async with peers(*rest) as others:
            everyone = [boot, *others]
            for one in everyone:
                await one.until(lambda state: len(state["connected"]) >= 4)
            for one in everyone:
                await one.until(lambda state: state["table"] >= 4)
            await until_one_mesh(everyone)
            await others[3].tell("publish", data=b"to all".hex())
            for one in everyone:
                if one is not others[3]:
                    state = await one.until(lambda state: b"to all".hex() in state["got"])
                    assert state["got"].count(b"to all".hex()) == 1


@pytest.mark.network
async def test_stopped_peer_is_noticed_and_found_again() -> None:
    """DISC-3, DISC-4."""
    async with peers({"seed": seed("a").hex()}) as (first,):
        async with peers({"seed": seed("b").hex(), "bootstrap": [first.address]}) as (second,):
            await first.until(lambda state: second.id in state["connected"])
            second.process.send_signal(signal.SIGSTOP)
            await first.until(lambda state: second.id not in state["connected"])
            second.process.send_signal(signal.SIGCONT)
            await first.until(lambda state: second.id in state["connected"])


@pytest.mark.network
async def test_errors_are_typed() -> None:
    """Another network is refused with a reason; oversized frames and unknown peers are errors with a code."""
    async with peers({"seed": seed("server").hex()}) as (server,):
        with pytest.raises(RemoteProtocolError) as refused:
            async with open_network(client("stranger", "elsewhere"), topic_handlers={}, stream_handlers={}) as net:
                await net.connect(server.address)
        assert (refused.value.code, refused.value.field) == ("wrong_network", "network")
        async with open_network(client("guest"), topic_handlers={}, stream_handlers={}) as net:
            await net.connect(server.address)
            assert net.connected() == (server.id,)
            stream = await net.open_stream(server.id, "echo")
            await stream.send(bytes(2000))
            with pytest.raises(RemoteProtocolError) as large:
                await stream.receive(limit=1000)
            assert large.value.code == "too_large"
            await stream.reset()
            quiet = await net.open_stream(server.id, "echo")
            with pytest.raises(Unavailable) as silent:
                await quiet.receive(timeout_s=0.2)
            assert silent.value.code == "timeout"
            with pytest.raises(Unavailable):
                await net.open_stream(server.id, "nosuch")
            with pytest.raises(Unavailable):
                await net.open_stream(Key(seed("nobody")).peer_id, "echo")
            with pytest.raises(LocalProtocolError):
                await net.publish("t", bytes(MAX_GOSSIP + 1))
            with pytest.raises(ConfigError):
                await net.connect("/ip4/127.0.0.1/tcp/1")


def test_another_libp2p_is_refused() -> None:
    guards.check_version()
    with pytest.raises(ConfigError, match=r"0\.9\.0"):
        guards.check_version("0.9.0")
