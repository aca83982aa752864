"""`make demo`: a real question, answered by a real model, through a real network, and what became of it.

Law: it says only what happened.
"""

from __future__ import annotations

import json
import signal
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

import trio

from p2p.base.body import one_message
from p2p.base.errors import FolkmootError, Unavailable
from p2p.base.keys import Key
from p2p.base.types import ENDED, STANDS, Params
from p2p.client.ask import ask
from p2p.client.events import Accepted, Busy, Declined, Done, Token, Trying, Waiting
from p2p.client.question import Endpoint, Overrides, Payer, Question
from p2p.client.receipt import Receipt
from p2p.peer.config import DEFAULT_MODEL
from testnet.processes import stop
from testnet.up import Running, bring_up

DEFAULT_PROMPT = "What is the capital of France?"
CHEAT_TRIES = 10  # questions until the draw falls on the cheat
DEMO_TEMPERATURE_MILLI = 10  # the tape decides between near-equals only: a model this small wanders at more
VERDICT_TIMEOUT_S = 120.0


class Demo:
    """One question and its way through the network. cheat: name of the last peer's attack, None without one."""

    def __init__(self, network: Running, prompt: str, cheat: str | None) -> None:
        self.network, self.prompt, self.cheat = network, prompt, cheat
        self.names: dict[str, str] = json.loads((network.directory / "names.json").read_text())
        if cheat:
            self.names[network.node(-1)] += " (the cheat)"
        self.key = Key.load(network.client / "account.key")
        self.genesis = network.genesis
        self.address = network.address(0)

    def name(self, node: str) -> str:
        return self.names.get(node, node[:12])

    def balance(self) -> int:
        return int(self.network.query(op="account", account=self.key.public.hex())["balance_micro"])

    async def ask_once(self) -> tuple[Receipt, str]:
        """Ask one question over a libp2p stream. Returns (receipt, text of the answer)."""
        wanted = next((bytes.fromhex(k) for k, v in self.names.items() if "cheat" in v), None)
        to, payer = Endpoint(self.address, self.genesis), Payer(self.key)
        question = Question(DEFAULT_MODEL, one_message(self.prompt), Params(DEMO_TEMPERATURE_MILLI), 64)
        async with aclosing(ask(to, question, payer, Overrides(choose_executor=wanted))) as events:
            async for event in events:
                match event:
                    case Waiting():
                        say(f"{event.reason}; asking again in {event.wait_s:.1f} s")
                    case Accepted():
                        say(f"taken by {self.name(event.agent.hex())} as {event.inference_id.hex()[:16]}...")
                        drawn = ", ".join(self.name(node.hex()) for node in event.candidates)
                        say(f"draw: beacon of height {event.draw_height} ({event.beacon.hex()[:16]}...) gives {drawn}")
                    case Trying():
                        print(f"  executor {self.name(event.node.hex())}: ", end="", flush=True)
                    case Busy() | Declined():
                        print(f"[{'busy' if isinstance(event, Busy) else 'failed'}: {event.reason}]", flush=True)
                    case Token():
                        print(event.text, end="", flush=True)
                    case Done():
                        print(flush=True)
                        return event.receipt, event.text
        raise Unavailable("the answer ended without a receipt", field="receipt")

    def follow(self, inference_id: str) -> dict[str, Any]:
        """Print each height and verdict of an inference as the chain has it, until its end. Raises Unavailable."""
        shown: set[str] = set()
        deadline = time.monotonic() + VERDICT_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                found = self.network.query(op="inference", id=inference_id)
            except FolkmootError:
                time.sleep(0.1)
                continue
            for line in self._lines(found):
                if line not in shown:
                    shown.add(line)
                    say(line)
            if found["status"] in ENDED:
                return found
            time.sleep(0.1)
        raise Unavailable(f"no verdict in {VERDICT_TIMEOUT_S:.0f} s", field="inference")

    def _lines(self, found: dict[str, Any]) -> list[str]:
        lines = [
            f"{kind}Record decided at height {found[kind.lower() + '_height']}"
            for kind in ("Start", "Finish", "Output") if found[kind.lower() + "_height"]
        ]
        for committee in found["committees"]:
            disputed = found["dispute_height"] and committee["height"] >= found["dispute_height"]
            which, members = "second committee" if disputed else "validators", committee["members"]
            drawn = ", ".join(map(self.name, members))
            lines.append(f"{which} drawn from the beacon of height {committee['height']}: {drawn}")
            if committee["revealing"]:
                committed = len(committee["committed"])
                lines.append(f"{committed} of {len(members)} have committed a verdict, now they reveal")
        for verdict in found["verdicts"]:
            word = f"{'valid' if verdict['valid'] else 'INVALID'}: {verdict['reason']}"
            lines.append(f"verdict of {self.name(verdict['validator'])} at height {verdict['height']}: {word}")
        return lines

    def run(self) -> bool:
        """Ask, follow, print. True when everything ended as it should."""
        before = self.balance()
        print(f"\nquestion  {self.prompt}")
        if self.cheat:
            print("  (this client searches a nonce whose draw picks the cheat; a client may choose its nonce)")
        for _ in range(CHEAT_TRIES):
            receipt, answer = trio.run(self.ask_once)
            if not self.cheat or "cheat" in self.name(receipt.executor.hex()):
                break
            say("the beacon moved on and the draw fell on an honest peer; asking again")
        say(f"receipt checked by the client: {'every claim holds' if receipt.checked else receipt.problems}")
        final = self.follow(receipt.inference_id.hex())
        money = (
            ("escrow", "escrow"), ("charged", "charged"), ("booked for the executor", "paid"), ("refunded", "refunded"),
        )
        say(", ".join(f"{name} {final[key + '_micro']}" for name, key in money) + " micro-credits")
        print(f"  client's balance: {before} -> {self.balance()}")
        print(f"\n{final['status']}" + (f": {final['reason']}" if final["reason"] else ""))
        if self.cheat:
            return bool(final["status"] == "INVALIDATED" and final["refunded_micro"] == final["charged_micro"] > 0)
        right = self.prompt != DEFAULT_PROMPT or "Paris" in answer
        if not right:
            print("the answer does not name Paris")
        return bool(final["status"] in STANDS and receipt.checked and right)


def say(text: str) -> None:
    print(f"  {text}", flush=True)


def demo(directory: Path, peers: int, prompt: str, cheat: str | None, *, keep: bool) -> int:
    """Bring a network up, ask, follow, tear it down.

    keep: leave it up. Returns the exit code: 0 when the answer was validated (with a cheat: invalidated and refunded).
    """
    started = time.monotonic()

    def progress(text: str) -> None:
        print(f"[{time.monotonic() - started:5.1f} s] {text}", flush=True)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupted)
    cheats = {peers: cheat} if cheat else {}  # one peer more: the last
    network = bring_up(directory, peers + len(cheats), 1, cheats, progress, stays=keep)
    try:
        good = Demo(network, prompt, cheat).run()
    except BaseException:
        stop(directory)
        raise
    if keep:
        print("\nthe network stays up. Talk to it:")
        print(f'  folkmoot ask --dir {directory}/client --peer {network.address(0)} "Why is the sky blue?"')
        print(f"  folkmoot status --dir {directory}/peer1\nStop it: folkmoot testnet down --dir {directory}")
    else:
        stopped = stop(directory)
        progress(f"stopped {len(stopped)} processes; nothing is left running")
    return 0 if good else 1
