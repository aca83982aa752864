"""`python -m tests.redteam.stranger NAME TARGET.json`: runs one attack in a process of its own until it is stopped.

It prints `ready` when it begins, then a line of JSON each second: what it has done so far. An attacker that does
nothing proves nothing, so whoever measures looks at that.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path

import trio

from testnet.processes import give_way
from tests.redteam.target import DEEDS, Target

REPORT_S = 1.0


def main(name: str, file: str) -> None:
    give_way(os.getpid())  # an attacker on another machine would not take the victims' processors
    attack = import_module(f"tests.redteam.strangers.{name}").attack
    target = Target.load(Path(file))
    print("ready", flush=True)
    trio.run(_reporting, attack, target)


async def _reporting(attack: Callable[[Target], Awaitable[None]], target: Target) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attack, target)
        while True:
            await trio.sleep(REPORT_S)
            print(json.dumps(DEEDS), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
