"""`make epochs`: three epochs of a live network. Who earns, who joins, who loses, and what does each epoch settle to?

Law: it says only what the chain says.

Five real peers, two real vLLM servers (right weights, int8). Each epoch begins with a sprint. Three honest hosts and an
int8 cheat are in the genesis file; the fifth peer registers by the command line and earns weight in a sprint, then
reputation. The client asks all the time and is told what was refunded. Exit code 1 when one of the things that are
listed at the end did not happen. `python -m testnet.epochs [--dir DIR]`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import trio

from p2p.base.body import one_message
from p2p.base.errors import FolkmootError
from p2p.base.genesis import CheckRules
from p2p.base.keys import Key
from p2p.base.types import Params
from p2p.cli.earnings import balanced
from p2p.client.ask import ask_over
from p2p.client.events import Done, Notices
from p2p.client.question import Endpoint, Overrides, Payer, Question
from p2p.gossip.host import Network, NetworkConfig, open_network
from p2p.peer.config import DEFAULT_MODEL
from p2p.verification import prompts as shipped
from p2p.wire.answers.accounts import Notice
from p2p.wire.answers.network import EarningsAnswer, EpochSumsRow, OwnSums
from p2p.wire.answers.reading import read
from testnet.processes import stop
from testnet.up import Running, bring_up

PEERS, CHEAT, JOINER = 5, 3, 4  # numbers from 0
EPOCHS = 3
TOKENS = 32  # of an answer
COLLATERAL_MICRO = 1_000_000  # that cheat and joiner deposit
ASK_EVERY_S = 4.0
ASK_TIMEOUT_S = 90.0
TO_THE_CHEAT = 4  # questions of the first epoch that go to the cheat, as far as it is still drawn
LIMIT_S = 2000.0  # for all epochs
CHECKS = CheckRules(min_checked_tokens=60)  # a short epoch has few tokens to check
NAMES = {CHEAT: "int8 cheat", JOINER: "joiner"}
COLUMNS = ("fees", "paid", "minted", "duties", "bounty", "forfeited", "slashed")  # of a participant's money
FIELDS = {"minted": "reward"}  # where the chain's name for a column is another one


@dataclass(frozen=True, slots=True)
class Settled:
    """An epoch at its end."""

    sums: EpochSumsRow
    own: dict[str, OwnSums]  # of each participant, by node
    rows: dict[str, dict[str, Any]]  # its conduct


@dataclass(slots=True)
class Show:
    """Acts as owners and client would, and notes what the chain says."""

    network: Running
    say: Callable[[str], None]
    settled: list[Settled] = field(default_factory=list)
    told: dict[str, Notice] = field(default_factory=dict)  # notices that the client got, by inference
    answered: int = 0  # questions
    convicted: bool = False  # the cheat

    def name(self, node: str) -> str:
        index = next(i for i in range(PEERS) if self.network.node(i) == node)
        return f"peer{index + 1} ({NAMES.get(index, 'honest')})"

    # -- what people do -----------------------------------------------------------------------------------------------

    def account(self, index: int, *words: str) -> None:
        """Run `folkmoot account WORDS` as the owner of a peer would."""
        where = ["--peer", self.network.address(0), "--dir", str(self.network.folders[index])]
        argv = [sys.executable, "-m", "p2p", "account", *words, *where]
        done = subprocess.run(argv, text=True, capture_output=True, timeout=60)
        who, printed = self.name(self.network.node(index)), (done.stdout + done.stderr).strip()
        self.say(f"{who}: folkmoot account {' '.join(words)}: {printed}")

    async def ask_all_the_time(self) -> None:
        genesis = self.network.genesis
        config = NetworkConfig(Key.generate(), genesis.network, (), (), expected_size=1, min_connections=0)
        questions = cycle(prompt for prompt in shipped.load() if prompt.kind != "long")
        async with open_network(config, topic_handlers={}, stream_handlers={}) as net:
            for agent in (0, 1):
                await net.connect(self.network.address(agent))
            for number, question in enumerate(questions):
                to_the_cheat = number < TO_THE_CHEAT and not self.convicted
                to = Endpoint(self.network.address(number % 2), genesis)
                asked = Question(DEFAULT_MODEL, one_message(question.text), Params(1000), TOKENS)
                wanted = bytes.fromhex(self.network.node(CHEAT)) if to_the_cheat else None
                with trio.move_on_after(ASK_TIMEOUT_S):
                    await self.ask(net, to, asked, wanted)
                await trio.sleep(ASK_EVERY_S)

    async def ask(self, net: Network, to: Endpoint, question: Question, executor: bytes | None) -> None:
        payer = Payer.load(self.network.client)
        try:
            async for event in ask_over(net, to, question, payer, Overrides(choose_executor=executor)):
                if isinstance(event, Notices):
                    self.hear(event.notices)
                elif isinstance(event, Done):
                    self.answered += 1
        except FolkmootError as error:
            self.say(f"not answered: {error.message}")

    def hear(self, notices: Sequence[Notice]) -> None:
        """Take notices of what became of earlier inferences."""
        for notice in notices:
            if notice.inference_id not in self.told:
                self.told[notice.inference_id] = notice
                self.say(
                    f"the client is told: inference {notice.inference_id[:16]}... is {notice.what} "
                    f"(height {notice.height}), {notice.amount_micro} micro-credits came back"
                )

    # -- what the chain says ------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Until EPOCHS are settled."""
        query, cheat = self.network.query, self.network.node(CHEAT)
        while len(self.settled) < EPOCHS:
            await trio.sleep(1.0)
            rows = query(op="verification")["participants"]
            found = next(row for row in rows if row["node"] == cheat)
            if found["convicted"] and not self.convicted:
                self.convicted = True
                height = query(op="status")["height"]
                self.say(f"height {height}: {self.name(cheat)} is convicted: {found['convicted_reason']}")
            sums = self.earnings(len(self.settled), self.network.node(0)).sums
            if sums.settled_at:
                self.settle(len(self.settled), sums, rows)

    def earnings(self, epoch: int, node: str) -> EarningsAnswer:
        """The first page of a participant's epoch."""
        answer = self.network.query(op="earnings", epoch=epoch, node=node, start=0)
        return read(EarningsAnswer, answer, "earnings", "peer1")

    def settle(self, epoch: int, sums: EpochSumsRow, rows: list[dict[str, Any]]) -> None:
        """Note and print what an epoch came to."""
        own = {row["node"]: self.earnings(epoch, row["node"]).own for row in rows}
        self.settled.append(Settled(sums, own, {row["node"]: row for row in rows}))
        print(f"\nepoch {epoch}, settled at height {sums.settled_at}; {self.answered} questions answered so far")
        print(f"  {'':22}" + "".join(f"{word:>11}" for word in ("weight", "reputation", *COLUMNS)))
        for row in rows:
            money = [getattr(own[row["node"]], FIELDS.get(name, name) + "_micro") for name in COLUMNS]
            values = [row["weight"], row["reputation"], *money]
            print(f"  {self.name(row['node']):22}" + "".join(f"{value:11}" for value in values))
        came = f"fees {sums.fees_micro} + slashed {sums.slashed_micro} + penalties {sums.penalties_micro}"
        went = (
            f"owners {sums.paid_micro} + validators {sums.duties_micro} + bounties {sums.bounty_micro} + "
            f"burnt {sums.burnt_micro}"
        )
        verdict = "holds" if balanced(sums) else "DOES NOT HOLD"
        print(f"  M12 {verdict}: {came} = {went}; minted {sums.minted_micro}\n", flush=True)

    async def run(self) -> None:
        self.account(CHEAT, "deposit", str(COLLATERAL_MICRO))
        self.account(JOINER, "register", "--model", DEFAULT_MODEL)
        self.account(JOINER, "deposit", str(COLLATERAL_MICRO))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.ask_all_the_time)
            with trio.move_on_after(LIMIT_S):
                await self.watch()
            nursery.cancel_scope.cancel()

    def report(self) -> bool:
        """Print what should have happened and whether it did. True when all of it did."""
        cheat, joiner = self.network.node(CHEAT), self.network.node(JOINER)
        last = self.settled[-1].rows.get(joiner, {}) if self.settled else {}

        def any_epoch(node: str, *names: str) -> bool:
            """Whether one of these sums of `node` is above zero in any epoch."""
            mine = [epoch.own[node] for epoch in self.settled if node in epoch.own]
            return any(getattr(own, f"{name}_micro") for own in mine for name in names)

        settled = len(self.settled) == EPOCHS and all(balanced(epoch.sums) for epoch in self.settled)
        refunded = any(one.what == "INVALIDATED" and one.amount_micro > 0 for one in self.told.values())
        facts = (
            (f"{EPOCHS} epochs are settled and their sums balance", settled),
            ("the joiner has weight from a sprint", last.get("weight", 0) > 0),
            ("the joiner has reputation", last.get("reputation", 0) > 0),
            ("the joiner was paid for answers or duties", any_epoch(joiner, "paid", "duties")),
            ("the cheat was convicted and lost collateral", self.convicted and any_epoch(cheat, "slashed")),
            ("the cheat was paid nothing in any epoch", not any_epoch(cheat, "paid", "reward")),
            ("the client was refunded for the cheat's answers, and told", refunded),
        )
        for sentence, holds in facts:
            print(f"  {'yes' if holds else 'NO ':4} {sentence}")
        return all(holds for _, holds in facts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--dir", type=Path, default=Path(".testnet/epochs"), help="of the network (default: %(default)s)",
    )
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
