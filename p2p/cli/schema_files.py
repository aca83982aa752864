"""JSON Schemas of what each command prints with --json: `python -m p2p.cli.schema_files` writes the files `schemas/`.

Law: made from types (shapes.py, wire/answers, client/events.py). A test compares the files, and another holds real
answers against them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from p2p.cli import shapes
from p2p.client import events
from p2p.wire.answers.blocks import BlockAnswer
from p2p.wire.answers.inferences import InferenceAnswer
from p2p.wire.answers.network import GovernanceAnswer, SprintAnswer, VerificationAnswer
from p2p.wire.answers.status import OwnerStatus, PeersAnswer

FOLDER = Path(__file__).parent / "schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TALK = ("stopped", "verdict", "help", "models", "cost", "proof", "saved", "new", "error")  # events of `chat`

ONE: dict[str, Any] = {  # words of a command -> its type
    "errors": shapes.Errors, "init": shapes.Made, "status": OwnerStatus, "peers": PeersAnswer,
    "verification": VerificationAnswer, "sprint": SprintAnswer, "block": BlockAnswer, "inference": InferenceAnswer,
    "earnings": shapes.EarningsShown, "account show": shapes.AccountShown,
    **{f"account {action}": shapes.OnChain for action in (
         "transfer", "register", "unregister", "rotate", "deposit", "withdraw", "delegate", "revoke", "appeal", "cap",
    )},
    "governance propose": shapes.OnChain, "governance vote": shapes.OnChain, "governance list": GovernanceAnswer,
    "model describe": shapes.ModelDescribed, "model add": shapes.OnChain,
    **{f"ml {action}": shapes.MlNodes for action in ("list", "add", "drain", "remove")},
    "verify-header": shapes.Headers, "prove": shapes.ProofShown, "verify": shapes.Checked,
    "doctor": shapes.DoctorShown, "ping": shapes.Pinged,
    **{f"key {action}": shapes.KeyShown for action in ("show", "lock", "unlock")}, "key consent": shapes.ConsentShown,
    "drain": shapes.Drained, "backup": shapes.BackedUp,
    "restore": shapes.Restored, "store migrate": shapes.Migrated, "config check": shapes.ConfigChecked,
    "config show": dict[str, Any], "service show": shapes.UnitShown, "service install": shapes.UnitChanged,
    "service uninstall": shapes.UnitChanged, "attack": list[shapes.AttackRow] | dict[str, Any],
    "calibrate": shapes.Calibrated, "simulate": shapes.Simulated, "testnet up": shapes.Up,
    "testnet demo": shapes.Demo, "testnet down": shapes.Stopped, "testnet run": shapes.RunShown,
    "testnet report": shapes.RunShown, "testnet write": shapes.Written, "testnet generate": shapes.Manifest,
    "testnet ls": shapes.Manifests, "testnet logs": shapes.LogLines, "testnet exec": shapes.Executed,
    "help": shapes.HelpShown, "completion": shapes.CompletionShown, "debug bundle": shapes.BundleShown,
}
LINES: dict[str, Any] = {  # those that print one value a line
    "serve": shapes.State, "lab-peer": shapes.State, "gateway": shapes.Listening, "join": shapes.JoinStep,
    "top": shapes.TopShown, "explorer": shapes.ExplorerListens,
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
