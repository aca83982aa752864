"""What a run found, kept as files and shown as tables.

Law: a table shows only what was measured; each client's last run against the same server counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.tools.clients.matrix import CLIENTS, Client
from tests.tools.clients.recorder import Seen
from tests.tools.clients.requests import by_path, fields, headers, outside, together
from tests.tools.clients.running import Result

BEYOND, NOTES = Path(__file__).parent / "beyond.md", Path(__file__).parent / "notes.md"
Run = tuple[list[Result], list[Seen]]
HEAD = """# Clients

Programs of other people, as their registries ship them, against {server}. Each runs in an environment of its own,
without a way to any other host, and judges the protocol: fields, order of events, types, exceptions. The model is
small ({model}), so no client is judged by the sense of an answer.

This page is written by `make clients OUT=docs/clients.md`; `make clients ONLY="openai,curl"` runs some of them, and
`make clients QUICK=1` the part that CI runs. With `URL=`, `KEY=` and `MODEL=` it asks any other server.

A case is green (`+`), red (`-`) or cannot be run here (`o`, with the reason). In the cases 'retry' the 429 comes from
the recorder that stands between client and gateway, so that it comes at a known time.

"""


def file_of(folder: Path, server: str, client: Client) -> Path:
    """Where a client's last run against `server` is kept."""
    return folder / _word(server) / f"{_word(client.name)}.json"


def _word(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def keep(folder: Path, server: str, client: Client, run: Run) -> None:
    """Write a client's run down for later tables."""
    results, seen = run
    file = file_of(folder, server, client)
    file.parent.mkdir(parents=True, exist_ok=True)
    said = {"results": [asdict(r) for r in results], "seen": [asdict(s) for s in seen]}
    file.write_text(json.dumps(said, ensure_ascii=False))


def kept(folder: Path, server: str) -> dict[str, Run]:
    """The runs by client name that were kept and asked `server`."""
    found: dict[str, Run] = {}
    for client in CLIENTS:
        file = file_of(folder, server, client)
        if file.exists():
            said: dict[str, Any] = json.loads(file.read_text())
            found[client.name] = [Result(**r) for r in said["results"]], [Seen(**s) for s in said["seen"]]
    return found


def sign(result: Result) -> str:
    return "o" if result.ok is None else "+" if result.ok else "-"


def outcome(results: Sequence[Result]) -> str:
    """'green', 'green, 1 not run here', '2 of 9 red', 'not run here'."""
    red, skipped = [r for r in results if r.ok is False], [r for r in results if r.ok is None]
    if red:
        return f"{len(red)} of {len(results)} red"
    if len(skipped) == len(results):
        return "not run here"
    return f"green, {len(skipped)} not run here" if skipped else "green"


def lines(client: Client, results: Sequence[Result]) -> list[str]:
    """A client's row for a terminal, and a line for each case that is not green."""
    version = results[0].version if results else client.version
    said = [f"{client.name:24} {version:10} {outcome(results):24} " + " ".join(
        f"{sign(r)}{r.case.partition(':')[0]}" for r in results
    )]
    return said + [f"    {sign(r)} {r.case}: {r.detail[:400]}" for r in results if not r.ok]


def page(runs: dict[str, Run], server: str, model: str) -> str:
    """docs/clients.md: the tables of the runs, that of programs driven by hand (beyond.md), and what was learnt
    (notes.md)."""
    said = [HEAD.format(server=server, model=model)]
    said.append("| client | version | result | what was done |\n|---|---|---|---|\n")
    for client in CLIENTS:
        if client.name in runs:
            results, _ = runs[client.name]
            done = ", ".join(f"{sign(r)}{_cell(r.case)}" for r in results)
            said.append(f"| {client.name} | {results[0].version} | {outcome(results)} | {done} |\n")
    reasons = [(c, r) for c in CLIENTS for r in runs.get(c.name, ([], []))[0] if not r.ok]
    if reasons:
        said.append("\n## Not green, and why\n\n| client | case | | reason |\n|---|---|---|---|\n")
        said += [f"| {c.name} | {_cell(r.case)} | {sign(r)} | {_cell(r.detail[:300])} |\n" for c, r in reasons]
    said += [BEYOND.read_text(), NOTES.read_text(), _sent(runs)]
    return "".join(said)


def _sent(runs: dict[str, Run]) -> str:
    said = [
        "\n## What clients send\n\nThe requests of each client in the run above, as the recorder saw them: what a "
        "gateway must accept. `[]` is a list, `=` shows the values that were seen; in brackets the status of the "
        "answers.\n",
    ]
    for client in CLIENTS:
        if client.name not in runs:
            continue
        _, seen = runs[client.name]
        said.append(f"\n### {client.name}\n\n")
        if names := headers(s for s in seen if not s.outside):
            said.append("Headers: " + ", ".join(f"`{name}`" for name in names) + "\n\n")
        for path, some in by_path(seen).items():
            statuses = ", ".join(f"{n} x {status}" for status, n in _counts(some))
            names = together(name for one in some for name in fields(one.body))
            inside = ": " + ", ".join(f"`{name}`" for name in names) if names else ""
            said.append(f"- `{path}` ({statuses}){inside}\n")
        if others := outside(seen):
            said.append("- other hosts it wanted: " + ", ".join(f"`{host}`" for host in others) + "\n")
    return "".join(said)


def _counts(seen: Sequence[Seen]) -> list[tuple[int, int]]:
    statuses = [one.status for one in seen]
    return [(status, statuses.count(status)) for status in sorted(set(statuses))]


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
