"""Where the gateway listens, and what it refuses to."""

from __future__ import annotations

import socket

import pytest
import trio

from p2p.base.errors import ConfigError
from p2p.gateway.keys import Keys
from p2p.gateway.serving import check_reach, host_and_port, open_port, serve
from tests.gateway.scripted import ScriptedBackend
from tests.gateway.test_server import GET, Client


@pytest.mark.parametrize(("text", "found"), [
    ("127.0.0.1:8000", ("127.0.0.1", 8000)), ("localhost:0", ("localhost", 0)), ("[::1]:80", ("::1", 80)),
])
def test_an_address_is_host_and_port(text: str, found: tuple[str, int]) -> None:
    assert host_and_port(text) == found


@pytest.mark.parametrize("text", ["", "8000", ":8000", "host:", "host:x", "host:70000", "host:-1"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        host_and_port(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_this_machine_needs_no_keys(host: str) -> None:
    check_reach(host, Keys())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "my-server"])
def test_what_others_reach_needs_keys(host: str) -> None:
    with pytest.raises(ConfigError, match="api-key-file"):
        check_reach(host, Keys())
    check_reach(host, Keys(["key-number-1"]))


async def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="cannot listen at"):
        await open_port("127.0.0.1", taken.getsockname()[1])


async def test_it_serves_until_it_is_told_to_stop_and_counts_its_connections() -> None:
    listeners, stop = await open_port("127.0.0.1", 0), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, ScriptedBackend(), listeners, Keys(), stop)
        client = Client(await trio.open_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1]))
        await client.send(GET.replace(b"/health", b"/metrics"))
        assert (await client.read()).startswith(b"HTTP/1.1 200")
        await client.read(b"folkmoot_gateway_connections 1.0")
        await client.stream.aclose()
        stop.set()
