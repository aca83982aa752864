"""What a run came to. Law: data only; it is written as result.json, and everything the report shows is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from p2p.base.errors import ConfigError
from p2p.base.files import read_file, write_file

FILE = "result.json"
MAX_RESULT = 64 << 20  # bytes
POINTS = 400  # of a curve


class CheckResult(Struct, frozen=True):
    """One check."""

    name: str
    holds: bool
    says: str  # one sentence with the figures
    failures: tuple[str, ...] = ()  # one sentence for each thing that is wrong


class MemberRow(Struct, frozen=True):
    name: str
    role: str
    region: str
    engine: str
    villain: str
    address: str
    node: str  # public key, hexadecimal; empty: none


class EventRow(Struct, frozen=True):
    """Times are seconds since the load began."""

    kind: str
    who: str
    began_s: float
    ended_s: float | None
    healed_s: float | None  # from its end until every height had grown
    error: str


class Curve(Struct, frozen=True):
    """Values over time for the network; None: nobody answered."""

    at_s: tuple[float, ...]
    lowest: tuple[float | None, ...]
    highest: tuple[float | None, ...]


class AnswerRow(Struct, frozen=True):
    asked_s: float
    first_s: float | None
    took_s: float
    tokens: int
    executor: str
    error: str


class VerdictRow(Struct, frozen=True):
    """A participant as the chain judges it at the end."""

    name: str
    villain: str
    answers: int  # that clients have receipts for
    checked: int  # of its answers; of a validator that cheats: its verdicts that were compared with others'
    convicted: str  # the reason; empty: it is not
    strikes: int


class Result(Struct, frozen=True):
    name: str
    about: str
    seed: int
    provider: str
    began: float  # seconds since 1970
    stages: tuple[tuple[str, float], ...]  # name and how long it took, seconds
    checks: tuple[CheckResult, ...]
    members: tuple[MemberRow, ...] = ()
    links: tuple[tuple[str, str], ...] = ()  # pairs of peers that are connected at the end
    events: tuple[EventRow, ...] = ()
    heights: Curve = Curve((), (), ())
    memory_mib: Curve = Curve((), (), ())
    files: Curve = Curve((), (), ())
    cores: Curve = Curve((), (), ())  # used by one peer
    answers: tuple[AnswerRow, ...] = ()
    # name, messages and bytes received by all peers, copies too, bytes a block and peer
    topics: tuple[tuple[str, int, int, float], ...] = ()
    verdicts: tuple[VerdictRow, ...] = ()
    emulator: dict[str, int] = {}  # packets, by what became of them
    fault: str = ""  # planted in a peer on purpose

    @property
    def good(self) -> bool:
        return all(check.holds for check in self.checks)


def write_result(result: Result, directory: Path) -> Path:
    file = directory / FILE
    write_file(file, msgspec.json.format(msgspec.json.encode(result)), field="dir")
    return file


def read_result(directory: Path) -> Result:
    """Raises ConfigError where there is none or it is damaged."""
    raw = read_file(directory / FILE, MAX_RESULT, field="dir")
    try:
        return msgspec.json.decode(raw, type=Result)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{directory / FILE} is damaged: {error}", field="dir") from error


def curve(points: list[tuple[float, list[float]]]) -> Curve:
    """From (seconds, values of the peers that answered), thinned to POINTS."""
    step = max(1, -(-len(points) // POINTS))
    kept = points[::step]
    return Curve(
        tuple(round(at, 2) for at, _ in kept),
        tuple(round(min(values), 2) if values else None for _, values in kept),
        tuple(round(max(values), 2) if values else None for _, values in kept),
    )


def plain(result: Result) -> dict[str, Any]:
    """For --json: the checks and the verdicts."""
    return {
        "name": result.name, "seed": result.seed, "provider": result.provider, "good": result.good,
        "checks": msgspec.to_builtins(result.checks), "verdicts": msgspec.to_builtins(result.verdicts),
        "events": msgspec.to_builtins(result.events),
    }
