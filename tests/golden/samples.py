"""One fixed example of every wire message, built from its declared types.

Law: no randomness; the value of a field shows its place in the struct.
"""

from __future__ import annotations

import importlib
from typing import Any

import msgspec

from p2p.base.codec import Message
from p2p.base.types import VERSION

MODULES = (
    "p2p.base.types", "p2p.base.genesis", "p2p.consensus.messages", "p2p.consensus.guard",
    "p2p.consensus.evidence", "p2p.wire.frames", "p2p.verification.artifact", "p2p.ledger.state.records",
    "p2p.ledger.state.committee", "p2p.ledger.state.snapshot", "p2p.ledger.state.proofs", "p2p.consensus.wire",
    "p2p.consensus.light", "p2p.verification.sequential", "p2p.chain.proofs.state", "p2p.ledger.rules.ops",
    "p2p.ledger.money.accounts", "p2p.ledger.governance", "p2p.ledger.participants.serving",
    "p2p.chain.proofs.serving", "p2p.consensus.compact", "p2p.ledger.participants.sprint",
    "p2p.consensus.vote_frames",
)


def kinds() -> dict[str, type[Message]]:
    """Every Message subclass by module and name."""
    found: dict[str, type[Message]] = {}
    for name in MODULES:
        for value in vars(importlib.import_module(name)).values():
            if not (isinstance(value, type) and issubclass(value, Message)):
                continue
            if value is not Message and value.__module__ == name:
                found[f"{name}.{value.__name__}"] = value
    return found


def sample(kind: type[Message]) -> Message:
    value = _value(msgspec.inspect.type_info(kind), 1)
    assert isinstance(value, kind)
    return value


def _value(info: Any, place: int) -> Any:
    inspect = msgspec.inspect
    match info:
        case inspect.StructType():
            # the version in force: a peer refuses every other version
            return info.cls(*(
                VERSION if field.name == "version" else _value(field.type, at)
                for at, field in enumerate(info.fields, 1)
            ))
        case inspect.IntType():
            return min(max(place, info.ge or 0), info.le if info.le is not None else place)
        case inspect.StrType():
            return f"s{place}"
        case inspect.BytesType():
            return bytes([place]) * (info.min_length or 3)
        case inspect.BoolType():
            return place % 2 == 1
        case inspect.EnumType():
            return next(iter(info.cls))
        case inspect.VarTupleType():
            return (_value(info.item_type, place),)
        case inspect.TupleType():
            return tuple(_value(item, at) for at, item in enumerate(info.item_types, place))
        case inspect.UnionType():
            return _value(next(t for t in info.types if not isinstance(t, inspect.NoneType)), place)
    raise AssertionError(f"no sample for {info}")
