"""What `folkmoot ml` asks of a running peer, on the control socket.

Law: a change is in the running peer and in its files, or in neither. Everything else goes to the handler behind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from p2p.base.errors import ConfigError, FolkmootError, InvalidRequest
from p2p.peer.config import from_table
from p2p.peer.control import Handler
from p2p.peer.ml_drained import note_drained
from p2p.peer.ml_nodes import MlNodes
from p2p.peer.ml_settings import DEFAULT, MlNodeSettings, add_entry, check_ml_node, remove_entry


def ml_handler(nodes: MlNodes, otherwise: Handler) -> Handler:
    """Answers ml_list, ml_add {entry}, ml_drain {name, on}, ml_remove {name, now}; each with the list of ML nodes."""
    ops: dict[str, Callable[[dict[str, Any]], None]] = {
        "ml_list": lambda asked: None, "ml_add": lambda asked: _add(nodes, asked),
        "ml_drain": lambda asked: _drain(nodes, asked),
        "ml_remove": lambda asked: _remove(nodes, asked),
    }

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        op = request.get("op")
        if not isinstance(op, str) or op not in ops:
            return otherwise(request)
        try:
            ops[op](request)
        except ConfigError as error:  # here it is the question that is wrong
            raise InvalidRequest(error.message, field=error.field) from error
        return {"ml_nodes": nodes.rows()}

    return handle


def _add(nodes: MlNodes, asked: dict[str, Any]) -> None:
    entry = asked.get("entry")
    if not isinstance(entry, dict):
        raise InvalidRequest("give the ML node's settings as a map", field="entry")
    settings = from_table(MlNodeSettings, entry)
    check_ml_node(settings)
    nodes.add(settings)
    try:
        add_entry(nodes.config.directory / "config.toml", settings)
    except FolkmootError:
        nodes.remove(settings.name, now=True)
        raise


def _drain(nodes: MlNodes, asked: dict[str, Any]) -> None:
    name, on = _name(asked), _flag(asked, "on", default=True)
    nodes.gate.scheduler.is_idle(name)  # raises for an unknown name, before the file is changed
    note_drained(nodes.config.directory, name, on=on)
    nodes.drain(name, on=on)


def _remove(nodes: MlNodes, asked: dict[str, Any]) -> None:
    name = _name(asked)
    if name == DEFAULT:
        raise InvalidRequest(
            "the default ML node is set by ml_node or model_path in config.toml; take these lines out and start the "
            "peer again, or drain it", field="name",
        )
    nodes.gate.scheduler.is_idle(name)  # raises for an unknown name, before the file is changed
    remove_entry(nodes.config.directory / "config.toml", name)
    note_drained(nodes.config.directory, name, on=False)  # another one of that name is another node
    nodes.remove(name, now=_flag(asked, "now", default=False))


def _name(asked: dict[str, Any]) -> str:
    name = asked.get("name")
    if not isinstance(name, str):
        raise InvalidRequest("give the ML node's name", field="name")
    return name


def _flag(asked: dict[str, Any], field: str, *, default: bool) -> bool:
    value = asked.get(field, default)
    if not isinstance(value, bool):
        raise InvalidRequest("give true or false", field=field)
    return value
