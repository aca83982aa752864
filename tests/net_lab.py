"""Networks for tests: real peers in real processes, with the fake ML node (testnet/simulated_engine.py).

Law: a network stops every process that it started.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import trio

from p2p.base.body import one_message
from p2p.base.errors import FolkmootError
from p2p.base.genesis import Genesis, load_genesis
from p2p.base.keys import Key
from p2p.base.toml_file import dump_toml
from p2p.base.types import ENDED
from p2p.client.ask import ask
from p2p.client.events import Accepted, Event
from p2p.client.question import Endpoint, Overrides, Payer, Question
from p2p.peer.config import DEFAULT_MODEL
from p2p.peer.control import call
from testnet.generate import Plan, generate
from testnet.processes import fresh_directory, release, start, start_peer, stop, up, wait_until
from testnet.state_file import alive, read_state
from tests import warm
from tests.verification import toy

FINAL = ENDED
T = TypeVar("T")


def until(good: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Poll until `good()` is truthy and return its value. Raises AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            value = good()
            if value:
                return value
        except FolkmootError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"the condition did not become true within {seconds} s")


def accepted(lines: Iterable[str]) -> dict[str, Any]:
    """Of the lines of `ask --json`, the event with the draw: not the first one where the client waited for a busy
    agent, or was told of refunds."""
    return next(event for event in map(json.loads, lines) if event["event"] == "accepted")


def only(kind: type[T], events: Iterable[object]) -> T:
    """The one event of this kind."""
    (found,) = (event for event in events if isinstance(event, kind))
    return found


class Net:
    """A running network of `peers` peers with one bootstrap address.

    flags: peer number -> flags of a fake ML node for this peer alone; the other peers share one, with
    shared_flags.
    cheats: peer number -> attack. own: peer number -> settings for this peer alone. rules: sprint and checks, as in
    Plan.
    """

    def __init__(
        self, directory: Path, peers: int = 4, flags: dict[int, list[str]] | None = None,
        settings: dict[str, Any] | None = None, window: int = 60, epoch_blocks: int = 200,
        cheats: dict[int, str] | None = None, own: dict[int, dict[str, Any]] | None = None,
        shared_flags: Sequence[str] = (),
        **rules: Any,
    ) -> None:
        fresh_directory(directory)
        self.directory = directory
        shared = self.engine("ml", *shared_flags)
        self.folders = generate(Plan(
            directory, peers, settings=tuple({**toy.files(), **(settings or {})}.items()),
            validation_window=window, epoch_blocks=epoch_blocks, **rules,
            cheats=cheats or {}, honest_ml_node=shared if cheats else "",
        ))
        for number, table in (own or {}).items():
            file = self.folders[number] / "config.toml"
            file.write_text(dump_toml({**tomllib.loads(file.read_text()), **table}))
        self.urls = {f.name: shared for f in self.folders}
        for number, extra in (flags or {}).items():
            self.urls[self.folders[number].name] = self.engine(f"ml{number}", *extra)
        self.bootstrap = up(directory, self.folders, self.urls, lambda text: None)

    def engine(self, name: str, *flags: str) -> str:
        log = self.directory / "log" / f"{name}.log"
        start(name, ["testnet.simulated_engine", "--port", "0", *flags], log, self.directory)
        return str(until(lambda: [x for x in log.read_text().split() if x.startswith("http")])[0])

    @property
    def genesis(self) -> Genesis:
        return load_genesis(self.directory / "client" / "genesis.cbor")

    def node(self, peer: int) -> str:
        return Key.load(self.folders[peer] / "node.key").public.hex()

    def client(self) -> str:
        return Key.load(self.directory / "client" / "account.key").public.hex()

    def balance(self, key: Key | None = None) -> int:
        """The balance of `key`'s account, or of the client's, in micro-credits."""
        account = key.public.hex() if key else self.client()
        return int(call(self.folders[0], {"op": "account", "account": account})["balance_micro"])

    def address(self, peer: int) -> str:
        return str(call(self.folders[peer], {"op": "status"})["addresses"][0])

    def height(self, peer: int) -> int:
        return int(call(self.folders[peer], {"op": "status"})["height"])

    def block(self, peer: int, height: int) -> dict[str, Any]:
        return call(self.folders[peer], {"op": "block", "height": height})

    def purse(self, key: Key) -> Path:
        """A client folder for the account of `key`, so that only its own questions move the balance.

        The genesis file must give it money: Plan's `accounts`.
        """
        folder = self.directory / key.public.hex()
        if not folder.exists():
            folder.mkdir()
            key.save(folder / "account.key")
            (folder / "genesis.cbor").write_bytes((self.directory / "client" / "genesis.cbor").read_bytes())
        return folder

    def ask_command(self, prompt: str, peer: int, extra: dict[str, str], folder: Path | None = None) -> list[str]:
        """folder: of the account that asks; the client's by default."""
        folder = folder or self.directory / "client"
        argv = [sys.executable, "-m", "p2p", "ask", "--json", "--no-stdin", "--peer", self.address(peer)]
        argv += ["--dir", str(folder)]
        for name, value in extra.items():
            argv += ["--" + name.replace("_", "-"), value]
        return [*argv, "--", prompt]

    def ask(
        self, prompt: str = "hello", peer: int = 0, folder: Path | None = None, **extra: str,
    ) -> subprocess.CompletedProcess[str]:
        return warm.run(self.ask_command(prompt, peer, extra, folder), 120)

    def events(self, prompt: str = "hello", peer: int = 0, **extra: str) -> list[dict[str, Any]]:
        done = self.ask(prompt, peer, **extra)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def ask_executor(
        self, peer: int, max_tokens: int = 12, on_event: Callable[[Event], None] = lambda e: None,
    ) -> list[Event]:
        """Events of a question whose draw puts `peer` first.

        The client searches for a nonce that does, and asks again when the beacon has changed meanwhile.
        """
        to, payer = Endpoint(self.address(0), self.genesis), Payer.load(self.directory / "client")
        wanted = bytes.fromhex(self.node(peer))
        question = Question(DEFAULT_MODEL, one_message("hello"), max_tokens=max_tokens)

        async def collect() -> list[Event]:
            events = []
            async for event in ask(to, question, payer, Overrides(choose_executor=wanted)):
                events.append(event)
                on_event(event)
            return events

        for _ in range(10):
            events = trio.run(collect)
            if only(Accepted, events).candidates[0] == wanted:
                return events
        raise AssertionError("ten draws chose other peers")

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
        release(self.directory)
        assert not any(map(alive, entries.values())), "a process is still running"
