"""`make families`: two models on one live network. Each is answered and checked; a host with cheap weights is caught.

Law: it says only what the chain says.

Four real peers and three real vLLM servers. Three honest peers serve SmolLM2 and Gemma 3 270M, the fourth serves Gemma
in int4. A client asks each honest peer for one answer of each model, a conversation and a completion, and then the
fourth until it is convicted. Exit code 1 where an answer is not verified, the cheat gets away, or an honest peer is
convicted. `python -m testnet.families [--dir DIR] [--limit N] [--short]`; short: one honest answer of each model.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import trio

from p2p.base.body import Body, TextPrompt, one_message
from p2p.base.errors import FolkmootError
from p2p.base.keys import Key
from p2p.base.toml_file import dump_toml
from p2p.base.types import ENDED, STANDS, Params
from p2p.client.ask import ask_over
from p2p.client.events import Done
from p2p.client.question import Endpoint, Overrides, Payer, Question
from p2p.gossip.host import Network, NetworkConfig, open_network
from p2p.inference.stack.gemma import NAME as GEMMA
from p2p.inference.stack.gemma import prepared
from p2p.peer.config import DEFAULT_MODEL
from p2p.peer.ml_settings import HEAD
from p2p.verification import prompts as shipped
from p2p.wire.answers.network import ConductRow, VerificationAnswer
from p2p.wire.answers.reading import read
from testnet.generate import PeerPlan, Plan, generate
from testnet.processes import Say, fresh_directory, start_ml_node, stop, up
from testnet.up import Running

CHEAT = 3  # number of the peer with int4 weights, from 0
PEERS, ATTACK, TOKENS = 4, "int4", 48
SETTLE_S = 240.0  # for the verdicts on what was asked


def bring_up(directory: Path, say: Say) -> Running:
    """Start engines and peers in `directory`. On an error everything that was started is stopped."""
    fresh_directory(directory)
    try:
        return _bring_up(directory, say)
    except BaseException:
        stop(directory)
        raise


def _bring_up(directory: Path, say: Say) -> Running:
    from p2p.inference.stack.model import prepare_model
    from p2p.lab.attacks import weights

    small, gemma = prepare_model(say), prepared()
    if gemma is None:
        raise SystemExit(f"{GEMMA} is not prepared: make .venv/.family")
    say("starting three ML nodes (vLLM, a minute each)")
    urls = {
        "small": start_ml_node(directory, "ml-small", small, say, serves=DEFAULT_MODEL),
        "gemma": start_ml_node(directory, "ml-gemma", gemma, say, serves=GEMMA),
        ATTACK: start_ml_node(directory, f"ml-{ATTACK}", weights.prepare(ATTACK, say, gemma), say, serves=GEMMA),
    }
    folders = generate(plan(directory, small, gemma, urls["gemma"]))
    add_ml_nodes(folders, urls, small, gemma)
    return Running(directory, folders, up(directory, folders, {}, say), {})


def plan(directory: Path, small: Path, gemma: Path, honest_url: str) -> Plan:
    """The network. honest_url: of a vLLM with the right weights of Gemma, with which the cheat checks others."""
    honest = [PeerPlan(f"peer{at + 1}", models=(DEFAULT_MODEL, GEMMA)) for at in range(CHEAT)]
    return Plan(
        directory, PEERS, model_dir=small, more_models={GEMMA: gemma}, honest_ml_node=honest_url, epoch_blocks=10_000,
        each=(*honest, PeerPlan(f"peer{CHEAT + 1}", models=(GEMMA,), cheat=ATTACK)),
    )


def add_ml_nodes(folders: Sequence[Path], urls: Mapping[str, str], small: Path, gemma: Path) -> None:
    """Give every peer an ML node for each model that it serves. urls: by kind of weights."""
    for at, folder in enumerate(folders):
        nodes = [("gemma", GEMMA, ATTACK if at == CHEAT else "gemma", gemma)]
        if at != CHEAT:
            nodes.append(("small", DEFAULT_MODEL, "small", small))
        file = folder / "config.toml"
        file.write_text(file.read_text() + "".join(
            f"{HEAD}\n" + dump_toml({"name": name, "model": model, "url": urls[kind], "tokenizer": str(path)})
            for name, model, kind, path in nodes
        ))


@dataclass(slots=True)
class Trial:
    """Asks questions and reads from the chain what became of them."""

    network: Running
    limit: int  # questions to the cheat at most
    say: Say
    short: bool = False
    asked: dict[str, tuple[str, int, str]] = field(default_factory=dict)  # inference -> (model, peer, text)
    ended: dict[str, str] = field(default_factory=dict)  # inference -> its status at the end

    async def run(self) -> None:
        genesis = self.network.genesis
        config = NetworkConfig(Key.generate(), genesis.network, (), (), expected_size=1, min_connections=0)
        questions = cycle(p for p in shipped.load() if p.kind != "long")
        async with open_network(config, topic_handlers={}, stream_handlers={}) as net:
            await net.connect(self.network.address(0))
            for model in (DEFAULT_MODEL, GEMMA):
                for executor in (1, 2)[: 1 if self.short else None]:
                    await self.ask(net, model, one_message("What is the capital of France?"), executor)
                await self.ask(net, model, Body(TextPrompt("The capital of France is")), 1)
            await self.settle()
            for _ in range(self.limit):
                if self.conduct()[self.network.node(CHEAT)].convicted:
                    break
                await self.ask(net, GEMMA, one_message(next(questions).text), CHEAT)
                await self.settle()

    async def ask(self, net: Network, model: str, body: Body, executor: int) -> None:
        to = Endpoint(self.network.address(0), self.network.genesis)
        question = Question(model, body, Params(800), TOKENS)
        chosen = Overrides(choose_executor=bytes.fromhex(self.network.node(executor)))
        text = ""
        try:
            async for event in ask_over(net, to, question, Payer.load(self.network.client), chosen):
                text += getattr(event, "text", "")
                if isinstance(event, Done):
                    self.asked[event.receipt.inference_id.hex()] = model, executor, text
        except FolkmootError as error:
            self.say(f"not answered by peer{executor + 1}: {error.message}")

    async def settle(self) -> None:
        """Wait for the verdicts on all that was asked."""
        with trio.move_on_after(SETTLE_S):
            while waiting := [one for one in self.asked if one not in self.ended]:
                for inference in waiting:
                    found = self.look(inference)
                    if found in ENDED:
                        self.ended[inference] = found
                        model, executor, text = self.asked[inference]
                        self.say(f"{model}, answered by peer{executor + 1}: {found}; {text[:60]!r}")
                await trio.sleep(1.0)

    def look(self, inference: str) -> str:
        try:
            return str(self.network.query(op="inference", id=inference)["status"])
        except FolkmootError:
            return ""

    def conduct(self) -> dict[str, ConductRow]:
        answer = read(VerificationAnswer, self.network.query(op="verification"), "verification", "of the test network")
        return {row.node: row for row in answer.participants}

    def report(self) -> bool:
        """Print what the chain holds. True when everything is as it should be."""
        rows, conduct = list[dict[str, Any]](), self.conduct()
        for model in (DEFAULT_MODEL, GEMMA):
            own = [one for one, (name, executor, _) in self.asked.items() if name == model and executor != CHEAT]
            stands = sum(self.ended.get(one) in STANDS for one in own)
            rows.append({"what": f"{model}, honest answers that stand", "of": f"{stands} of {len(own)}",
                         "good": bool(own) and stands == len(own)})
        cheated = [one for one, (_, executor, _) in self.asked.items() if executor == CHEAT]
        invalid = sum(self.ended.get(one) == "INVALIDATED" for one in cheated)
        rows.append({"what": f"{GEMMA} in {ATTACK}, answers found invalid", "of": f"{invalid} of {len(cheated)}",
                     "good": bool(invalid)})
        for at in range(PEERS):
            held = conduct[self.network.node(at)]
            rows.append({"what": f"peer{at + 1} convicted", "of": held.convicted_reason or "no",
                         "good": held.convicted == (at == CHEAT)})
        for row in rows:
            print(f"{'' if row['good'] else 'NOT '}as it should be: {row['what']}: {row['of']}")
        return all(row["good"] for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, default=Path(".testnet/families"), help="of the network (%(default)s)")
    parser.add_argument("--limit", type=int, default=20, help="questions to the cheat at most (%(default)s)")
    parser.add_argument("--short", action="store_true", help="one honest conversation of each model")
    options = parser.parse_args()
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {text}", flush=True)

    network = bring_up(options.dir.resolve(), say)
    try:
        trial = Trial(network, options.limit, say, options.short)
        trio.run(trial.run)
        return 0 if trial.report() else 1
    finally:
        stop(network.directory)


if __name__ == "__main__":
    raise SystemExit(main())
