"""ml list, add, drain, remove: the ML nodes of one peer, while it runs or not.

Law: a running peer makes the change and keeps it in its settings; without one the settings alone are changed.
Imports neither libp2p nor trio nor torch.
"""

from __future__ import annotations

import argparse
import socket
from pathlib import Path
from typing import Any

from p2p.base.errors import ConfigError, Unavailable
from p2p.base.limits import CONTROL_ANSWER_S
from p2p.cli.arguments import default_dir, whole
from p2p.cli.output import show
from p2p.machine.foreign_text import line

MOST = 1024  # of any number here; the settings' own limits are checked by the peer
_COLUMNS = ("name", "state", "jobs", "KV cache", "engine", "starts", "model", "where")


def register(commands: Any) -> None:
    ml = commands.add_parser("ml")
    actions = ml.add_subparsers(dest="action", required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="each ML node: its state, jobs, room and what it said last")
    add = actions.add_parser("add", help="serve by one more ML node, from now on and after each start")
    add.add_argument("name", metavar="NAME", help="letters, digits, '.', '_' and '-'; unique in this peer")
    add.add_argument("--model", required=True, metavar="NAME", help="the model's name in the registry")
    where = add.add_mutually_exclusive_group(required=True)
    where.add_argument("--url", metavar="URL", help="a vLLM that runs already: http, https or unix:/PATH")
    where.add_argument("--path", type=Path, metavar="DIR", help="the model's folder: the peer starts vLLM for it")
    add.add_argument("--key-file", type=Path, metavar="FILE", help="the API key of the vLLM at --url")
    add.add_argument("--tokenizer", type=Path, metavar="FILE", help="the model's tokenizer.json, if not in --path")
    add.add_argument("--flag", action="append", default=[], metavar="FLAG",
                     help="for vLLM, such as --flag=--device-ids=0,1; may be repeated")
    add.add_argument("--tensor-parallel", type=whole(1, MOST), default=1, metavar="N",
                     help="devices that each layer is spread over (default: %(default)s)")
    add.add_argument("--pipeline-parallel", type=whole(1, MOST), default=1, metavar="N",
                     help="groups of layers on devices of their own (default: %(default)s)")
    add.add_argument("--max-jobs", type=whole(1, MOST), metavar="N", help="jobs at once (default: 16)")
    drain = actions.add_parser("drain", help="give it nothing new; what runs there ends")
    drain.add_argument("--undo", action="store_true", help="give it work again")
    remove = actions.add_parser("remove", help="drain it, stop it when it is idle, and forget it")
    remove.add_argument("--now", action="store_true", help="stop it at once: what runs there goes to other peers")
    for one in (drain, remove):
        one.add_argument("name", metavar="NAME", help="its name, as `folkmoot ml list` prints it")
    for one, run in ((listed, run_list), (add, run_add), (drain, run_drain), (remove, run_remove)):
        one.add_argument(
            "--dir", type=Path, default=default_dir(), help="the peer's folder (default: %(default)s)"
        )
        one.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
        one.set_defaults(run=run)


def run_list(options: argparse.Namespace) -> int:
    if (answer := _asked(options, {"op": "ml_list"})) is None:
        answer = {"ml_nodes": _settings(options.dir)}
    return _shown(options, answer)


def run_add(options: argparse.Namespace) -> int:
    """Raises ConfigError, InvalidRequest."""
    entry: dict[str, Any] = {
        "name": options.name, "model": options.model, "url": options.url, "flags": options.flag,
        "tensor_parallel": options.tensor_parallel, "pipeline_parallel": options.pipeline_parallel,
        "max_jobs": options.max_jobs,
        # absolute: the peer runs in another folder
        **{name: str(file.absolute()) if (file := getattr(options, name)) else None
           for name in ("path", "key_file", "tokenizer")},
    }
    entry = {name: value for name, value in entry.items() if value not in (None, [])}
    if (answer := _asked(options, {"op": "ml_add", "entry": entry})) is None:
        answer = {"ml_nodes": _add(options.dir, entry)}
    return _shown(options, answer)


def run_drain(options: argparse.Namespace) -> int:
    answer = _asked(options, {"op": "ml_drain", "name": options.name, "on": not options.undo})
    if answer is None:
        raise Unavailable(f"no peer runs in {options.dir}, so there is nothing to drain", field="dir")
    return _shown(options, answer)


def run_remove(options: argparse.Namespace) -> int:
    from p2p.peer.ml_drained import note_drained
    from p2p.peer.ml_settings import remove_entry

    answer = _asked(options, {"op": "ml_remove", "name": options.name, "now": options.now})
    if answer is None:
        if not remove_entry(_file(options.dir), options.name):
            raise ConfigError(f"{_file(options.dir)} names no ML node {options.name[:80]!r}", field="name")
        note_drained(options.dir, options.name, on=False)
        answer = {"ml_nodes": _settings(options.dir)}
    return _shown(options, answer)


# -- without a peer --------------------------------------------------------------------------------------------------


def _file(directory: Path) -> Path:
    file: Path = directory / "config.toml"
    if not file.exists():
        raise ConfigError(f"cannot read {file}; make it with: folkmoot join NETWORK --dir {directory}", field="dir")
    return file


def _settings(directory: Path) -> list[dict[str, Any]]:
    """What the settings name."""
    from p2p.peer.config import load_config

    return [
        {"name": one.name, "model": one.model, "where": one.where, "state": "not running", "max_jobs": one.max_jobs}
        for one in load_config(directory).every_ml_node
    ]


def _add(directory: Path, entry: dict[str, Any]) -> list[dict[str, Any]]:
    from p2p.peer.config import from_table, load_config
    from p2p.peer.ml_settings import MlNodeSettings, add_entry, check_ml_nodes

    settings = from_table(MlNodeSettings, entry)
    check_ml_nodes((settings,), tuple(one.name for one in load_config(directory).every_ml_node))
    add_entry(_file(directory), settings)
    return _settings(directory)


def _asked(options: argparse.Namespace, request: dict[str, Any]) -> dict[str, Any] | None:
    """The running peer's answer; None if none runs there."""
    from p2p.peer.control import call, socket_path

    try:
        with socket.socket(socket.AF_UNIX) as knock:
            knock.settimeout(CONTROL_ANSWER_S)
            knock.connect(str(socket_path(options.dir)))
    except OSError:  # a peer that was killed leaves its socket behind
        return None
    return call(options.dir, request)


# -- what is shown ---------------------------------------------------------------------------------------------------


def _shown(options: argparse.Namespace, answer: dict[str, Any]) -> int:
    rows = answer.get("ml_nodes")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Unavailable("the peer's answer is no list of ML nodes; is it of another version?", field="ml_nodes")
    show(options, answer, lambda: "\n".join(lines(rows)))
    return 0


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """For people: a table, and below it what each ML node said last."""
    if not rows:
        return ["no ML node: this peer is agent and validator of blocks only"]
    table = [_COLUMNS, *map(_cells, rows)]
    widths = [max(len(row[at]) for row in table) for at in range(len(_COLUMNS))]
    found = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return found + [f"{line(str(row['name']), 40)}: {line(str(row['said']), 300)}" for row in rows if row.get("said")]


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    cache, usage, running = row.get("kv_tokens"), row.get("kv_usage"), row.get("engine_running")
    used = f"{100 * usage:.0f} % of {cache}" if isinstance(usage, int | float) and cache else "-"
    waiting = row.get("engine_waiting")
    engine = "-" if running is None else f"{running} running" + ("" if waiting is None else f", {waiting} waiting")
    jobs = f"{row.get('jobs', '-')}/{row.get('max_jobs')}"
    cells = (row.get("name"), row.get("state"), jobs, used, engine, row.get("starts", "-"), row.get("model"))
    return (*(line(str(cell), 96) for cell in cells), line(str(row.get("where")), 200))
