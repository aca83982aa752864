"""`python -m testnet.runs.asking DIR`: the client of a test network, until it is stopped.

Law: it is honest and stubborn. It keeps its rate however slow answers are, asks another peer where one refuses, and
writes a line of JSON for each question when it has ended, flushed, so that what it was told survives its own end.

DIR holds account.key, genesis.cbor and target.json.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import msgspec
import trio
from msgspec import Struct

from p2p.base.body import one_message
from p2p.base.errors import FolkmootError
from p2p.base.files import keep_private
from p2p.base.genesis import Genesis, load_genesis
from p2p.base.keys import Key
from p2p.cli.tasks import run_async
from p2p.client.ask import ask_over
from p2p.client.events import Done, Token
from p2p.client.question import Endpoint, Payer, Question
from p2p.gossip.host import Network, NetworkConfig, open_network
from p2p.peer.config import DEFAULT_MODEL

TARGET, ASKED = "target.json", "asked.jsonl"
TRIES = 4  # peers that are asked one after another
CONNECT_S = 15.0
PAUSE_S = 0.5  # before the next peer is asked


class Target(Struct, frozen=True):
    """What the client is told of the network and of its work."""

    addresses: tuple[str, ...]  # of peers that take requests
    rate: float  # questions a second
    max_tokens: int
    patience_s: float
    at_once: int
    seed: int


@dataclass(slots=True)
class Answer:
    """One question and what became of it. Times are seconds since 1970; ids are hexadecimal."""

    asked: float
    tries: int = 0
    first_s: float | None = None  # to the first token
    took_s: float = 0.0
    tokens: int = 0
    id: str = ""  # of the inference, where there is a receipt
    executor: str = ""
    error: str = ""


class Client:
    def __init__(self, target: Target, genesis: Genesis, payer: Payer, network: Network, out: IO[str]) -> None:
        self._target, self._genesis, self._payer, self._network, self._out = target, genesis, payer, network, out
        self._rng = random.Random(target.seed)
        self._places = trio.CapacityLimiter(target.at_once)

    async def run(self) -> None:
        """Ask at the target's rate until cancelled."""
        began, number = trio.current_time(), 0
        async with trio.open_nursery() as nursery:
            while True:
                nursery.start_soon(self._one, number)
                number += 1
                await trio.sleep_until(began + number / self._target.rate)

    async def _one(self, number: int) -> None:
        answer = Answer(time.time())
        tries = self._rng.sample(self._target.addresses, min(TRIES, len(self._target.addresses)))
        try:
            with trio.fail_after(self._target.patience_s):
                async with self._places:
                    await self._ask(number, tries, answer)
        except trio.TooSlowError:
            answer.error = answer.error or f"no end within {self._target.patience_s:g} s"
        answer.took_s = time.time() - answer.asked
        self._out.write(json.dumps(asdict(answer)) + "\n")
        self._out.flush()

    async def _ask(self, number: int, addresses: Sequence[str], answer: Answer) -> None:
        """Ask one peer after another until one gives an answer."""
        question = Question(DEFAULT_MODEL, one_message(f"Question {number}: what is {number} plus one?"),
                            max_tokens=self._target.max_tokens)
        for address in addresses:
            answer.tries += 1
            answer.tokens, answer.first_s = 0, None
            to = Endpoint(address, self._genesis)
            try:
                if to.peer_id not in self._network.connected():
                    with trio.move_on_after(CONNECT_S):
                        await self._network.connect(address)
                async for event in ask_over(self._network, to, question, self._payer, patience=1):
                    if isinstance(event, Token):
                        answer.first_s = answer.first_s or time.time() - answer.asked
                        answer.tokens += 1
                    elif isinstance(event, Done):
                        receipt = event.receipt
                        answer.id, answer.executor = receipt.inference_id.hex(), receipt.executor.hex()
                        answer.error = "; ".join(receipt.problems)
                        return
                answer.error = "the stream ended without a receipt"
            except FolkmootError as error:
                answer.error = f"{type(error).__name__}: {error}"[:300]
            await trio.sleep(PAUSE_S)


async def serve(folder: Path) -> None:
    target = msgspec.json.decode((folder / TARGET).read_bytes(), type=Target)
    genesis = load_genesis(folder / "genesis.cbor")
    config = NetworkConfig(Key.generate(), genesis.network, (), (), expected_size=4, min_connections=0)
    with (folder / ASKED).open("a") as out:
        async with open_network(config, topic_handlers={}, stream_handlers={}) as network:
            client = Client(target, genesis, Payer.load(folder), network, out)
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(client.run)
                    async for _ in signals:
                        nursery.cancel_scope.cancel()
                        break


def main() -> int:
    keep_private()
    run_async(serve, Path(sys.argv[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
