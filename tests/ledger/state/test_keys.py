"""The key layout: its bytes are part of the state, and no other file writes a key by hand."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

from p2p.ledger.state import keys

A, M = b"a" * 32, "m"
ARGUMENTS = {"int": 7, "bytes": A, "str": M}
HEIGHT = bytes(7) + b"\x07"
LAYOUT = {
    "account": b"acct/" + A,
    "limits": b"limits/" + A,
    "notices": b"note/" + A,
    "price": b"price/m",
    "use": b"use/" + HEIGHT + b"m",
    "earning": b"earn/" + HEIGHT + A,
    "earners": b"earners/" + HEIGHT,
    "ended": b"ended/" + HEIGHT + A + HEIGHT[4:],
    "epoch_sums": b"epoch/" + HEIGHT,
    "participant": b"part/" + A,
    "conduct": b"stand/" + A,
    "nodes_of": b"nodes/" + A,
    "first_key": b"moved/" + A,
    "key_now": b"line/" + A,
    "held": b"held/" + A,
    "last_owner": b"gone/" + A,
    "past_of_node": b"past/node/" + A,
    "past_of_owner": b"past/owner/" + A,
    "serving_versions": b"serving/m",
    "serving_set": b"serve/m/" + HEIGHT,
    "run": b"run/" + A + b"m",
    "run_named": b"run/" + A,
    "validator_set": b"set/" + A,
    "inference": b"inf/" + A,
    "before_start": b"early/" + A,
    "duties": b"duty/" + A,
    "open_disputes": b"cases/" + A,
    "plant": b"plant/" + A,
    "plants_of": b"plants/" + A,
    "model": b"model/m",
    "model_history": b"model_past/m",
    "proposal": b"prop/" + A,
    "beacon": b"beacon/" + HEIGHT,
    "due": b"due/" + HEIGHT,
    "TOTALS": b"totals",
    "PARTICIPANTS": b"parts",
    "NEWCOMERS": b"new",
    "SPRINT": b"sprint",
    "RUNS": b"runs",
    "NEXT_WEIGHTS": b"weights",
    "OFFENDERS": b"faults",
    "PRIORITIES": b"set/priorities",
    "CHECK_COUNTERS": b"checks",
    "LEAVING": b"leaving",
    "CHECK_RULES": b"rules/checks",
    "ECONOMY_RULES": b"rules/economy",
    "MODELS": b"models",
    "PROPOSALS": b"props",
}
DUE = {
    "DUE_BEFORE_START": b"early:", "DUE_PLANT": b"plant:", "DUE_WITHDRAWAL": b"collat:", "DUE_LEAVE": b"leave:",
    "DUE_PROPOSAL": b"prop:"
}
ROOMS = Path(keys.__file__).parents[2]
LAYOUTS = {"ledger/state/keys.py", "ledger/state/tree.py", "chain/stores/payload_keys.py", "store/keys.py"}
FOREIGN = ("gossip", "inference", "verification", "base", "consensus")  # rooms that know neither state nor store
HASHED = {"digest", "pick"}  # functions that hash their arguments: bytes in them are no keys
NO_KEYS = {"of_number", "run_name"}  # parts of keys


def found() -> dict[str, bytes]:
    """Every entry of the layout, made with the arguments above."""
    result = {}
    for name, value in vars(keys).items():
        if inspect.isfunction(value) and name not in NO_KEYS:
            result[name] = value(
                *(ARGUMENTS[str(one.annotation)] for one in inspect.signature(value).parameters.values())
            )
        elif isinstance(value, bytes):
            result[name] = value
    return result


def prefix(key: bytes) -> bytes:
    return key.partition(b"/")[0] + (b"/" if b"/" in key else b"")


def test_the_bytes_of_every_key_are_pinned() -> None:
    assert found() == LAYOUT | DUE


def test_no_two_entries_share_a_key_and_no_prefix_begins_another() -> None:
    entries = {name: key for name, key in LAYOUT.items() if name != "run_named"}
    assert len(set(entries.values())) == len(entries)
    prefixes = {prefix(key) for key in entries.values()}
    assert not [(a, b) for a in prefixes for b in prefixes if a != b and b.startswith(a)]


def test_what_decides_who_serves_is_watched_and_nothing_else() -> None:
    watched = {name for name, key in LAYOUT.items() if key.startswith(keys.SERVING_FACTS)}
    assert watched == {
        "participant", "PARTICIPANTS", "CHECK_RULES", "ECONOMY_RULES", "MODELS", "model", "model_history"
    }


def written_by_hand(source: str) -> list[bytes]:
    """Bytes literals that look like keys or tags of the layout."""
    tree = ast.parse(source)
    hashed = {
        id(one) for call in ast.walk(tree) if isinstance(call, ast.Call) and getattr(call.func, "id", "") in HASHED
        for one in ast.walk(call)
    }
    literals = [
        node.value for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, bytes) and id(node) not in hashed
    ]
    whole = {key for key in LAYOUT.values() if b"/" not in key}
    shaped = [raw for raw in literals if raw.endswith((b"/", b":")) and raw.strip(b"/:") and b"://" not in raw]
    return [raw for raw in literals if raw in whole] + shaped  # a separator alone and a URL are no keys


def test_no_other_file_writes_a_key_by_hand() -> None:
    wrong = 'view.put(b"acct/" + key, None)\nview.ids(b"parts")\ndigest(b"sprint")'
    assert sorted(written_by_hand(wrong)) == [b"acct/", b"parts"]
    files = {str(path.relative_to(ROOMS)): path for path in ROOMS.rglob("*.py")}
    mine = {name: path for name, path in files.items() if name not in LAYOUTS and not name.startswith(FOREIGN)}
    assert mine.keys() | LAYOUTS == {name for name in files if not name.startswith(FOREIGN)}
    assert len(mine) > 150
    assert {name: found for name, path in mine.items() if (found := written_by_hand(path.read_text()))} == {}
