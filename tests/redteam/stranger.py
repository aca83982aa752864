"""`python -m tests.redteam.stranger NAME TARGET.json`: one attack in a process of its own, until it is stopped. Prints `ready` once it begins."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

import trio

from tests.redteam.target import Target

NICENESS = 19  # an attacker on another machine would not take the victims' processors


def main(name: str, file: str) -> None:
    os.nice(NICENESS)
    attack = import_module(f"tests.redteam.strangers.{name}").attack
    print("ready", flush=True)
    trio.run(attack, Target.load(Path(file)))


if __name__ == "__main__":
    main(*sys.argv[1:])
