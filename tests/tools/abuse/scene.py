"""A gateway over a live network, as whoever abuses it sees it. Law: it only asks, measures and connects.

Real peers in real processes with SIMULATED engines, whose speed and context are set here.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import trio

from p2p.base.files import write_file
from p2p.peer.config import DEFAULT_MODEL
from testnet.processes import launch
from testnet.state_file import alive, read_state
from tests.net_lab import Net, until

PEERS, CONTEXT, DELAY_S = 4, 40_000, "0.1"
ACCOUNT_JOBS = 2  # answers of one account at once at each peer: what bounds the network's capacity here
PATIENCE_S = 600.0  # for one answer; nothing here is timed but what the gateway itself limits
MOST_GROWN_MIB = 256  # of the gateway's memory


@dataclass
class Scene:
    """One gateway."""

    net: Net
    url: str
    key: str
    http: httpx.AsyncClient
    rss_at_first: int = field(default=0)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    async def connect(self) -> trio.SocketStream:
        host, port = self.url.removeprefix("http://").split(":")
        return await trio.open_tcp_stream(host, int(port))

    async def post(self, path: str, body: Any = None, *, content: bytes | None = None) -> httpx.Response:
        headers = self.headers | {"Content-Type": "application/json"}
        raw = json.dumps(body).encode() if content is None else content
        return await self.http.post(self.url + path, content=raw, headers=headers, timeout=PATIENCE_S)

    async def after(self) -> str:
        """How the gateway is: whether it answers a question, and its memory. Raises AssertionError where it is not
        well."""
        down = [name for name, entry in read_state(self.net.directory)["processes"].items() if not alive(entry)]
        assert not down, f"ended: {down}"
        answer = await self.post("/v1/chat/completions", chat(2))
        while answer.status_code in (429, 503):  # what was done before still runs
            assert answer.headers.get("retry-after"), answer.text
            await trio.sleep(1.0)
            answer = await self.post("/v1/chat/completions", chat(2))
        assert answer.status_code == 200, answer.text
        grown = self.rss() - self.rss_at_first
        assert grown < MOST_GROWN_MIB, f"the gateway's memory has grown by {grown} MiB"
        return f"answers, {self.rss()} MiB"

    def rss(self, name: str = "gateway") -> int:
        """Memory of a process in MiB."""
        pid = read_state(self.net.directory)["processes"][name]["pid"]
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) // 1024

    def memory(self) -> dict[str, int]:
        return {name: self.rss(name) for name in ("gateway", *(folder.name for folder in self.net.folders))}


def chat(tokens: int, **more: Any) -> dict[str, Any]:
    return {"model": DEFAULT_MODEL, "messages": [{"role": "user", "content": "hello"}], "max_tokens": tokens,
            "min_tokens": tokens, **more}


@contextmanager
def running(directory: Path) -> Iterator[tuple[Net, str, str]]:
    """(network, URL of its gateway, key)."""
    net = Net(directory, PEERS, settings={"account_jobs": ACCOUNT_JOBS}, context_tokens=CONTEXT,
              shared_flags=["--delay-s", DELAY_S, "--context", str(CONTEXT)])
    try:
        key, file, log = "sk-" + secrets.token_hex(16), net.directory / "gateway.key", net.directory / "gateway.log"
        write_file(file, key.encode() + b"\n", field="api_key_file")
        argv = [sys.executable, "-m", "p2p", "gateway", "--json", "--dir", str(net.directory / "client"), "--listen",
                "127.0.0.1:0", "--api-key-file", str(file),
                *(word for at in range(PEERS) for word in ("--peer", net.address(at)))]
        launch("gateway", argv, log, net.directory)

        def said() -> str:
            assert alive(read_state(net.directory)["processes"]["gateway"]), log.read_text()
            lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
            return next((str(line["url"]) for line in lines if line.get("event") == "listening"), "")

        yield net, str(until(said, 120)), key
    finally:
        net.close()
