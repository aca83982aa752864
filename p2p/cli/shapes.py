"""What each command prints with --json, as types, and the JSON Schemas made of them.

Law: one shape a command. The files in `schemas/` are made from here (`python -m p2p.cli.shapes`), a test compares them,
and another holds real answers against them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from p2p.client import events
from p2p.wire.answers.accounts import AccountAnswer, HeldAnswer, Taken
from p2p.wire.answers.blocks import BlockAnswer
from p2p.wire.answers.inferences import InferenceAnswer
from p2p.wire.answers.network import EarningsAnswer, GovernanceAnswer, SprintAnswer, VerificationAnswer
from p2p.wire.answers.status import OwnerStatus, PeersAnswer

FOLDER = Path(__file__).parent / "schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


# -- shapes that are no peer's answer ---------------------------------------------------------------------------------


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


_TALK = ("stopped", "verdict", "help", "models", "cost", "proof", "saved", "new", "error")  # events of `chat`

ONE: dict[str, Any] = {  # words of a command -> its type
    "errors": Errors, "init": Made, "status": OwnerStatus, "peers": PeersAnswer, "verification": VerificationAnswer,
    "sprint": SprintAnswer, "block": BlockAnswer, "inference": InferenceAnswer, "earnings": EarningsShown,
    "account show": AccountShown,
    **{f"account {action}": OnChain for action in (
        "transfer", "register", "unregister", "rotate", "deposit", "withdraw", "delegate", "revoke", "appeal", "cap",
    )},
    "governance propose": OnChain, "governance vote": OnChain, "governance list": GovernanceAnswer,
    "model describe": ModelDescribed, "model add": OnChain,
    **{f"ml {action}": MlNodes for action in ("list", "add", "drain", "remove")},
    "verify-header": Headers, "prove": ProofShown, "verify": Checked, "doctor": DoctorShown, "ping": Pinged,
    "drain": Drained, "backup": BackedUp, "restore": Restored, "store migrate": Migrated,
    "config check": ConfigChecked, "config show": dict[str, Any],
    "service show": UnitShown, "service install": UnitChanged, "service uninstall": UnitChanged,
    "attack": list[AttackRow] | dict[str, Any], "calibrate": Calibrated, "simulate": Simulated,
    "testnet up": Up, "testnet demo": Demo, "testnet down": Stopped, "testnet run": RunShown,
    "testnet report": RunShown, "testnet write": Written, "testnet generate": Manifest, "testnet ls": Manifests,
    "testnet logs": LogLines, "testnet exec": Executed, "help": HelpShown, "completion": CompletionShown,
    "debug bundle": BundleShown,
}
LINES: dict[str, Any] = {  # those that print one value a line
    "serve": State, "lab-peer": State, "gateway": Listening, "join": JoinStep, "top": TopShown,
}


def schemas() -> dict[str, dict[str, Any]]:
    """words -> schema."""
    found = {words: _made(words, kind) for words, kind in ONE.items()}
    found |= {words: _made(words, kind, lines=True) for words, kind in LINES.items()}
    found["ask"], found["chat"] = _talk("ask", ()), _talk("chat", _TALK)
    return dict(sorted(found.items()))


def _made(words: str, kind: Any, *, lines: bool = False) -> dict[str, Any]:
    made = msgspec.json.schema(kind)
    what = "an error of any command" if words == "errors" else f"folkmoot {words} --json"
    return {"$schema": DIALECT, "title": what + (", each line" if lines else ""), **made}


def _talk(words: str, more: tuple[str, ...]) -> dict[str, Any]:
    """Each line of a command that streams an answer: an event of client/events.py as `plain` writes it, or one of
    the command's own."""
    known: dict[str, dict[str, Any]] = {
        str(kind.__struct_config__.tag): _event(kind) for kind in (
            events.TermsShown, events.Waiting, events.Accepted, events.Trying, events.Busy, events.Declined,
            events.Token, events.PeerFailed, events.Resumed, events.Done,
        )
    }
    known["terms"]["properties"]["most_micro"] = {"type": "integer"}
    known["done"]["properties"]["receipt"] = {
        "type": "object", "required": ["inference_id", "executor", "checked", "problems", "finish_reason"],
    }
    notice = "notice" if words == "ask" else "notices"  # `ask` prints each by itself
    known[notice] = {"type": "object", "properties": {"event": {"const": notice}}, "required": ["event"]}
    for event in more:
        known[event] = {"type": "object", "properties": {"event": {"const": event}}, "required": ["event"]}
    return {"$schema": DIALECT, "title": f"folkmoot {words} --json, each line", "oneOf": list(known.values())}


def _event(kind: Any) -> dict[str, Any]:
    """From the fields of an event: bytes are hexadecimal text."""
    fields: dict[str, Any] = {"event": {"const": kind.__struct_config__.tag}}
    for one in msgspec.structs.fields(kind):
        fields[one.name] = _type(one.type)
    optional = {one.name for one in msgspec.structs.fields(kind) if not one.required}
    return {"type": "object", "properties": fields, "required": [name for name in fields if name not in optional]}


def _type(kind: Any) -> dict[str, Any]:
    if kind is bytes:
        return {"type": "string", "pattern": "^[0-9a-f]*$"}
    if kind == tuple[bytes, ...]:
        return {"type": "array", "items": _type(bytes)}
    simple = {int: "integer", float: "number", str: "string", bool: "boolean"}
    return {"type": simple[kind]} if kind in simple else {}


def file_text(schema: dict[str, Any]) -> str:
    """As it is written."""
    return json.dumps(schema, indent=1) + "\n"


def write() -> None:
    """Make the files anew."""
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.json"):
        old.unlink()
    for words, schema in schemas().items():
        (FOLDER / f"{words.replace(' ', '_')}.json").write_text(file_text(schema))


if __name__ == "__main__":
    write()
