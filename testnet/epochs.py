"""Three epochs of a live network: who earns, who joins, who loses, and what every epoch settles to. Law: says only what
the chain says.

`make epochs` or `python -m testnet.epochs [--dir DIR]`. Five real peers, two real vLLM servers (right weights, int8).
Each epoch begins with a sprint. Three honest hosts and an int8 cheat are in the genesis file; the fifth registers by
the command line, earns weight in a race, then reputation. The client asks all the time and is told what came back. Exit
code 1 when one of the things listed at the end did not happen.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import trio

from p2p.base.codec import unpack
from p2p.base.errors import FolkmootError
from p2p.base.genesis import CheckRules, Genesis
from p2p.base.keys import Key
from p2p.base.types import Params
from p2p.cli.earnings import balanced
from p2p.client.ask import AskSpec, ask_over
from p2p.client.nonces import Nonces
from p2p.gossip.host import Network, NetworkConfig, open_network
from p2p.peer.config import DEFAULT_MODEL
from p2p.peer.control import call
from p2p.verification import prompts as shipped
from testnet.providers import read_state, stop
from testnet.up import Running, bring_up

PEERS, CHEAT, JOINER = 5, 3, 4  # numbers from 0
EPOCHS = 3
TOKENS = 32
COLLATERAL_MICRO = 1_000_000
ASK_EVERY_S = 4.0
ASK_TIMEOUT_S = 90.0
TO_THE_CHEAT = 4  # questions of the first epoch that go to the cheat, as far as it is still drawn
LIMIT_S = 2000.0
CHECKS = CheckRules(min_checked_tokens=60)  # a short epoch has few
NAMES = {CHEAT: "int8 cheat", JOINER: "joiner"}


@dataclass(slots=True)
class Show:
    """settled: each epoch's sums and the participants' rows, as the chain says them at its end. told: notices that the
    client got.
    """

    network: Running
    say: Callable[[str], None]
    settled: list[dict[str, Any]] = field(default_factory=list)
    told: dict[str, dict[str, Any]] = field(default_factory=dict)
    answered: int = 0
    convicted: bool = False

    def node(self, index: int) -> str:
        return Key.load(self.network.folders[index] / "node.key").public.hex()

    def name(self, node: str) -> str:
        index = next(i for i in range(PEERS) if self.node(i) == node)
        return f"peer{index + 1} ({NAMES.get(index, 'honest')})"

    def address(self, index: int) -> str:
        return str(read_state(self.network.directory)["addresses"][self.network.folders[index].name])

    def chain(self, **query: Any) -> dict[str, Any]:
        return call(self.network.folders[0], query)

    # -- what people do
    # --------------------------------------------------------------------------------------------------

    def order(self, index: int, *words: str) -> None:
        """By the command line, as the owner of a peer would."""
        argv = [
            sys.executable, "-m", "p2p", "account", *words, "--peer", self.address(0), "--dir",
            str(self.network.folders[index])
        ]
        done = subprocess.run(argv, text=True, capture_output=True, timeout=60)
        self.say(
            f"{self.name(self.node(index))}: folkmoot account {' '.join(words)}: {(done.stdout + done.stderr).strip()}"
        )

    async def ask_all_the_time(self) -> None:
        client = self.network.directory / "client"
        genesis, key = unpack(Genesis, (client / "genesis.cbor").read_bytes()), Key.load(client / "account.key")
        nonces = Nonces(client / "nonces")
        config = NetworkConfig(Key.generate(), genesis.network, (), (), expected_size=1, min_connections=0)
        questions = cycle(prompt for prompt in shipped.load() if prompt.kind != "long")
        async with open_network(config, topic_handlers={}, stream_handlers={}) as net:
            for agent in (0, 1):
                await net.connect(self.address(agent))
            for number, question in enumerate(questions):
                wanted = bytes.fromhex(self.node(CHEAT)) if number < TO_THE_CHEAT and not self.convicted else None
                spec = AskSpec(
                    self.address(number % 2), key, genesis.network, DEFAULT_MODEL, question.text, Params(1000), TOKENS,
                    genesis=genesis,
                    choose_executor=wanted, nonces=nonces, on_notices=self.hear,
                )
                with trio.move_on_after(ASK_TIMEOUT_S):
                    await self.ask(net, spec)
                await trio.sleep(ASK_EVERY_S)

    async def ask(self, net: Network, spec: AskSpec) -> None:
        try:
            async for event in ask_over(net, spec):
                if event["event"] == "done":
                    self.answered += 1
        except FolkmootError as error:
            self.say(f"not answered: {error.message}")

    def hear(self, notices: list[dict[str, Any]]) -> None:
        for notice in notices:
            if notice["inference_id"] not in self.told:
                self.told[notice["inference_id"]] = notice
                self.say(
                    f"the client is told: inference {notice['inference_id'][:16]}... is {notice['what']} (height {notice['height']}), "
                    f"{notice['amount_micro']} micro-credits came back"
                )

    # -- what the chain says
    # ----------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Until EPOCHS are settled."""
        while len(self.settled) < EPOCHS:
            await trio.sleep(1.0)
            rows = self.chain(op="verification")["participants"]
            cheat = next(row for row in rows if row["node"] == self.node(CHEAT))
            if cheat["convicted"] and not self.convicted:
                self.convicted = True
                self.say(f"height {self.chain(op='status')['height']}: {self.name(self.node(CHEAT))} is convicted: {cheat['convicted_reason']}")
            page = self.chain(op="earnings", epoch=len(self.settled), node=self.node(0), start=0)
            if page["sums"]["settled_at"]:
                self.settle(len(self.settled), page["sums"], rows)

    def settle(self, epoch: int, sums: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        own = {
            row["node"]: self.chain(op="earnings", epoch=epoch, node=row["node"], start=0)["own"] for row in rows
        }
        self.settled.append({"sums": sums, "own": own, "rows": {row["node"]: row for row in rows}})
        print(
            f"\nepoch {epoch}, settled at height {sums['settled_at']}; {self.answered} questions answered so far",
            flush=True
        )
        head = ("weight", "reputation", "fees", "paid", "minted", "duties", "bounty", "forfeited", "slashed")
        print(f"  {'':22}" + "".join(f"{word:>11}" for word in head))
        for row in rows:
            money = own[row["node"]]
            values = [row["weight"], row["reputation"], *(
                money[name + "_micro"] for name in (
                    "fees", "paid", "reward", "duties", "bounty", "forfeited", "slashed"
                )
            )]
            print(f"  {self.name(row['node']):22}" + "".join(f"{value:11}" for value in values))
        came = f"fees {sums['fees_micro']} + slashed {sums['slashed_micro']} + penalties {sums['penalties_micro']}"
        went = f"owners {sums['paid_micro']} + validators {sums['duties_micro']} + bounties {sums['bounty_micro']} + burnt {sums['burnt_micro']}"
        print(
            f"  M12 {'holds' if balanced(sums) else 'DOES NOT HOLD'}: {came} = {went}; minted {sums['minted_micro']}\n",
            flush=True
        )

    async def run(self) -> None:
        self.order(CHEAT, "deposit", str(COLLATERAL_MICRO))
        self.order(JOINER, "register", "--model", DEFAULT_MODEL)
        await trio.sleep(3.0)
        self.order(JOINER, "deposit", str(COLLATERAL_MICRO))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.ask_all_the_time)
            with trio.move_on_after(LIMIT_S):
                await self.watch()
            nursery.cancel_scope.cancel()

    def report(self) -> bool:
        cheat, joiner = self.node(CHEAT), self.node(JOINER)
        last = self.settled[-1]["rows"] if self.settled else {}
        money = [epoch["own"].get(cheat, {}) for epoch in self.settled]
        joined = [epoch["own"].get(joiner, {}) for epoch in self.settled]
        refunds = [
            notice for notice in self.told.values() if notice["what"] == "INVALIDATED" and notice["amount_micro"] > 0
        ]
        facts = (
            (
                f"{EPOCHS} epochs are settled and their sums balance",
                len(self.settled) == EPOCHS and all(balanced(e["sums"]) for e in self.settled)
            ),
            ("the joiner has weight from a race", last.get(joiner, {}).get("weight", 0) > 0),
            ("the joiner has reputation", last.get(joiner, {}).get("reputation", 0) > 0),
            (
                "the joiner was paid for answers or duties",
                any(m.get("paid_micro", 0) + m.get("duties_micro", 0) for m in joined)
            ),
            (
                "the cheat was convicted and lost collateral",
                self.convicted and any(m.get("slashed_micro", 0) for m in money)
            ),
            (
                "the cheat was paid nothing in any epoch",
                not any(m.get("paid_micro", 0) + m.get("reward_micro", 0) for m in money)
            ),
            ("the client was refunded for the cheat's answers, and told", bool(refunds)),
        )
        for sentence, holds in facts:
            print(f"  {'yes' if holds else 'NO ':4} {sentence}")
        return all(holds for _, holds in facts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, default=Path(".testnet/epochs"))
    options = parser.parse_args()
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {text}", flush=True)

    network = bring_up(options.dir.resolve(), PEERS, 1, {CHEAT: "int8"}, say, sprint=True, joiners=1, checks=CHECKS)
    try:
        show = Show(network, say)
        trio.run(show.run)
        return 0 if show.report() else 1
    finally:
        stop(network.directory)


if __name__ == "__main__":
    raise SystemExit(main())
