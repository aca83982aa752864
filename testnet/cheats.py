"""Cheats among honest peers on a live network: who is convicted, who is not, and after how many answers. Law: says only
what the chain says.

`make cheats` or `python -m testnet.cheats [--dir DIR] [--limit N]`. Six real peers, three real vLLM servers (right
weights, int8, int4): two honest hosts, int8, laundered int4, a host that cheats in one answer of ten, a validator that
never runs the model. The client picks nonces so that each host gets its share of questions; hosts cannot tell. Exit
code 1 when a cheat got away or an honest peer was convicted.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import trio

from p2p.base.codec import unpack
from p2p.base.errors import FolkmootError
from p2p.base.genesis import Genesis
from p2p.base.keys import Key
from p2p.base.types import ENDED, STANDS, Params
from p2p.client.ask import AskSpec, ask_over
from p2p.client.nonces import Nonces
from p2p.gossip.host import Network, NetworkConfig, open_network
from p2p.peer.config import DEFAULT_MODEL
from p2p.peer.control import call
from p2p.verification import prompts as shipped
from testnet.providers import read_state, stop
from testnet.up import Running, bring_up

CHEATS = {2: "int8", 3: "laundered_int4", 4: "substitution_10", 5: "lazy_validator"}
EXECUTORS, PEERS = (2, 3, 4), 6
AT_ONCE = 4
TOKENS = 48
FINAL = ENDED
SETTLE_S = 120.0
EPOCH_BLOCKS = 10_000  # one epoch for the whole trial


@dataclass(slots=True)
class Trial:
    """limit: questions to one host. asked: inference ids by the host that answered."""

    network: Running
    limit: int
    asked: Counter[str] = field(default_factory=Counter)
    waiting: dict[str, str] = field(default_factory=dict)
    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    needed: dict[str, int] = field(default_factory=dict)

    def node(self, index: int) -> str:
        return Key.load(self.network.folders[index] / "node.key").public.hex()

    def name(self, index: int) -> str:
        return f"peer{index + 1} ({CHEATS.get(index, 'honest')})"

    def standing(self) -> dict[str, dict[str, Any]]:
        """What the chain says of each participant, by node key."""
        found = call(self.network.folders[0], {"op": "verification"})
        return {row["node"]: row for row in found["participants"]}

    def caught(self, index: int) -> bool:
        row = self.standing()[self.node(index)]
        return bool(row["convicted"] or row["barred"])

    async def run(self) -> None:
        folder = self.network.directory / "client"
        genesis = unpack(Genesis, (folder / "genesis.cbor").read_bytes())
        key, nonces = Key.load(folder / "account.key"), Nonces(folder / "nonces")
        config = NetworkConfig(Key.generate(), genesis.network, (), (), expected_size=1, min_connections=0)
        questions = cycle(p for p in shipped.load() if p.kind != "long")
        async with open_network(config, topic_handlers={}, stream_handlers={}) as net:
            for agent in (0, 1):
                await net.connect(self.address(agent))
            for turn in self.turns():
                async with trio.open_nursery() as nursery:
                    for index in turn:
                        agent = 1 if index == 0 else 0
                        spec = AskSpec(
                            self.address(agent), key, genesis.network, DEFAULT_MODEL, next(questions).text,
                            Params(1000), TOKENS,
                            genesis=genesis, nonces=nonces, choose_executor=bytes.fromhex(self.node(index)),
                        )
                        nursery.start_soon(self.ask, net, spec)
                self.look()
            with trio.move_on_after(SETTLE_S):
                while self.waiting:
                    await trio.sleep(1.0)
                    self.look()

    def turns(self) -> Iterator[list[int]]:
        """Who is asked next, AT_ONCE together, until everybody is caught or has had `limit` questions."""
        given: Counter[int] = Counter()
        while True:
            open_cases = [i for i in EXECUTORS if not self.caught(i) and given[i] < self.limit]
            if not open_cases and self.caught(5):
                return
            if given[0] >= 2 * self.limit:
                return
            hosts = [*open_cases, 0, 1][:AT_ONCE] if open_cases else [0, 1]
            given.update(hosts)
            yield hosts

    def address(self, index: int) -> str:
        return str(read_state(self.network.directory)["addresses"][self.network.folders[index].name])

    async def ask(self, net: Network, spec: AskSpec) -> None:
        try:
            async for event in ask_over(net, spec):
                if event["event"] == "done":
                    receipt = event["receipt"]
                    self.asked[receipt["executor"]] += 1
                    self.waiting[receipt["inference_id"]] = receipt["executor"]
        except FolkmootError as error:
            print(f"  not answered: {error.message}", flush=True)

    def look(self) -> None:
        """Take what has ended off the list, and say who was caught since."""
        for inference, executor in list(self.waiting.items()):
            try:
                found = call(self.network.folders[0], {"op": "inference", "id": inference})
            except FolkmootError:
                continue
            if found["status"] in FINAL:
                self.ended[executor, found["status"]] += 1
                del self.waiting[inference]
        for node, row in self.standing().items():
            if (row["convicted"] or row["barred"]) and node not in self.needed:
                self.needed[node] = sum(n for (executor, _), n in self.ended.items() if executor == node)
                print(
                    f"  height {call(self.network.folders[0], {'op': 'status'})['height']}: {self.label(node)} caught: {why(row)}",
                    flush=True
                )

    def label(self, node: str) -> str:
        return next(self.name(i) for i in range(PEERS) if self.node(i) == node)

    def report(self) -> bool:
        """The table; True when all cheats were caught and nobody else."""
        standing, good = self.standing(), True
        print(f"\n{'peer':28}{'asked':>7}{'valid':>7}{'invalid':>9}{'e-process':>11}{'odd/compared':>14}  caught after")
        for index in range(PEERS):
            node, row = self.node(index), standing[self.node(index)]
            caught = bool(row["convicted"] or row["barred"])
            good &= caught == (index in CHEATS)
            print(
                f"{self.name(index):28}{self.asked[node]:7}{sum(self.ended[node, status] for status in STANDS):7}{self.ended[node, 'INVALIDATED']:9}"
                f"{row['log_e_milli'] / 1000:11.2f}{row['odd']:>8}/{row['compared']:<5}  "
                + (f"{self.needed.get(node, '?')} checked answers: {why(row)}" if caught else "-")
            )
        print("every cheat was caught and no honest peer" if good else "NOT as it should be")
        return good


def why(row: dict[str, Any]) -> str:
    return str(row["convicted_reason"] or row["barred_reason"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, default=Path(".testnet/cheats"))
    parser.add_argument("--limit", type=int, default=200, help="questions to one host at most")
    options = parser.parse_args()
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {text}", flush=True)

    network = bring_up(options.dir.resolve(), PEERS, 1, CHEATS, say, epoch_blocks=EPOCH_BLOCKS)
    try:
        trial = Trial(network, options.limit)
        trio.run(trial.run)
        return 0 if trial.report() else 1
    finally:
        stop(network.directory)


if __name__ == "__main__":
    raise SystemExit(main())
