"""`make cheats`: cheats among honest peers on a live network. Who is convicted, who is not, after how many answers?

Law: it says only what the chain says.

Real peers and vLLM servers (right weights, int8, int4). CASTS has two networks: in `loud` two honest hosts, one with
int8, one with laundered int4, one that cheats in one answer of ten, and a validator that never runs the model; in
`close` two honest hosts, one with smart drafts, one that ignores masks, and an agent that frames executors by handing
on finished answers. `all` is both together. The client picks nonces so that each host gets its share of the questions;
hosts cannot tell. Exit code 1 when a cheat got away or an honest peer was convicted; the framing agent need not be
caught, for nobody may be harmed by it. `python -m testnet.cheats [--cast NAME] [--dir DIR] [--limit N]`.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import trio

from p2p.base.body import one_message
from p2p.base.errors import FolkmootError
from p2p.base.keys import Key
from p2p.base.types import ENDED, STANDS, Params
from p2p.client.ask import ask_over
from p2p.client.events import Done
from p2p.client.question import Endpoint, Overrides, Payer, Question
from p2p.gossip.host import Network, NetworkConfig, open_network
from p2p.lab import attacks
from p2p.peer.config import DEFAULT_MODEL
from p2p.verification import prompts as shipped
from p2p.wire.answers.network import ConductRow, VerificationAnswer
from p2p.wire.answers.reading import read
from testnet.processes import stop
from testnet.up import Running, bring_up

LOUD, CLOSE = ("int8", "laundered_int4", "substitution_10", "lazy_validator"), (
    "smart_drafts", "ignored_mask", "eos_prefix"
)
CASTS = {"loud": LOUD, "close": CLOSE, "all": (*LOUD, *CLOSE)}  # cheats, after two honest peers
FIRST = 2  # number of the first cheat; peers are numbered from 0
MASKED = Params(1000, top_k=5)  # what every second question asks for: a host that ignores masks is honest elsewhere
FRAMED = 12  # questions that are asked through the framing agent
AT_ONCE = 4  # questions
TOKENS = 48  # of an answer
SETTLE_S = 120.0  # after the last question, for the last verdicts
EPOCH_BLOCKS = 10_000  # one epoch for the whole trial


@dataclass(slots=True)
class Trial:
    """Asks questions until every cheat is caught, and counts."""

    network: Running
    limit: int  # questions to one host at most
    cheats: dict[int, str]  # by peer
    asked: Counter[str] = field(default_factory=Counter)  # answers by executor (node key)
    waiting: dict[str, str] = field(default_factory=dict)  # inferences without an end -> executor
    ended: Counter[tuple[str, str]] = field(default_factory=Counter)  # by executor and status
    needed: dict[str, int] = field(default_factory=dict)  # node that was caught -> its answers that had ended by then
    agents: list[int] = field(init=False)  # cheats that lie as agents
    validators: list[int] = field(init=False)  # as validators
    executors: list[int] = field(init=False)  # as hosts

    @property
    def peers(self) -> int:
        return FIRST + len(self.cheats)

    def name(self, index: int) -> str:
        return f"peer{index + 1} ({self.cheats.get(index, 'honest')})"

    def __post_init__(self) -> None:
        found = {index: attacks.get(name) for index, name in self.cheats.items()}
        self.agents = [index for index, attack in found.items() if attack.agent]
        self.validators = [index for index, attack in found.items() if attack.validator]
        self.executors = [index for index in found if index not in (*self.agents, *self.validators)]

    def conduct(self) -> dict[str, ConductRow]:
        """What the chain holds against each participant, by node key."""
        answer = read(VerificationAnswer, self.network.query(op="verification"), "verification", "of the test network")
        return {row.node: row for row in answer.participants}

    def caught(self, index: int) -> bool:
        return is_caught(self.conduct()[self.network.node(index)])

    async def run(self) -> None:
        """Ask in turns, then wait until everything that was asked has ended."""
        genesis = self.network.genesis
        config = NetworkConfig(Key.generate(), genesis.network, (), (), expected_size=1, min_connections=0)
        questions, given = cycle(p for p in shipped.load() if p.kind != "long"), 0
        async with open_network(config, topic_handlers={}, stream_handlers={}) as net:
            for agent in (0, 1, *self.agents):
                await net.connect(self.network.address(agent))
            for agent in self.agents:  # executors refuse what it hands on, so it may have no answer for its client
                to = Endpoint(self.network.address(agent), genesis)
                for at in range(FRAMED):
                    question = Question(DEFAULT_MODEL, one_message(next(questions).text), Params(1000), TOKENS)
                    await self.ask(net, to, question, bytes.fromhex(self.network.node(at % 2)))
            for turn in self.turns():
                async with trio.open_nursery() as nursery:
                    for index in turn:
                        agent = 1 if index == 0 else 0
                        to = Endpoint(self.network.address(agent), genesis)
                        params = MASKED if (given := given + 1) % 2 else Params(1000)
                        question = Question(DEFAULT_MODEL, one_message(next(questions).text), params, TOKENS)
                        nursery.start_soon(self.ask, net, to, question, bytes.fromhex(self.network.node(index)))
                self.look()
            with trio.move_on_after(SETTLE_S):
                while self.waiting:
                    await trio.sleep(1.0)
                    self.look()

    def turns(self) -> Iterator[list[int]]:
        """Hosts to ask next, AT_ONCE together, until every cheat is caught or has had `limit` questions."""
        given: Counter[int] = Counter()
        while True:
            wanted = [i for i in self.executors if not self.caught(i) and given[i] < self.limit]
            if not wanted and all(self.caught(index) for index in self.validators):
                return
            if given[0] >= 2 * self.limit:
                return
            hosts = [*wanted, 0, 1][:AT_ONCE] if wanted else [0, 1]
            given.update(hosts)
            yield hosts

    async def ask(self, net: Network, to: Endpoint, question: Question, executor: bytes) -> None:
        payer = Payer.load(self.network.client)
        try:
            async for event in ask_over(net, to, question, payer, Overrides(choose_executor=executor)):
                if isinstance(event, Done):
                    answered = event.receipt.executor.hex()
                    self.asked[answered] += 1
                    self.waiting[event.receipt.inference_id.hex()] = answered
        except FolkmootError as error:
            print(f"  not answered: {error.message}", flush=True)

    def look(self) -> None:
        """Count what has ended, and print who was caught since the last look."""
        for inference, executor in list(self.waiting.items()):
            try:
                found = self.network.query(op="inference", id=inference)
            except FolkmootError:
                continue
            if found["status"] in ENDED:
                self.ended[executor, found["status"]] += 1
                del self.waiting[inference]
        for node, row in self.conduct().items():
            if is_caught(row) and node not in self.needed:
                self.needed[node] = sum(n for (executor, _), n in self.ended.items() if executor == node)
                height = self.network.query(op="status")["height"]
                print(f"  height {height}: {self.label(node)} caught: {why(row)}", flush=True)

    def label(self, node: str) -> str:
        return next(self.name(i) for i in range(self.peers) if self.network.node(i) == node)

    def report(self) -> bool:
        """Print the table. True when all cheats were caught and nobody else."""
        conduct, good = self.conduct(), True
        head = f"{'asked':>7}{'valid':>7}{'invalid':>9}{'e-process':>11}{'outliers/compared':>19}  caught after"
        print(f"\n{'peer':28}{head}")
        for index in range(self.peers):
            node = self.network.node(index)
            row = conduct[node]
            good &= is_caught(row) == (index in self.cheats) or index in self.agents
            valid = sum(self.ended[node, status] for status in STANDS)
            end = f"{self.needed.get(node, '?')} checked answers: {why(row)}" if is_caught(row) else "-"
            print(
                f"{self.name(index):28}{self.asked[node]:7}{valid:7}{self.ended[node, 'INVALIDATED']:9}"
                f"{row.log_e_milli / 1000:11.2f}{row.outliers:>13}/{row.compared:<5}  {end}"
            )
        print("every cheat was caught and no honest peer" if good else "NOT as it should be")
        return good


def is_caught(row: ConductRow) -> bool:
    """Whether a participant is convicted, or barred from checking."""
    return row.convicted or row.barred


def why(row: ConductRow) -> str:
    """The chain's reason."""
    return row.convicted_reason or row.barred_reason


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--dir", type=Path, default=Path(".testnet/cheats"), help="of the network (default: %(default)s)",
    )
    parser.add_argument("--limit", type=int, default=200, help="questions to one host at most (default: %(default)s)")
    parser.add_argument("--cast", choices=sorted(CASTS), default="all", help="which cheats (default: %(default)s)")
    options = parser.parse_args()
    started, cheats = time.monotonic(), dict(enumerate(CASTS[options.cast], FIRST))

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {text}", flush=True)

    network = bring_up(
        options.dir.resolve(), FIRST + len(cheats), 1, cheats, say, epoch_blocks=EPOCH_BLOCKS
    )
    try:
        trial = Trial(network, options.limit, cheats)
        trio.run(trial.run)
        return 0 if trial.report() else 1
    finally:
        stop(network.directory)


if __name__ == "__main__":
    raise SystemExit(main())
