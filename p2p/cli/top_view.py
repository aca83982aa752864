"""What `folkmoot top` shows of one look at a peer.

Law: pure: a snapshot, a width and a height in, lines out. It never has more lines than the screen, and every text of
others is cleaned where it is drawn (terminal/styled.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from p2p.cli.amounts import money
from p2p.cli.terminal.progress import duration
from p2p.cli.terminal.styled import UNLIMITED, Line, Span
from p2p.cli.terminal.table import table

TABS = ("overview", "blocks", "engine", "peers", "earnings")
_KEYS = "q quit   left, right: page   up, down: scroll"
_STATES = {"ready": "green", "joining": "yellow", "loading": "yellow"}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at a peer, as its answers were. What is not known is None or empty; `missing` says why."""

    time_ms: int
    status: dict[str, Any]
    blocks: tuple[dict[str, Any], ...] = ()  # the newest first
    ml_nodes: tuple[dict[str, Any], ...] = ()
    gpus: tuple[dict[str, Any], ...] = ()
    peers: tuple[str, ...] = ()
    balance_micro: int | None = None
    earnings: dict[str, Any] | None = None
    missing: dict[str, str] = field(default_factory=dict)
    requests_a_s: float | None = None  # finished on chain, over the shown blocks


def view(seen: Snapshot, tab: int, scroll: int, columns: int, height: int, said: str = "") -> tuple[list[Line], int]:
    """(lines of the whole screen, how far it can be scrolled). said: a line about what is wrong just now."""
    name = TABS[tab % len(TABS)]
    head = [*_head(seen), _tabs(name), ()]
    foot: list[Line] = [(Span(said, "red"),) if said else (Span(_KEYS, "dim"),)]
    body = _PAGES[name](seen, columns)
    room = max(0, height - len(head) - len(foot))
    most = max(0, len(body) - room)
    at = min(max(0, scroll), most)
    shown = body[at : at + room]
    return [*head, *shown, *([()] * (room - len(shown))), *foot][:height], most


def plain_view(seen: Snapshot) -> list[Line]:
    """Everything, below each other: where the output is no terminal."""
    lines: list[Line] = list(_head(seen))
    for name in TABS[1:]:
        lines += [(), (Span(name, "bold"),), *_PAGES[name](seen, UNLIMITED)]
    return lines


def _head(seen: Snapshot) -> list[Line]:
    status = seen.status
    state = str(status.get("state", "?"))
    age_s = max(0.0, (seen.time_ms - int(status.get("last_time_ms") or 0)) / 1000)
    age = f"decided {duration(age_s)} ago" if status.get("last_time_ms") else "no block yet"
    late = age_s > 60 and bool(status.get("last_time_ms"))
    rate = "" if seen.requests_a_s is None else f", {seen.requests_a_s:.2f} finished a second"
    lines: list[Line] = [
        (Span("folkmoot top  ", "bold"), str(status.get("network", "")).partition("@")[0], "  ",
         str(status.get("peer_id", "")), "  ", Span(state, _STATES.get(state, "red"))),
        (Span("height ", "dim"), str(status.get("height", "?")), ", ", Span(age, "red" if late else ""),
         Span("   requests ", "dim"), f"{status.get('jobs', '?')} running{rate}",
         Span("   peers ", "dim"), str(status.get("connections", "?")),
         *((Span("   balance ", "dim"), money(seen.balance_micro)) if seen.balance_micro is not None else ())),
    ]
    for one in (status.get("alone"), status.get("twin")):
        lines += [(Span(str(one), "red"),)] if one else []
    for one in list(status.get("failures") or ())[:3]:
        lines.append((Span(f"failed: {one.get('part')}: {one.get('last')}", "red"),))
    return lines


def _tabs(chosen: str) -> Line:
    parts: list[Span | str] = []
    for name in TABS:
        parts += [Span(f" {name} ", "on" if name == chosen else "dim"), " "]
    return tuple(parts)


# -- pages -----------------------------------------------------------------------------------------------------------


def _overview(seen: Snapshot, columns: int) -> list[Line]:
    return [
        *_blocks(seen, columns)[:7], (), *_engine(seen, columns)[:8], (), *_earnings(seen, columns)[:8],
    ]


def _blocks(seen: Snapshot, columns: int) -> list[Line]:
    if not seen.blocks:
        return [_why(seen, "blocks", "no block yet")]
    rows: list[list[str | Span]] = []
    for block, before in zip(seen.blocks, [*seen.blocks[1:], None], strict=True):
        took = f"{(block['time_ms'] - before['time_ms']) / 1000:.1f}" if before else "-"
        kinds = sorted({str(one.get("kind")) for one in block.get("records", ())})
        rows.append([
            str(block["height"]), took, str(block["commit_round"]), str(block["txs"]),
            str(len(block.get("records", ()))),
            Span(str(len(block.get("refused", ()))), "red" if block.get("refused") else ""),
            str(block["proposer"])[:12], ", ".join(kinds) or "-",
        ])
    return table(("block", "seconds", "round", "txs", "records", "refused", "proposer", "kinds"), rows, columns)


def _engine(seen: Snapshot, columns: int) -> list[Line]:
    if not seen.ml_nodes:
        lines = [_why(seen, "engine", "no ML node: this peer serves no model itself")]
    else:
        rows: list[list[str | Span]] = []
        for one in seen.ml_nodes:
            usage = one.get("kv_usage")
            rows.append([
                str(one.get("name")), Span(str(one.get("state")), _STATES.get(str(one.get("state")), "")),
                f"{one.get('jobs', '-')}/{one.get('max_jobs', '-')}",
                f"{100 * usage:.0f} %" if isinstance(usage, int | float) else "-",
                str(one.get("engine_running") if one.get("engine_running") is not None else "-"),
                str(one.get("engine_waiting") if one.get("engine_waiting") is not None else "-"), str(one.get("model")),
            ])
        lines = table(("ML node", "state", "jobs", "KV cache", "running", "waiting", "model"), rows, columns)
    if seen.gpus:
        cards = [[str(one["name"]), f"{one['used_percent']} %", f"{one['memory_used_mib']} of {one['memory_mib']} MiB",
                 f"{one['celsius']} C", f"{one['watts']} W"] for one in seen.gpus]
        lines += [(), *table(("GPU", "used", "memory", "heat", "power"), cards, columns)]
    else:
        lines.append(_why(seen, "gpu", "no GPU is seen on this machine"))
    return lines


def _peers(seen: Snapshot, columns: int) -> list[Line]:
    if not seen.peers:
        return [_why(seen, "peers", "nobody is connected")]
    return [(str(peer),) for peer in seen.peers]


_SUMS = (
    ("paid to the owner", "paid_micro"), ("minted for its work", "reward_micro"),
    ("duties as validator", "duties_micro"),
    ("bounties", "bounty_micro"), ("forfeited", "forfeited_micro"), ("fined", "fined_micro"),
    ("slashed", "slashed_micro"),
)


def _earnings(seen: Snapshot, columns: int) -> list[Line]:
    found = seen.earnings
    if found is None:
        return [_why(seen, "earnings", "not registered, so nothing is earned")]
    own = found["own"]
    heights = f"heights {found['first_height']} to {found['last_height']}"
    lines: list[Line] = [(Span(f"epoch {found['epoch']}, {heights}", "bold"),)]
    for name, key in _SUMS:
        bad = key in ("forfeited_micro", "fined_micro", "slashed_micro") and own[key]
        lines.append((Span(f"  {name:22}", "dim"), Span(f"{money(own[key]):>24}", "red" if bad else "")))
    lines.append((Span("  booked answers        ", "dim"), f"{len(found['inferences']):>24}"))
    return lines


def _why(seen: Snapshot, what: str, otherwise: str) -> Line:
    return (Span(seen.missing.get(what, otherwise), "dim"),)


_PAGES = {"overview": _overview, "blocks": _blocks, "engine": _engine, "peers": _peers, "earnings": _earnings}


def as_plain(seen: Snapshot) -> dict[str, Any]:
    """For --json."""
    return {
        "time_ms": seen.time_ms, "status": seen.status, "blocks": list(seen.blocks), "ml_nodes": list(seen.ml_nodes),
        "gpus": list(seen.gpus), "peers": list(seen.peers), "balance_micro": seen.balance_micro,
        "earnings": seen.earnings, "missing": seen.missing, "requests_a_s": seen.requests_a_s,
    }


def rate(blocks: Sequence[dict[str, Any]]) -> float | None:
    """Requests that were finished a second, over these blocks; None where there are too few."""
    if len(blocks) < 2:
        return None
    spent_s = (blocks[0]["time_ms"] - blocks[-1]["time_ms"]) / 1000
    finished = sum(one.get("kind") == "FINISH" for block in blocks[:-1] for one in block.get("records", ()))
    return finished / spent_s if spent_s > 0 else None
