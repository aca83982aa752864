"""What commands print with --json, where that is no peer's answer, as types.

Law: data only; one shape a command. schema_files.py makes JSON Schemas of them.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from p2p.wire.answers.accounts import AccountAnswer, HeldAnswer, Taken
from p2p.wire.answers.network import EarningsAnswer


class Error(Struct, omit_defaults=True):
    code: str  # a stable name: folkmoot help exit-codes
    field: str  # the option or field that is wrong; empty: none
    message: str
    retry_after: int = 0  # heights, of `overloaded`


class Errors(Struct):
    """Of any command, on standard error."""

    error: Error


class Made(Struct):
    dir: str
    peer_id: str
    node: str
    account: str


class AccountShown(AccountAnswer, frozen=True):
    held: HeldAnswer | None = None  # None: the peer is of an earlier version


class OnChain(Taken, frozen=True, omit_defaults=True):
    """A transaction that was taken, and what became of it, where that was waited for."""

    state: str = ""
    code: str = ""
    field: str = ""
    reason: str = ""


class EarningsShown(EarningsAnswer, frozen=True, kw_only=True):
    balanced: bool  # whether rule M12 holds


class ModelDescribed(Struct):
    model: str
    weights_hash: str
    tokenizer_hash: str
    template_hash: str
    template_tokens: str
    vocabulary: int
    end_tokens: str
    context_tokens: int
    tool_format: str
    precision: str
    price_micro: int
    profile_hash: str


class MlNodeShown(Struct, omit_defaults=True):
    name: str
    model: str
    where: str
    state: str
    max_jobs: int
    said: str = ""
    jobs: int = 0
    starts: int = 0
    kv_tokens: int | None = None
    kv_usage: float | None = None
    engine_running: int | None = None
    engine_waiting: int | None = None


class MlNodes(Struct):
    ml_nodes: list[MlNodeShown]


class TrustedHeader(Struct):
    height: int
    block_id: str
    time_ms: int
    app_hash: str
    signatures: int
    validators: int


class Headers(Struct):
    trusted: list[TrustedHeader]


class ProofShown(Struct):
    kind: str
    id: str
    height: int
    header: int
    block_id: str
    record: Any
    left_epoch: int | None
    siblings: int
    headers: int


class TokenShown(Struct):
    position: int
    token: int
    published: float
    own: float
    margin: float
    distance: float
    text: str


class Checked(Struct):
    """`verify`."""

    inference_id: str
    executor: str
    stack: str
    valid: bool
    problems: list[str]
    notes: list[str]
    report: dict[str, Any] | None
    tokens: list[TokenShown]


class FindingShown(Struct):
    name: str
    state: str
    text: str
    fix: str


class DoctorShown(Struct):
    ok: bool
    running: bool
    checks: list[FindingShown]


class StepShown(Struct):
    step: str
    state: str
    text: str
    fix: str
    ms: float


class Pinged(Struct):
    ok: bool
    steps: list[StepShown]


class JoinStep(Struct):
    """A line of `join`."""

    step: str
    text: str
    seconds: float


class KeyShown(Struct, omit_defaults=True):
    file: str
    public: str
    locked: bool
    peer_id: str = ""


class ConsentShown(Struct):
    consent: str  # NODE:SIGNATURE


class ExplorerListens(Struct, tag="listening", tag_field="event"):
    url: str


class Drained(Struct):
    ended: bool
    seconds: float
    left_at_first: dict[str, int]


class BackedUp(Struct):
    file: str
    node: str
    schema: int
    keys: str  # yes or no
    bytes: int


class Restored(Struct):
    dir: str
    node: str
    schema: int
    next: str


class Migrated(Struct, rename={"begins": "from"}):
    begins: int
    to: int
    dry_run: bool
    steps: list[str]


class ConfigChecked(Struct):
    ok: bool
    file: str
    network: str


class UnitShown(Struct):
    file: str
    unit: str


class UnitChanged(Struct):
    file: str
    commands: list[Any]  # that were run, or are to be run


class AttackRow(Struct):
    name: str
    does: str
    caught_by: str
    needs: str
    weights: str


class PairShown(Struct):
    name: str
    alternatives: int
    normaliser_nats: float
    limits_nats: dict[str, float]


class Calibrated(Struct):
    file: str
    profile: str
    pairs: list[PairShown]


class Simulated(Struct):
    about: dict[str, Any]
    assumptions: dict[str, Any]
    scenarios: dict[str, Any]
    attacks: Any
    maps: dict[str, Any]


class Listening(Struct, tag="listening", tag_field="event"):
    url: str
    account: str
    balance_micro: int


class State(Struct):
    """A line of `serve`."""

    state: str  # joining, loading, ready, http, ...
    text: str


class Stopped(Struct):
    stopped: list[str]


class Up(Struct):
    bootstrap: str
    client: str
    peers: list[str]


class Demo(Struct):
    exit_status: int
    dir: str


class Written(Struct):
    written: list[str]


class Manifest(Struct):
    manifest: str  # TOML


class ManifestRow(Struct):
    name: str
    about: str


class RunningRow(Struct):
    name: str
    dir: str


class Manifests(Struct):
    manifests: list[ManifestRow]
    running: list[RunningRow]


class LogLines(Struct):
    lines: list[str]


class Executed(Struct):
    exit_status: int
    stdout: str
    stderr: str


class RunShown(Struct):
    name: str
    seed: int
    provider: str
    good: bool
    checks: list[dict[str, Any]]
    verdicts: list[dict[str, Any]]
    events: list[dict[str, Any]]


class HelpShown(Struct):
    topic: str
    text: str


class CompletionShown(Struct):
    shell: str
    script: str


class BundleShown(Struct):
    file: str
    bytes: int
    parts: list[str]
    missing: list[str]  # what could not be had, with the reason


class TopShown(Struct):
    """One look at a peer, a line each second."""

    time_ms: int
    status: dict[str, Any]
    blocks: list[dict[str, Any]]
    ml_nodes: list[dict[str, Any]]
    gpus: list[dict[str, Any]]
    peers: list[str]
    balance_micro: int | None
    earnings: dict[str, Any] | None
    missing: dict[str, str]  # what could not be asked, with the reason
    requests_a_s: float | None
