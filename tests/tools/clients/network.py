"""A live network with a gateway in front of it: what `make clients` asks when it is given no URL.

Law: everything that was started is stopped at the end.
"""

from __future__ import annotations

import secrets
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from p2p.base.files import write_file
from p2p.peer.config import DEFAULT_MODEL
from testnet.processes import Say, launch, stop
from testnet.state_file import alive, read_state
from testnet.up import Running, bring_up
from tests.tools.clients.running import Target

PEERS, CONTEXT = 4, 8192  # the whole context of the model: coding agents begin with 4,000 tokens of instructions
READY_S = 120.0  # for the gateway to answer


@contextmanager
def live(say: Say) -> Iterator[Target]:
    """Four peers with one real vLLM, and a gateway with a new key. Raises Unavailable, RuntimeError."""
    from p2p.inference.stack.model import prepare_model

    with tempfile.TemporaryDirectory(prefix="folkmoot-clients-") as folder:
        directory = Path(folder) / "net"
        directory.mkdir()
        network = bring_up(directory, PEERS, 1, None, say, context_tokens=CONTEXT)
        try:
            url, key = start_gateway(network, say)
            yield Target(url, key, DEFAULT_MODEL, str(prepare_model(say)))
        finally:
            stop(directory)


def start_gateway(network: Running, say: Say) -> tuple[str, str]:
    """Start `folkmoot gateway` in front of a network and wait until it is ready. Returns (URL, key)."""
    port, key = free_port(), "sk-" + secrets.token_hex(16)
    key_file, log = network.directory / "gateway.key", network.directory / "log" / "gateway.log"
    write_file(key_file, key.encode() + b"\n", field="api_key_file")
    say(f"starting the gateway at port {port}")
    launch("gateway", gateway_command(network, port, key_file), log, network.directory)
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + READY_S
    while not _ready(url):
        if time.monotonic() > deadline or not alive(read_state(network.directory)["processes"]["gateway"]):
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
            raise RuntimeError(f"the gateway is not ready; its log ends with:\n{tail}")
        time.sleep(0.2)
    return url, key


def gateway_command(network: Running, port: int, key_file: Path) -> Sequence[str]:
    """The one place that knows the flags of `folkmoot gateway`."""
    return [
        sys.executable, "-m", "p2p", "gateway", "--dir", str(network.client), "--peer", network.address(0),
        "--listen", f"127.0.0.1:{port}", "--api-key-file", str(key_file),
    ]


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url + "/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
