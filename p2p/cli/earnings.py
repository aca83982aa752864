"""earnings: what one participant earned in an epoch, inference by inference, each with the rule that decided it.

Law: what is printed is what the chain says, and the identity of the sums (rule M12) is computed again here.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.base.errors import RemoteProtocolError
from p2p.cli.arguments import MAX_HEIGHT, default_dir, read_id, whole
from p2p.cli.output import show
from p2p.peer.control import call

if TYPE_CHECKING:
    from p2p.wire.answers.network import EarningRow, EarningsAnswer, EpochSumsRow, OpenDispute

_OWN = (  # a participant's own sums: for people, field of the answer, rule
    ("fees of answers that stand", "fees_micro", "M1"), ("of these to the owner", "paid_micro", "M8"),
    ("of these forfeited", "forfeited_micro", "M7"), ("fines for answers that did not stand", "fined_micro", "M16"),
    ("of these not paid in full, as nobody shares its kernels", "unshared_micro", "M20"),
    ("minted for its work", "reward_micro", "M9"), ("for duties as validator", "duties_micro", "M8"),
    ("not paid for them, as it stood alone in some", "withheld_micro", "M17"),
    ("bounties for cheats it found", "bounty_micro", "M10"), ("slashed from its collateral", "slashed_micro", "M10"),
)
_SUMS = (  # the sums of the whole epoch
    ("fees", "fees_micro", "M1"), ("minted", "minted_micro", "M9"), ("owners of executors", "paid_micro", "M8"),
    ("validators' pool", "duties_micro", "M8"), ("forfeited fees", "forfeited_micro", "M7"),
    ("slashed", "slashed_micro", "M10"), ("bounties", "bounty_micro", "M10"),
    ("penalties and lost bonds", "penalties_micro", "M11, M15"), ("burnt", "burnt_micro", "M8"),
)


def register(commands: Any) -> None:
    earnings = commands.add_parser("earnings")
    earnings.add_argument(
        "--epoch", type=whole(0, MAX_HEIGHT), metavar="N",
        help="the epoch; the first one is 0 (default: the running one)",
    )
    earnings.add_argument(
        "--node", metavar="HEX",
        help="the participant's node key, 64 hexadecimal digits (default: that of the peer asked)",
    )
    earnings.add_argument(
        "--dir", type=Path, default=default_dir(), help="the folder of the peer that is asked (default: %(default)s)",
    )
    earnings.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from msgspec import to_builtins

    from p2p.wire.answers.network import SprintAnswer
    from p2p.wire.answers.reading import read
    from p2p.wire.answers.status import OwnerStatus

    folder = options.dir
    if options.node is None:
        node = read(OwnerStatus, call(folder, {"op": "status"}), "status", str(folder)).node
    else:
        node = read_id(options.node, "node").hex()
    epoch = options.epoch
    if epoch is None:
        epoch = read(SprintAnswer, call(folder, {"op": "sprint"}), "sprint", str(folder)).epoch
    page = _whole(folder, epoch, node)
    fits = balanced(page.sums)
    show(options, {**to_builtins(page), "balanced": fits}, lambda: "\n".join(lines(page)))
    if not fits:
        raise RemoteProtocolError("the epoch's sums do not add up (rule M12)", field="sums")
    return 0


def _whole(directory: Path, epoch: int, node: str) -> EarningsAnswer:
    """The last page, with the inferences of all."""
    from msgspec.structs import replace

    page = _page(directory, epoch, node, 0)
    rows = page.inferences
    while page.next > len(rows):
        page = _page(directory, epoch, node, page.next)
        if not page.inferences:
            what = "the peer says that there are more inferences, and shows none"
            raise RemoteProtocolError(what, field="earnings", code="malformed_answer")
        rows += page.inferences
    return replace(page, inferences=rows)


def _page(directory: Path, epoch: int, node: str, start: int) -> EarningsAnswer:
    from p2p.wire.answers.network import EarningsAnswer
    from p2p.wire.answers.reading import read

    asked = {"op": "earnings", "epoch": epoch, "node": node, "start": start}
    return read(EarningsAnswer, call(directory, asked), "earnings", str(directory))


def balanced(sums: EpochSumsRow) -> bool:
    """Rule M12, computed here: what came in is what went out."""
    return _came(sums) == sums.paid_micro + sums.duties_micro + sums.bounty_micro + sums.burnt_micro


def _came(sums: EpochSumsRow) -> int:
    return sums.fees_micro + sums.slashed_micro + sums.penalties_micro


def lines(page: EarningsAnswer) -> list[str]:
    """For people: one line for each inference, then the participant's own sums, then those of the epoch."""
    sums, own = page.sums, page.own
    heights = f"heights {page.first_height} to {page.last_height}"
    state = f"settled at height {sums.settled_at}" if sums.settled_at else "not settled yet"
    found = [f"epoch {page.epoch} ({heights}, {state}), node {page.node}"]
    if not page.kept:
        found.append("its single inferences have left the state; an archive of the blocks has them")
    found += map(_inference, page.inferences)
    found += map(_dispute, page.open)
    shown = ((name, getattr(own, key), rule) for name, key, rule in _OWN)
    found += [f"  {name:<44}{amount:>14}  {rule}" for name, amount, rule in shown if amount or rule == "M1"]
    found.append("the whole epoch (all amounts are micro-credits)")
    found += [f"  {name:<44}{getattr(sums, key):>14}  {rule}" for name, key, rule in _SUMS]
    if sums.settled_at:
        verdict = "holds" if balanced(sums) else "DOES NOT HOLD"
        found.append(
            f"  M12 {verdict}: fees {sums.fees_micro} + slashed {sums.slashed_micro} + penalties "
            f"{sums.penalties_micro} = {_came(sums)} = owners {sums.paid_micro} + validators "
            f"{sums.duties_micro} + bounties {sums.bounty_micro} + burnt {sums.burnt_micro}"
        )
    return found


def _inference(row: EarningRow) -> str:
    amount, words = row.fee_micro or row.refunded_micro, [row.reason]
    if row.bond_micro:
        words.append(f"(appealed; bond of {row.bond_micro} {'burnt' if row.burnt_micro else 'returned'})")
    decided = f"{row.what:<9} {row.rule:<4}{amount:>12}"
    return f"  {row.height:>8}  {row.id}  {decided}  {' '.join(filter(None, words))}".rstrip()


def _dispute(dispute: OpenDispute) -> str:
    """A lost dispute that is not decided yet."""
    if dispute.appealed:
        what = f"appealed; {dispute.due_micro} micro-credits and a bond of {dispute.bond_micro} wait for the committee"
    else:
        what = (
            f"{dispute.due_micro} micro-credits are lost unless its owner appeals, until height {dispute.until}, with "
            f"a bond of {dispute.bond_micro}: folkmoot account appeal {dispute.id}"
        )
    return f"  {'open':>8}  {dispute.id}  {'disputed':<9} {dispute.rule:<4}  {what}; {dispute.reason}"
