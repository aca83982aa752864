"""`folkmoot serve --http`: a peer of a live network answers HTTP too, and a fault there leaves the peer as it is."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import trio

from p2p.base.errors import StorageError
from p2p.base.keys import Key
from p2p.cli.serve_http import http_task
from p2p.client.client import Client
from p2p.machine.tasks import Tasks
from p2p.peer.config import DEFAULT_MODEL
from testnet.processes import start, stop, wait_until
from tests import warm
from tests.net_lab import Net, until

openai = pytest.importorskip("openai", reason="the SDK openai is not installed")
PEER = 1
FUNDS = 50_000_000


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    found = Net(tmp_path_factory.mktemp("serve_http") / "net")
    yield found
    found.close()


def begin(net: Net, port: int) -> None:
    """Start PEER again, with --http."""
    folder = net.folders[PEER]
    stop(net.directory, [folder.name])
    log = folder / "log" / "http.log"
    argv = ["p2p", "serve", "--json", "--dir", str(folder), "--bootstrap", net.bootstrap, "--ml-node",
            net.urls[folder.name], "--http", f"127.0.0.1:{port}"]
    start(folder.name, argv, log, net.directory)
    wait_until(net.directory, folder, lambda status: status["state"] == "ready", "ready")


def failed(net: Net) -> dict[str, Any]:
    """The parts of PEER that have failed, by name."""
    return {part["part"]: part for part in net.status(PEER)["failures"]}


@pytest.mark.network
def test_a_peer_serves_http_and_a_fault_there_does_not_end_it(net: Net) -> None:
    owner = Key.load(net.folders[PEER] / "account.key").public.hex()
    words = ["account", "transfer", owner, str(FUNDS), "--dir", str(net.directory / "client"), "--peer", net.address(0)]
    paid = warm.run([sys.executable, "-m", "p2p", *words], 300)
    assert paid.returncode == 0, paid.stderr
    with socket.create_server(("127.0.0.1", 0)) as other:  # another program has the port
        port = other.getsockname()[1]
        begin(net, port)
        until(lambda: "http" in failed(net), 120)
        assert "cannot listen" in failed(net)["http"]["last"], failed(net)
        assert net.events("hello", peer=PEER, max_tokens="4"), "the peer itself serves"
        assert net.status(PEER)["state"] == "ready"
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/ready", timeout=30).status_code == 200
        except httpx.HTTPError:
            return False

    until(answers, 120)
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    raw = client.chat.completions.with_raw_response.create(
        model=DEFAULT_MODEL, messages=[{"role": "user", "content": "hello"}], max_tokens=8,
    )
    assert raw.parse().usage.completion_tokens == 8
    assert net.final(raw.headers["x-folkmoot-inference"])["output_tokens"] == 8
    chunks = list(client.chat.completions.create(
        model=DEFAULT_MODEL, messages=[{"role": "user", "content": "again"}], max_tokens=5, stream=True,
    ))
    assert chunks[-1].choices[0].finish_reason == "length"
    assert httpx.get(f"{url}/v1/folkmoot/account").json()["account"] == owner
    name = raw.headers["x-folkmoot-inference"]
    found = until(lambda: httpx.get(f"{url}/explorer/api/search?q={name[:12]}").json()["found"], 60)
    assert [one["id"] for one in found] == [name], "the explorer stands on the same port"
    assert httpx.get(f"{url}/chat/").status_code == 200
    said = [json.loads(line) for line in (net.folders[PEER] / "log" / "http.log").read_text().splitlines()
            if line.startswith("{")]
    assert {"state": "http", "text": url} in said


async def test_files_that_the_gateway_cannot_keep_do_not_end_the_peer(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    """Where the peer's own store fails it ends; this is not its store."""
    @asynccontextmanager
    async def broken(*args: Any, **named: Any) -> Any:
        raise StorageError("no space left")
        yield

    monkeypatch.setattr(Client, "open", broken)
    network = SimpleNamespace(addresses=lambda: ["/ip4/127.0.0.1/tcp/1"], connected=lambda: ["one"])
    tasks = Tasks()
    node: Any = SimpleNamespace(
        tasks=tasks, network=network, config=SimpleNamespace(directory=None), chain=SimpleNamespace(genesis=None),
    )
    with trio.move_on_after(30):
        await http_task("127.0.0.1:0", None, lambda url: None)(node)
    assert tasks.failures["http"] > 1, "it is started again"
    assert "no space left" in tasks.last["http"]
