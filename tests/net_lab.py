"""Networks for tests: real peers in real processes; the ML node is the named fake. Law: stops all it started."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from p2p.base.errors import FolkmootError
from p2p.base.genesis import Genesis, load_genesis
from p2p.base.keys import Key
from p2p.base.toml_file import dump_toml
from p2p.base.types import ENDED
from p2p.peer.config import DEFAULT_MODEL
from p2p.peer.control import call
from testnet.generate import Plan, generate
from testnet.providers import alive, fresh_directory, read_state, start, start_peer, stop, up, wait_until
from tests.verification import toy

FINAL = ENDED


def until(good: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Poll until `good()` is truthy; the last value, or an assertion."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            value = good()
            if value:
                return value
        except FolkmootError:
            pass
        time.sleep(0.1)
    raise AssertionError("did not come true")


class Net:
    """peers from one bootstrap address. flags: peer number -> flags of its own fake ML node; the others share one.
    cheats: peer number -> attack. own: peer number -> settings of its own. rules: sprint and checks, as in Plan."""

    def __init__(
        self, directory: Path, peers: int = 4, flags: dict[int, list[str]] | None = None, settings: dict[str, Any] | None = None,
        window: int = 60, epoch_blocks: int = 200, cheats: dict[int, str] | None = None, own: dict[int, dict[str, Any]] | None = None,
        **rules: Any,
    ) -> None:
        fresh_directory(directory)
        self.directory = directory
        shared = self.engine("ml")
        self.folders = generate(Plan(
            directory, peers, settings=tuple({**toy.files(), **(settings or {})}.items()),
            validation_window=window, epoch_blocks=epoch_blocks, **rules,
            cheats=cheats or {}, honest_ml_node=shared if cheats else "",
        ))
        for number, table in (own or {}).items():
            with (self.folders[number] / "config.toml").open("a") as config:
                config.write(dump_toml(table))
        self.urls = {f.name: shared for f in self.folders}
        for number, extra in (flags or {}).items():
            self.urls[self.folders[number].name] = self.engine(f"ml{number}", *extra)
        self.bootstrap = up(directory, self.folders, self.urls, lambda text: None)

    def engine(self, name: str, *flags: str) -> str:
        log = self.directory / "log" / f"{name}.log"
        start(name, ["tests.fake_vllm", "--port", "0", *flags], log, self.directory)
        return str(until(lambda: [x for x in log.read_text().split() if x.startswith("http")])[0])

    @property
    def genesis(self) -> Genesis:
        return load_genesis(self.directory / "client" / "genesis.cbor")

    def node(self, peer: int) -> str:
        return Key.load(self.folders[peer] / "node.key").public.hex()

    def client(self) -> str:
        return Key.load(self.directory / "client" / "account.key").public.hex()

    def balance(self, key: Key | None = None) -> int:
        """Of `key`'s account, or the client's."""
        return int(call(self.folders[0], {"op": "account", "account": key.public.hex() if key else self.client()})["balance_micro"])

    def address(self, peer: int) -> str:
        return str(call(self.folders[peer], {"op": "status"})["addresses"][0])

    def height(self, peer: int) -> int:
        return int(call(self.folders[peer], {"op": "status"})["height"])

    def block(self, peer: int, height: int) -> dict[str, Any]:
        return call(self.folders[peer], {"op": "block", "height": height})

    def purse(self, key: Key) -> Path:
        """A client's folder of its own: what is in this account moves by its own questions only. `accounts` of the genesis give it money."""
        folder = self.directory / key.public.hex()
        if not folder.exists():
            folder.mkdir()
            key.save(folder / "account.key")
            (folder / "genesis.cbor").write_bytes((self.directory / "client" / "genesis.cbor").read_bytes())
        return folder

    def ask_command(self, prompt: str, peer: int, extra: dict[str, str], folder: Path | None = None) -> list[str]:
        """folder: of who asks, the client where none is given."""
        folder = folder or self.directory / "client"
        argv = [sys.executable, "-m", "p2p", "ask", "--json", "--peer", self.address(peer), "--dir", str(folder)]
        for name, value in extra.items():
            argv += ["--" + name.replace("_", "-"), value]
        return [*argv, "--", prompt]

    def ask(self, prompt: str = "hello", peer: int = 0, folder: Path | None = None, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.ask_command(prompt, peer, extra, folder), capture_output=True, text=True, timeout=120, check=False)

    def events(self, prompt: str = "hello", peer: int = 0, **extra: str) -> list[dict[str, Any]]:
        done = self.ask(prompt, peer, **extra)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def ask_executor(self, peer: int, max_tokens: int = 12, on_event: Callable[[dict[str, Any]], None] = lambda e: None) -> list[dict[str, Any]]:
        """Events of a question whose draw puts `peer` first: the client searches a nonce, and asks again if the beacon moved."""
        from p2p.client.ask import ask
        from p2p.client.nonces import Nonces
        from p2p.client.question import AskSpec

        genesis = self.genesis
        key, wanted = Key.load(self.directory / "client" / "account.key"), bytes.fromhex(self.node(peer))
        spec = AskSpec(
            self.address(0), key, genesis.network, DEFAULT_MODEL, "hello", max_tokens=max_tokens, genesis=genesis, choose_executor=wanted,
            nonces=Nonces(self.directory / "client" / "nonces"),
        )

        async def collect() -> list[dict[str, Any]]:
            events = []
            async for event in ask(spec):
                events.append(event)
                on_event(event)
            return events

        for _ in range(10):
            events = trio.run(collect)
            if events[0]["candidates"][0] == wanted.hex():
                return events
        raise AssertionError("ten draws went to others")

    def final(self, inference_id: str, peer: int = 0) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            found = call(self.folders[peer], {"op": "inference", "id": inference_id})
            return found if found["status"] in FINAL else None

        return dict(until(ended))

    def status(self, peer: int) -> dict[str, Any]:
        return call(self.folders[peer], {"op": "status"})

    def restart(self, peer: int) -> None:
        folder = self.folders[peer]
        bootstrap = self.bootstrap if peer else self.address(1)
        start_peer(self.directory, folder, bootstrap, self.urls[folder.name])
        wait_until(self.directory, folder, lambda s: s["state"] == "ready", "ready")

    def close(self) -> None:
        entries = read_state(self.directory)["processes"]
        stop(self.directory)
        assert not any(map(alive, entries.values())), "something is left running"
