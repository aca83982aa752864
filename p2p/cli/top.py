"""top: a peer live: height and blocks, requests, engine and GPU, peers, earnings.

Law: it only asks, and never more than the screen shows. What cannot be asked is said in its place; the view goes on.
Where the output is no terminal it prints one look and ends.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.errors import FolkmootError, InvalidRequest
from p2p.cli import questions
from p2p.cli.arguments import default_dir, number, read_genesis
from p2p.cli.gpus import gpus
from p2p.cli.terminal.styled import look_of, put
from p2p.cli.top_view import TABS, Snapshot, as_plain, plain_view, rate, view

if TYPE_CHECKING:
    from p2p.cli.questions import Ask

BLOCKS = 24  # that are shown
MAX_PEERS = 1000
_SIGNALS = 128


def register(commands: Any) -> None:
    command = commands.add_parser("top")
    command.add_argument(
        "--dir", type=Path, default=default_dir(),
        help="the folder of the peer that is looked at, and with genesis.cbor for --peer (default: %(default)s)",
    )
    command.add_argument(
        "--peer", metavar="MULTIADDR", help="look at this peer instead; strangers are told less than its owner",
    )
    command.add_argument(
        "--every", type=number(0.2, 3600), default=1.0, metavar="SECONDS",
        help="seconds between two looks (default: %(default)g)",
    )
    command.add_argument(
        "--once", action="store_true", help="print one look and end, as where the output is no terminal",
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    network = None if options.peer is None else read_genesis(options.dir, "to know the network").network

    def work(ask: Ask) -> int:
        return _run(options, Looking(ask, options.peer or str(options.dir), own=options.peer is None))

    return questions.asking(options.dir, options.peer, network, work)


class Looking:
    """Looks at one peer again and again; blocks that were seen are not asked for again."""

    def __init__(self, ask: Ask, peer: str, *, own: bool) -> None:
        self._ask, self._peer, self._own = ask, peer, own
        self._blocks: dict[int, dict[str, Any]] = {}
        self._owner_known: str | None = None

    def look(self) -> Snapshot:
        """Raises FolkmootError where the peer's state cannot be asked."""
        from p2p.wire.answers.accounts import AccountAnswer
        from p2p.wire.answers.status import OwnerStatus, PeersAnswer, PublicStatus

        missing: dict[str, str] = {}
        status = self._read(OwnerStatus if self._own else PublicStatus, {"op": "status"})
        blocks = self._newest(status["height"], missing)
        account: dict[str, Any] | None = None
        earnings = self._earnings(status, missing) if status.get("registered") else None
        nodes = self._try(None, {"op": "ml_list"}, "engine", missing) if self._own else None
        peers = self._try(PeersAnswer, {"op": "peers"}, "peers", missing) if self._own else None
        if not self._own:
            missing |= dict.fromkeys(("engine", "gpu", "peers"), "known to the peer's owner only")
        owner = self._owner(status)
        if owner:
            account = self._try(AccountAnswer, {"op": "account", "account": owner}, "balance", missing)
        return Snapshot(
            time.time_ns() // 1_000_000, status, blocks, tuple(_rows(nodes, "ml_nodes")),
            gpus() if self._own else (), tuple(str(one.get("peer_id")) for one in _rows(peers, "peers")[:MAX_PEERS]),
            account.get("balance_micro") if account else None, earnings, missing, rate(blocks),
        )

    def _read(self, kind: Any, question: dict[str, Any]) -> dict[str, Any]:
        """An answer, whose shape is checked. Raises FolkmootError."""
        from msgspec import to_builtins

        from p2p.wire.answers.reading import read

        found: dict[str, Any] = to_builtins(read(kind, self._ask(question), question["op"], self._peer))
        return found

    def _try(self, kind: Any, question: dict[str, Any], what: str, missing: dict[str, str]) -> dict[str, Any] | None:
        """kind: None for an answer of one's own peer that has no type."""
        try:
            return self._ask(question) if kind is None else self._read(kind, question)
        except FolkmootError as error:
            missing[what] = error.message
            return None

    def _newest(self, height: int, missing: dict[str, str]) -> tuple[dict[str, Any], ...]:
        from p2p.wire.answers.blocks import BlockAnswer

        wanted = range(height, max(0, height - BLOCKS), -1)
        for one in wanted:
            if one not in self._blocks:
                found = self._try(BlockAnswer, {"op": "block", "height": one}, "blocks", missing)
                if found is None:
                    break
                self._blocks[one] = found
        self._blocks = {one: block for one, block in self._blocks.items() if one in wanted}
        return tuple(self._blocks[one] for one in sorted(self._blocks, reverse=True))

    def _earnings(self, status: dict[str, Any], missing: dict[str, str]) -> dict[str, Any] | None:
        from p2p.wire.answers.network import EarningsAnswer, SprintAnswer

        epoch = self._try(SprintAnswer, {"op": "sprint"}, "earnings", missing)
        if epoch is None:
            return None
        asked = {"op": "earnings", "epoch": epoch["epoch"], "node": status["node"]}
        return self._try(EarningsAnswer, asked, "earnings", missing)

    def _owner(self, status: dict[str, Any]) -> str | None:
        """The account of the peer that is looked at, as the chain names it."""
        if not status.get("registered") or self._owner_known is not None:
            return self._owner_known
        from p2p.base.codec import unpack
        from p2p.ledger.state.records import Participant
        from p2p.wire.answers.blocks import Proved

        found = self._try(Proved, {"op": "prove", "kind": "participant", "id": status["node"]}, "balance", {})
        if found is None or not found["value"]:
            return None

        try:
            self._owner_known = unpack(Participant, bytes.fromhex(found["value"])).owner.hex()
        except (FolkmootError, ValueError, AttributeError):  # the balance is not shown then
            return None
        return self._owner_known


def _rows(answer: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    found = (answer or {}).get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list | tuple) else []


def _run(options: argparse.Namespace, looking: Looking) -> int:
    look = look_of(sys.stdout)
    is_live = look.terminal and sys.stdin.isatty() and not options.once
    if options.json:
        return _lines(options, looking)
    if not is_live:
        put(sys.stdout, plain_view(looking.look()))
        return 0
    from p2p.cli.terminal.screen import Ended, full_screen

    seen = looking.look()  # a peer that is not there is an error, before the screen is taken
    try:
        with full_screen(look) as screen:
            _live(options, looking, screen, seen)
    except Ended as ended:
        return _SIGNALS + ended.number
    return 0


def _lines(options: argparse.Namespace, looking: Looking) -> int:
    """One look a line, until nobody reads; one alone with --once."""
    while True:
        print(json.dumps(as_plain(looking.look())), flush=True)
        if options.once:
            return 0
        time.sleep(options.every)


def _live(options: argparse.Namespace, looking: Looking, screen: Any, seen: Snapshot) -> None:
    """Until q is pressed."""
    tab = scroll = 0
    said, next_look = "", time.monotonic() + options.every
    while True:
        columns, height = screen.size()
        lines, most = view(seen, tab, scroll, columns, height, said)
        screen.draw(lines)
        key = screen.key(next_look - time.monotonic())
        if key in ("q", "Q"):
            return
        if key in ("left", "right"):
            tab, scroll = (tab + (1 if key == "right" else -1)) % len(TABS), 0
        steps = {"up": -1, "down": 1, "page up": 2 - height, "page down": height - 2}
        scroll = min(max(0, scroll + steps.get(key, 0)), most)
        if time.monotonic() >= next_look:
            try:
                seen, said = looking.look(), ""
            except InvalidRequest as error:
                said = error.message
            except FolkmootError as error:
                said = f"no answer: {error.message}; q leaves"
            next_look = time.monotonic() + options.every
