"""Asks the running peers what the checks need, at the end of a run.

Law: every question goes to the peers' control sockets; what one peer does not know is asked of the others.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from p2p.base.errors import FolkmootError
from p2p.cli.earnings import balanced
from p2p.lab import attacks
from p2p.peer.control import call
from p2p.wire.answers.network import EarningsAnswer, VerificationAnswer
from p2p.wire.answers.reading import read
from testnet.runs.asking import ASKED, Answer
from testnet.runs.evidence import Booked
from testnet.runs.plan import RunPlan
from testnet.runs.result import VerdictRow

HEIGHTS = 12  # that are compared, spread over the chain
MAX_LINES = 200_000  # of a client's file
SHOWN_LINES = 6  # of a log's end


class Gathering:
    """names: of the peers that run now."""

    def __init__(self, plan: RunPlan, names: Sequence[str]) -> None:
        self._plan, self._names = plan, list(names)
        self._members = {plan.node(member.name): member for member in plan.peers}

    def _ask(self, name: str, **request: Any) -> dict[str, Any]:
        return call(self._plan.folder(name), request)

    def _any(self, **request: Any) -> dict[str, Any] | None:
        """The first peer's answer that knows one; None: nobody does."""
        for name in self._names:
            try:
                return self._ask(name, **request)
            except FolkmootError:
                continue
        return None

    # -- clients ---------------------------------------------------------------------------------------------------

    def answers(self) -> list[Answer]:
        """What the clients wrote down. A last line that was cut off is left out."""
        found = []
        for member in self._plan.members:
            file = self._plan.folder(member.name) / ASKED
            if member.role != "client" or not file.exists():
                continue
            for line in file.read_text().splitlines()[:MAX_LINES]:
                try:
                    found.append(msgspec.convert(json.loads(line), Answer))
                except (ValueError, msgspec.ValidationError):
                    continue
        return sorted(found, key=lambda answer: answer.asked)

    def booked(self, answers: Sequence[Answer]) -> dict[str, Booked | None]:
        """Each inference with a receipt as the chain has it; None: nobody knows it."""
        return {answer.id: self._booked(answer.id) for answer in answers if answer.id}

    def _booked(self, inference: str) -> Booked | None:
        said = self._any(op="inference", id=inference)
        if said is None:
            return None
        member = self._members.get(str(said["executor"]))
        against = (f"{v['kind']} {v['reason']}".strip() for v in said["verdicts"] if not v["valid"])
        reasons = [str(said["reason"]), *against]
        return Booked(
            str(said["status"]), member.name if member else "nobody", "; ".join(filter(None, reasons)),
            int(said["taken_over"]), not (member and member.group.villain),
        )

    # -- the chain -------------------------------------------------------------------------------------------------

    def blocks(self) -> dict[int, dict[str, tuple[str, str]]]:
        """Height -> peer -> (block id, app hash), for the highest height that all have and some below it."""
        tops = {}
        for name in self._names:
            try:
                tops[name] = int(self._ask(name, op="status")["height"])
            except FolkmootError:
                continue
        top = min(tops.values(), default=0)
        heights = sorted({max(1, top * part // HEIGHTS) for part in range(1, HEIGHTS + 1)}) if top else []
        return {height: dict(self._at(height, list(tops))) for height in heights}

    def _at(self, height: int, names: Sequence[str]) -> Iterator[tuple[str, tuple[str, str]]]:
        for name in names:
            try:
                block = self._ask(name, op="block", height=height)
            except FolkmootError:
                continue  # below the snapshot that it began with
            yield name, (str(block["block_id"]), str(block["app_hash"]))

    def sums(self) -> dict[int, str]:
        """Settled epoch -> what does not balance; '' where all does."""
        found: dict[int, str] = {}
        node = self._plan.node(self._plan.peers[0].name)
        for epoch in range(10_000):
            said = self._any(op="earnings", epoch=epoch, node=node, start=0)
            if said is None:
                return found
            page = read(EarningsAnswer, said, "earnings", "a peer")
            if not page.sums.settled_at:
                return found
            found[epoch] = "" if balanced(page.sums) else f"{msgspec.to_builtins(page.sums)}"
        return found

    def conduct(self, answers: Sequence[Answer]) -> list[VerdictRow]:
        """Every participant as the chain judges it."""
        said = self._any(op="verification")
        if said is None:
            return []
        rows = {row.node: row for row in read(VerificationAnswer, said, "verification", "a peer").participants}
        given = Counter(answer.executor for answer in answers if answer.id)
        found = []
        for member in self._plan.peers:
            node = self._plan.node(member.name)
            row = rows.get(node)
            if row is None:
                continue
            why = row.convicted_reason if row.convicted else row.barred_reason if row.barred else ""
            convicted = why or ("yes" if row.convicted or row.barred else "")
            villain, answers_of = member.group.villain, given[node]
            checks = bool(villain) and attacks.get(villain).validator is not None
            looked_at = row.compared if checks else row.checked
            found.append(VerdictRow(member.name, villain, answers_of, looked_at, convicted, row.strikes))
        return found

    def links(self) -> list[tuple[str, str]]:
        """Pairs of peers that are connected."""
        ids, peers = {}, {}
        for name in self._names:
            try:
                ids[str(self._ask(name, op="status")["peer_id"])] = name
                peers[name] = [str(row["peer_id"]) for row in self._ask(name, op="peers")["peers"]]
            except FolkmootError:
                continue
        pairs = {
            (min(name, ids[other]), max(name, ids[other])) for name, others in peers.items()
            for other in others if other in ids
        }
        return sorted(pairs)


def tail(log: Path) -> str:
    """The end of a log, for a sentence."""
    lines = log.read_text(errors="replace").splitlines()[-SHOWN_LINES:] if log.exists() else []
    return " | ".join(line.strip() for line in lines if line.strip())[-600:] or "it printed nothing"
