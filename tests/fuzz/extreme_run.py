"""Sends signed messages with border values to one peer: each kind, each field, each value, each sender.

Law: no input costs more than its budget, none raises anything but a typed error, and afterwards the chain still grows.

`python -m tests.fuzz.extreme_run [--every N] [--kind NAME] [--memory]`; `make fuzz` runs all of it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from p2p.base.codec import Message
from p2p.base.errors import FolkmootError
from p2p.base.outcome import Outcome
from tests.fuzz.extremes import variants
from tests.fuzz.kind import Kind
from tests.fuzz.meter import Budget, Cost, metered
from tests.fuzz.signed import all_kinds
from tests.fuzz.world import WHO, Spent, World

# Lines and bytes for an input, in addition to its share by size. A record or an account transaction pays for its whole
# block: some 9,000 lines, and up to twice that for the most expensive honest ones.
BUDGET = Budget(lines=20_000, lines_per_byte=12.0, bytes_held=1 << 19, held_per_byte=8.0)
CHAIN_EVERY = 10  # inputs that were not accepted, after which the chain has to grow; after an accepted one at once


@dataclass(slots=True)
class Result:
    """What a run found."""

    inputs: int = 0
    unencodable: int = 0  # variants that have no encoding
    bad: list[str] = field(default_factory=list)  # sentences
    dearest: dict[str, tuple[int, str]] = field(default_factory=dict)  # kind -> (lines, name) of its dearest input
    heaviest: dict[str, tuple[int, str]] = field(default_factory=dict)  # kind -> (bytes, name); bytes -1: not measured
    outcomes: Counter[Outcome] = field(default_factory=Counter)


def cases(original: Message) -> Iterator[tuple[str, Message]]:
    """The original, then every variant of it."""
    yield "original", original
    yield from variants(original)


def try_one(
    world: World, kind: Kind, who: str, name: str, message: Message, result: Result, *, memory: bool
) -> Outcome | None:
    """The outcome of one variant; None where it has no encoding or raised. Raises Spent: it needs a fresh world."""
    title = f"{kind.name}: {name} by a {who}"
    try:
        data, take = kind.send(world, WHO[who], message)
    except (FolkmootError, OverflowError, ValueError, TypeError):
        result.unencodable += 1  # no peer can send what has no encoding
        return None
    lines, held = BUDGET.for_size(len(data))
    cost, outcome = Cost(), None
    try:
        with metered(cost, lines, memory=memory):
            outcome = take()
    except Exception as error:  # whatever it is, no peer's bytes may cause it
        result.bad.append(f"{title}: {type(error).__name__}: {error}")
    result.inputs += 1
    if outcome is not None:
        result.outcomes[outcome] += 1
    if cost.over:
        result.bad.append(f"{title}: more than {lines} lines for {len(data)} bytes")
    if cost.signatures > kind.signatures:
        result.bad.append(f"{title}: {cost.signatures} signatures verified, {kind.signatures} allowed")
    if cost.held > held:
        result.bad.append(f"{title}: {cost.held} bytes held for {len(data)} bytes, {held} allowed")
    result.dearest[kind.name] = max(result.dearest.get(kind.name, (0, "")), (cost.lines, title))
    result.heaviest[kind.name] = max(result.heaviest.get(kind.name, (0, "")), (cost.held, title))
    return outcome


def run_kind(
    kind: Kind, who: str, directory: Path, result: Result, *, every: int = 1, first: int = 0, memory: bool = False
) -> None:
    """Try all variants of one kind by one sender, or each `every`-th from number `first`.

    A world that is spent or broken is replaced; in a fresh world the original can always be made.
    """
    worlds = (World(directory / str(number)) for number in count())
    world = next(worlds)
    names = [name for name, _ in cases(kind.make(world, WHO[who]))]
    chosen = [(number, name) for number, name in enumerate(names) if number % every == first % every]
    for number, name in chosen:
        for fresh in (False, True):
            if fresh:
                world.close()
                world = next(worlds)
            try:
                last = name == chosen[-1][1]
                _one_more(world, kind, who, name, result, grow=last or number % CHAIN_EVERY == 0, memory=memory)
                break
            except Spent as error:
                if fresh:
                    result.bad.append(f"{kind.name}: {name} by a {who} cannot be made: {error}")
            except AssertionError as error:
                result.bad.append(f"{kind.name}: after {name} by a {who}: {error}")
    world.close()


def _one_more(world: World, kind: Kind, who: str, name: str, result: Result, *, grow: bool, memory: bool) -> None:
    """Try the variant of this name of an original that is valid now; heights and nonces move, so there may be none."""
    message = next((one for found, one in cases(kind.make(world, WHO[who])) if found == name), None)
    known = len(result.bad)
    outcome = try_one(world, kind, who, name, message, result, memory=memory) if message is not None else None
    if outcome is Outcome.ACCEPT:
        kind.after(world, WHO[who])
    if outcome is Outcome.ACCEPT or grow:
        world.grow()
    assert len(result.bad) == known or outcome is not None, "this world is broken"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.extreme_run", description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="each N-th variant only")
    parser.add_argument("--kind", default="", help="only kinds whose name contains this")
    parser.add_argument("--memory", action="store_true", help="measure memory too (four times slower)")
    options = parser.parse_args()
    total = Result()
    for kind in all_kinds():
        if options.kind not in kind.name:
            continue
        result = Result()
        for who in WHO:
            with tempfile.TemporaryDirectory(prefix="folkmoot-extremes-") as folder:
                run_kind(kind, who, Path(folder), result, every=options.every, memory=options.memory)
        lines, title = result.dearest.get(kind.name, (0, "-"))
        held = result.heaviest.get(kind.name, (-1, ""))[0]
        more = f", at most {held >> 10} KiB held" if held >= 0 else ""
        accepted = result.outcomes[Outcome.ACCEPT]
        found = f"{result.inputs:6} inputs, {accepted:5} accepted, dearest {lines:7} lines{more}"
        print(f"{kind.name:44}{found}  ({title})", flush=True)
        for sentence in result.bad[:10]:
            print(f"  BAD {sentence}", flush=True)
        total.inputs += result.inputs
        total.unencodable += result.unencodable
        total.bad += result.bad
    print(f"{total.inputs} inputs, {total.unencodable} that have no encoding, {len(total.bad)} bad")
    return 1 if total.bad else 0


if __name__ == "__main__":
    sys.exit(main())
