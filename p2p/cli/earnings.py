"""earnings: what one participant earned in an epoch, inference by inference, each with the rule that decided it. Law: thin; what is printed is
what the chain says, and the identity of the sums is computed here again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from p2p.base.errors import RemoteProtocolError
from p2p.cli.words import default_dir, public_key, whole
from p2p.peer.control import call


def register(commands: Any) -> None:
    earnings = commands.add_parser("earnings", help="what a participant earned in an epoch, and why")
    earnings.add_argument("--epoch", type=whole(0, 2**32 - 1), required=True, metavar="N", help="0 is the first one")
    earnings.add_argument("--node", metavar="HEX", help="the participant's node key; this peer's own when left out")
    earnings.add_argument("--dir", type=Path, default=default_dir(), help="where the peer runs that is asked")
    earnings.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    try:
        return _run(options)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        what = f"the peer's answer is no epoch's earnings ({type(error).__name__})"
        raise RemoteProtocolError(f"{what}; is it of another version?", field="earnings", code="odd_answer") from error


def _run(options: argparse.Namespace) -> int:
    node = public_key(options.node, "node").hex() if options.node is not None else call(options.dir, {"op": "status"})["node"]
    page = _page(options.dir, options.epoch, node, 0)
    rows = list(page["inferences"])
    while page["next"] > len(rows):
        page = _page(options.dir, options.epoch, node, page["next"])
        if not page["inferences"]:
            raise RemoteProtocolError("the peer says there are more inferences, and shows none", field="earnings", code="odd_answer")
        rows += page["inferences"]
    page["inferences"] = rows
    page["balanced"] = balanced(page["sums"])
    if options.json:
        print(json.dumps(page))
    else:
        print("\n".join(lines(page)))
    if not page["balanced"]:
        raise RemoteProtocolError("the epoch's sums do not add up (M12)", field="sums")
    return 0


def _page(directory: Path, epoch: int, node: str, start: int) -> dict[str, Any]:
    return call(directory, {"op": "earnings", "epoch": epoch, "node": node, "start": start})


def balanced(sums: dict[str, Any]) -> bool:
    """M12, computed here: what came is what went."""
    came = sums["fees_micro"] + sums["slashed_micro"] + sums["penalties_micro"]
    return bool(came == sums["paid_micro"] + sums["duties_micro"] + sums["bounty_micro"] + sums["burnt_micro"])


def lines(page: dict[str, Any]) -> list[str]:
    """For people: one line an inference, then the participant's own sums, then the epoch's."""
    sums, own = page["sums"], page["own"]
    heights = f"heights {page['first_height']} to {page['last_height']}"
    state = f"settled at height {sums['settled_at']}" if sums["settled_at"] else "not settled yet"
    found = [f"epoch {page['epoch']} ({heights}, {state}), node {page['node']}"]
    if not page["kept"]:
        found.append("its single inferences have left the state; an archive of the blocks has them")
    for row in page["inferences"]:
        amount = row["fee_micro"] or row["refunded_micro"]
        words = [row["reason"], _bond(row)]
        found.append(f"  {row['height']:>8}  {row['id']}  {row['what']:<9} {row['rule']:<4}{amount:>12}  {' '.join(filter(None, words))}".rstrip())
    found += map(_case, page["open"])
    found += [f"  {name:<44}{own[key]:>14}  {rule}" for name, key, rule in _OWN if own[key] or key == "fees_micro"]
    found.append("the whole epoch")
    found += [f"  {name:<44}{sums[key]:>14}  {rule}" for name, key, rule in _SUMS]
    came = sums["fees_micro"] + sums["slashed_micro"] + sums["penalties_micro"]
    if sums["settled_at"]:
        verdict = "holds" if page["balanced"] else "DOES NOT HOLD"
        found.append(
            f"  M12 {verdict}: fees {sums['fees_micro']} + slashed {sums['slashed_micro']} + penalties {sums['penalties_micro']} = {came} = "
            f"owners {sums['paid_micro']} + validators {sums['duties_micro']} + bounties {sums['bounty_micro']} + burnt {sums['burnt_micro']}"
        )
    return found


def _bond(row: dict[str, Any]) -> str:
    if not row["bond_micro"]:
        return ""
    return f"(appealed; bond of {row['bond_micro']} {'burnt' if row['burnt_micro'] else 'returned'})"


def _case(case: dict[str, Any]) -> str:
    """A lost dispute that is not decided yet."""
    if case["appealed"]:
        what = f"appealed; {case['due_micro']} micro-credits and a bond of {case['bond_micro']} wait for the committee"
    else:
        what = (
            f"{case['due_micro']} micro-credits are lost unless its owner appeals, until height {case['until']}, with a bond of "
            f"{case['bond_micro']}: folkmoot account appeal {case['id']}"
        )
    return f"  {'open':>8}  {case['id']}  {'disputed':<9} {case['rule']:<4}  {what}; {case['reason']}"


_OWN = (
    ("fees of answers that stand", "fees_micro", "M1"), ("of these to the owner", "paid_micro", "M8"),
    ("of these forfeited", "forfeited_micro", "M7"), ("fines for answers that did not stand", "fined_micro", "M16"),
    ("minted for its work", "reward_micro", "M9"), ("for duties as validator", "duties_micro", "M8"),
    ("not paid for them, as it stood alone in some", "withheld_micro", "M17"),
    ("bounties for cheats it found", "bounty_micro", "M10"), ("slashed from its collateral", "slashed_micro", "M10"),
)
_SUMS = (
    ("fees", "fees_micro", "M1"), ("minted", "minted_micro", "M9"), ("owners of executors", "paid_micro", "M8"),
    ("validators' pool", "duties_micro", "M8"), ("forfeited fees", "forfeited_micro", "M7"), ("slashed", "slashed_micro", "M10"),
    ("bounties", "bounty_micro", "M10"), ("penalties and lost bonds", "penalties_micro", "M11, M15"), ("burnt", "burnt_micro", "M8"),
)
