"""The tables of a manifest.

Law: data only. Every bound that concerns one value stands here; rules between tables are in rules.py.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

MAX_PEERS = 64
ROLES = ("validator", "host", "agent", "bootstrap", "client")
ENGINES = ("none", "simulated", "vllm", "torch")

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
Number = Annotated[int, Meta(ge=1, le=MAX_PEERS)]
Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Milliseconds = Annotated[float, Meta(ge=0, le=60_000)]
Percent = Annotated[float, Meta(ge=0, le=100)]
Heights = Annotated[int, Meta(ge=1, le=1_000_000)]
Role = Literal["validator", "host", "agent", "bootstrap", "client"]
Engine = Literal["none", "simulated", "vllm", "torch"]


class Table(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file; unknown keys are errors."""


class Network(Table, frozen=True):
    """Rules of the genesis file, and settings of every peer."""

    epoch_blocks: Heights = 200
    validation_window: Heights = 60
    reveal_window: Heights = 20
    appeal_window: Annotated[int, Meta(ge=0, le=1_000_000)] = 20
    sprint: bool = False  # weights come from a short sprint at the beginning of each epoch
    settings: dict[str, Any] = {}  # of every peer's config.toml


class Peers(Table, frozen=True):
    """A group of equal peers: NAME1, NAME2, ..."""

    name: Name
    role: Role
    count: Number = 1
    region: Name = ""
    engine: Engine = "none"
    villain: str = ""  # an attack of `folkmoot attack --list`
    registered: bool = True  # in the genesis file
    later: bool = False  # not started with the others; a perturbation starts it
    release: Literal["this", "previous"] = "this"
    nat: bool = False  # behind a router that lets nobody in
    memory_mib: Annotated[int, Meta(ge=64, le=1 << 20)] | None = None
    cpus: Annotated[float, Meta(ge=0.05, le=1024)] | None = None
    settings: dict[str, Any] = {}  # of these peers' config.toml


class Link(Table, frozen=True):
    """What lies between two regions, in both directions. Within a region the link from it to itself counts."""

    between: Annotated[tuple[Name, ...], Meta(min_length=2, max_length=2)]
    latency_ms: Milliseconds = 0.0  # one way
    jitter_ms: Milliseconds = 0.0  # up to so much more or less
    loss_percent: Percent = 0.0
    mbit: Annotated[float, Meta(gt=0, le=100_000)] | None = None  # of one peer to that region; None: as fast as it goes


class Load(Table, frozen=True):
    """What the clients ask together."""

    rate: Annotated[float, Meta(gt=0, le=1000)] = 0.5  # questions a second
    max_tokens: Annotated[int, Meta(ge=1, le=4096)] = 16
    patience_s: Seconds = 90.0  # a question without an end after it counts as not answered
    at_once: Annotated[int, Meta(ge=1, le=256)] = 16  # more wait


class Perturbation(Table, frozen=True):
    """Something that is done to the network while it is under load."""

    at_s: Seconds  # after the load began
    kind: str  # one of kinds.KINDS
    peers: tuple[str, ...] = ()  # selectors (selectors.py)
    for_s: Seconds | None = None  # then it is undone; None: it is not
    against: tuple[str, ...] = ()  # the other side of a cut; empty: everybody else
    latency_ms: Milliseconds = 0.0
    jitter_ms: Milliseconds = 0.0
    loss_percent: Percent = 0.0
    mbit: Annotated[float, Meta(gt=0, le=100_000)] | None = None
    offset_ms: Annotated[float, Meta(ge=-3_600_000, le=3_600_000)] = 0.0  # of a clock
    processes: Annotated[int, Meta(ge=1, le=1000)] = 40  # that compute for nobody, in an overload
    writes_a_second: Annotated[int, Meta(ge=1, le=100_000)] = 20  # of a slow disk


class Checks(Table, frozen=True):
    """What must hold. A switch that is off leaves its check out."""

    heal_s: Seconds = 90.0  # within this time after each perturbation's end every height must grow
    no_fork: bool = True
    acknowledged: bool = True  # every answer that a client has a receipt for is settled, refunded or pending
    sums: bool = True  # each epoch's money balances
    verdicts: bool = True  # villains are convicted, nobody else is
    answered_percent: Percent = 0.0  # least share of questions that get an answer
    connections: Annotated[int, Meta(ge=0, le=MAX_PEERS)] | None = None  # of each peer; None: what its size asks for
    memory_mib: Annotated[int, Meta(ge=32, le=1 << 20)] = 400  # of a peer
    files: Annotated[int, Meta(ge=16, le=1 << 20)] = 1024  # open files of a peer


class Manifest(Table, frozen=True):
    """A whole test network and what is done to it."""

    name: Name
    about: str
    seconds: Annotated[float, Meta(ge=1, le=86_400)]  # of load
    peers: Annotated[tuple[Peers, ...], Meta(min_length=1, max_length=32)]
    seed: Annotated[int, Meta(ge=0, le=2**62)] = 0  # of every choice by chance
    provider: Literal["local", "containers"] = "local"
    start_s: Seconds = 300.0  # limit for the mesh to be complete
    settle_s: Seconds = 120.0  # limit after the load for answers to come to an end
    network: Network = Network()
    regions: Annotated[tuple[Name, ...], Meta(max_length=32)] = ()
    links: Annotated[tuple[Link, ...], Meta(max_length=256)] = ()
    load: Load | None = None
    perturbations: Annotated[tuple[Perturbation, ...], Meta(max_length=256)] = ()
    checks: Checks = Checks()
