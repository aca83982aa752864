"""What is measured: four peers with one vLLM, a gateway in front of them, and that vLLM itself.

Law: both are asked over TCP on loopback, with a key, so that programs that know only URLs can ask them. Everything that
was started is stopped at the end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from p2p.base.files import write_file
from p2p.base.toml_file import dump_toml
from p2p.inference.stack.model import prepare_model
from testnet.generate import Plan, generate
from testnet.processes import Say, fresh_directory, start_ml_node, stop, up
from testnet.state_file import read_state
from testnet.up import Running
from tests.tools.bench_serve.server import Server
from tests.tools.clients.network import free_port, start_gateway

PEERS, CONTEXT = 4, 2048
TICKS = os.sysconf("SC_CLK_TCK")
IDLE_S = 4.0  # the vLLM has no work for so long: what was asked is checked
IDLE_WAIT_S = 900.0  # for that; longer: the checks of the last run are still going on


@dataclass(frozen=True, slots=True)
class Measured:
    """The network and the two servers that are compared."""

    network: Running
    gateway: Server
    direct: Server  # the vLLM itself
    tokenizer: Path  # folder of the model

    @property
    def both(self) -> tuple[Server, Server]:
        return self.gateway, self.direct

    def peers_cpu(self) -> float:
        """CPU seconds of all peers so far."""
        total = 0
        for folder in self.network.folders:
            pid = read_state(self.network.directory)["processes"][folder.name]["pid"]
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def settle(self) -> None:
        """Wait until the vLLM has had no request for IDLE_S: its validators have read what was answered."""
        until, idle_since = time.monotonic() + IDLE_WAIT_S, time.monotonic()
        while time.monotonic() < until and time.monotonic() - idle_since < IDLE_S:
            answer = httpx.get(f"{self.direct.url}/metrics", headers=self.direct.headers, timeout=60.0)
            running = sum(
                float(line.rsplit(" ", 1)[1]) for line in answer.text.splitlines()
                if line.startswith(("vllm:num_requests_running{", "vllm:num_requests_waiting{"))
            )
            idle_since = time.monotonic() if running else idle_since
            time.sleep(0.25)


@contextmanager
def measured(directory: Path, say: Say) -> Iterator[Measured]:
    """Start everything in `directory`. Raises Unavailable, RuntimeError."""
    fresh_directory(directory)
    try:
        model, port, key_file = prepare_model(say), free_port(), directory / "ml.key"
        say("starting one vLLM, a minute")
        flags = ("--port", str(port), "--key-file", str(key_file), f"--max-model-len={CONTEXT}")
        url = start_ml_node(directory, "ml1", model, say, flags=flags)
        folders = generate(Plan(directory, PEERS, model_dir=model, context_tokens=CONTEXT))
        for folder in folders:
            settings = folder / "config.toml"
            more = dump_toml({"ml_node": url, "ml_node_key": str(key_file)})
            write_file(settings, (more + settings.read_text()).encode(), field="dir")
        network = Running(directory, folders, up(directory, folders, {}, say), {})
        gateway, key = start_gateway(network, say)
        yield Measured(
            network, Server("gateway", gateway, key), Server("vLLM", url, key_file.read_text().strip()), model
        )
    finally:
        stop(directory)
