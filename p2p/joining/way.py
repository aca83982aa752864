"""Follows a peer on its way into the network: connected, in step with the chain, serving, paid.

Law: it asks the peer and changes nothing; every wait says what it waits for, and says so again when that changes.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import trio

from p2p.base.errors import FolkmootError, Unavailable
from p2p.wire.answers.network import EarningsAnswer
from p2p.wire.answers.reading import read

LOOK_S = 0.5  # between two looks at the peer
CURRENT_MS = 15_000  # a newest block that is not older is the network's newest, or nearly
Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
Say = Callable[[str, str], None]  # (step, sentence)


@dataclass(slots=True)
class Way:
    """The way of one peer. say: is told each step, and each change on the way to it."""

    ask: Ask
    say: Say
    clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    _said: str = ""

    async def connected(self) -> dict[str, Any]:
        """Wait until somebody of the network is connected. Returns the peer's status."""
        while True:
            status = await self._status()
            if status["connections"]:
                self._done("peers", f"{status['connections']} connected")
                return status
            self._change("peers", str(status.get("alone") or "looking for peers"))
            await trio.sleep(LOOK_S)

    async def in_step(self) -> dict[str, Any]:
        """Wait until the peer has the network's newest block, or nearly."""
        while True:
            status = await self._status()
            age_ms = self.clock_ms() - int(status["last_time_ms"])
            if status["height"] and age_ms < CURRENT_MS:
                base = status["base"]
                since = "from the first block" if base <= 1 else f"by the snapshot below block {base}"
                self._done("chain", f"in step at height {status['height']}, {since}")
                return status
            where = f"height {status['height']}, {max(0, age_ms) // 1000} s old" if status["height"] else "no block yet"
            self._change("chain", f"catching up: {where}", change=str(status["base"]))
            await trio.sleep(LOOK_S)

    async def serving(self) -> None:
        """Wait until the ML node is tested and ready."""
        while True:
            status = await self._status()
            if status["state"] == "ready":
                self._done("engine", str(status["said"]) or "ready")
                return
            self._change("engine", str(status["said"]) or "starting")
            await trio.sleep(LOOK_S)

    async def first_credit(self, node: str, epoch_blocks: int) -> int:
        """Wait until an answer of `node` is booked, and then until its epoch has paid. Returns the micro-credits."""
        first = (await self._status())["height"] // epoch_blocks
        while True:
            height, booked = (await self._status())["height"], False
            for epoch in range(first, height // epoch_blocks + 1):
                page = await self._earnings(epoch, node)
                if page is None:
                    continue
                own, settled = page.own, page.sums.settled_at
                if settled and own.paid_micro:
                    self._done("paid", f"{own.paid_micro} micro-credits for epoch {epoch}, at height {settled}")
                    return int(own.paid_micro)
                if settled:
                    first = epoch + 1
                elif own.fees_micro:
                    booked = True
                    when = f"to be paid when epoch {epoch} ends, at height {page.last_height}"
                    text = f"first credit: {own.fees_micro} micro-credits booked, {when}"
                    self._change("credit", text, change="booked")
            if not booked:
                self._change("credit", await self._waits_for(node, height, epoch_blocks))
            await trio.sleep(LOOK_S)

    async def _waits_for(self, node: str, height: int, epoch_blocks: int) -> str:
        """Why there is no credit yet."""
        rows = (await self.ask({"op": "verification"}))["participants"]
        weight = next((row["weight"] for row in rows if row["node"] == node), 0)
        if weight:
            return f"weight {weight}: waiting to be drawn for a first answer"
        end = (height // epoch_blocks + 1) * epoch_blocks
        return f"no weight yet: the sprint of an epoch gives it for the next one, which begins at height {end}"

    async def _earnings(self, epoch: int, node: str) -> EarningsAnswer | None:
        """None: the peer cannot say yet."""
        try:
            asked = {"op": "earnings", "epoch": epoch, "node": node, "start": 0}
            return read(EarningsAnswer, await self.ask(asked), "earnings", "this peer")
        except FolkmootError:
            return None

    async def _status(self) -> dict[str, Any]:
        """Of the peer; one that has only just started is waited for."""
        try:
            return await self.ask({"op": "status"})
        except Unavailable:
            await trio.sleep(LOOK_S)
            return await self.ask({"op": "status"})

    def _done(self, step: str, text: str) -> None:
        self._said = ""
        self.say(step, text)

    def _change(self, step: str, text: str, change: str | None = None) -> None:
        """Say it if it is new. change: what counts as new, where the sentence changes all the time."""
        mark = f"{step} {text if change is None else change}"
        if mark != self._said:
            self._said = mark
            self.say(step, text)
