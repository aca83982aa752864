"""How far a peer that starts is behind its network, with the time that is left.

Law: it only looks. The measure is the time of blocks: what is behind is the time from the newest block here until now.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from p2p.base.limits import STALE_TIP_S
from p2p.cli.terminal.progress import Progress, duration

if TYPE_CHECKING:
    from p2p.peer.node import Node

LOOK_S = 1.0


def sync_task(say: Callable[[str], None], *, quiet: bool) -> Callable[[Node], Awaitable[None]]:
    """What run_node's `load` takes. say: takes the sentence that the peer has caught up."""

    async def run(node: Node) -> None:
        begun, first_ms = time.monotonic(), node.chain.last_time_ms()
        if not first_ms or _behind_s(node) < STALE_TIP_S:
            return
        with contextlib.suppress(OSError, ValueError), Progress("catching up", unit="s of blocks", quiet=quiet) as bar:
            while (behind_s := _behind_s(node)) >= STALE_TIP_S:
                done_s = (node.chain.last_time_ms() - first_ms) / 1000
                bar.at(done_s, f"height {node.chain.height()}", total=done_s + behind_s)
                await trio.sleep(LOOK_S)
        say(f"caught up at height {node.chain.height()} in {duration(time.monotonic() - begun)}")

    return run


def _behind_s(node: Node) -> float:
    return time.time() - node.chain.last_time_ms() / 1000
