"""The checks of a run: each holds on what is right and fails on one thing that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from testnet.manifest.model import Checks
from testnet.runs.asking import Answer
from testnet.runs.checks import ENOUGH, MOST_MESH, all_checks
from testnet.runs.events import Event
from testnet.runs.evidence import REFUSED, Booked, Evidence
from testnet.runs.result import VerdictRow
from testnet.runs.watching import Look, Seen

MIB = 1 << 20
NAMES = ("a1", "a2", "a3", "a4", "a5")
CHECKS = Checks(heal_s=10, answered_percent=50)


def seen_at(height: int, **more: int) -> Seen:
    mesh, memory = (more.get("mesh", 4), 3), more.get("rss", 90 * MIB)
    return Seen(height, "ready", more.get("connections", 4), mesh, memory, more.get("files", 30), 1.0)


def right() -> Evidence:
    """A minute in which everything is as it should be: a2 is killed at 20 and back at 30."""
    looks = []
    for at in range(60):
        there = [name for name in NAMES if name != "a2" or not 20 <= at < 32]
        looks.append(Look(float(at), {name: seen_at(at + 1) for name in there}))
    return Evidence(
        list(NAMES), True, looks, [Event("kill", ("a2",), 20.0, 30.0)],
        [Answer(1.0, id="11" * 16), Answer(2.0, error="busy"), Answer(3.0, id="22" * 16)],
        {height: dict.fromkeys(NAMES, ("b" * 8, "h" * 8)) for height in (10, 20)},
        {"11" * 16: Booked("VALIDATED", "a1", "", 0, True), "22" * 16: Booked("FINISHED", "a2", "", 0, True)},
        {0: ""}, [VerdictRow("a1", "", 5, 5, "", 0), VerdictRow("a5", "int4", 9, 9, "Refuted", 2)],
    )


def failing(seen: Evidence, wanted: Checks = CHECKS) -> list[str]:
    return [check.name for check in all_checks(seen, wanted) if not check.holds]


def test_all_hold_where_all_is_right() -> None:
    seen = right()
    assert failing(seen) == []
    assert seen.events[0].grown == 32.0, "a2 answers again, above the height of 30"


def fork(seen: Evidence) -> None:
    seen.blocks[20]["a3"] = ("c" * 8, "h" * 8)


def other_state(seen: Evidence) -> None:
    seen.blocks[20]["a3"] = ("b" * 8, "i" * 8)


def no_blocks(seen: Evidence) -> None:
    seen.blocks.clear()


def stuck(seen: Evidence) -> None:
    seen.looks[:] = [
        Look(look.at, {n: seen_at(min(s.height, 31) if n == "a4" else s.height) for n, s in look.peers.items()})
        for look in seen.looks
    ]


def never_back(seen: Evidence) -> None:
    for look in seen.looks[30:]:
        look.peers.pop("a2", None)  # type: ignore[attr-defined]


def late(seen: Evidence) -> None:
    for look in seen.looks[30:45]:
        look.peers.pop("a2", None)  # type: ignore[attr-defined]


def halted(seen: Evidence) -> None:
    seen.events.clear()
    seen.looks[:] = [Look(look.at, {name: seen_at(5) for name in look.peers}) for look in seen.looks]


def lost(seen: Evidence) -> None:
    seen.inferences["22" * 16] = None


def unanswered(seen: Evidence) -> None:
    seen.answers.extend(Answer(9.0, error="busy") for _ in range(5))


def unbalanced(seen: Evidence) -> None:
    seen.sums[1] = "fees 5, paid 6"


def honest_convicted(seen: Evidence) -> None:
    seen.conduct[0] = changed(seen.conduct[0], convicted="Refuted")


def cheat_free(seen: Evidence) -> None:
    seen.conduct[1] = changed(seen.conduct[1], convicted="", checked=ENOUGH)


def honest_refused(seen: Evidence) -> None:
    for number in range(3):
        seen.inferences[f"{number:032}"] = Booked(REFUSED, "a1", "too far", 0, True)


def lonely(seen: Evidence) -> None:
    seen.looks[-1].peers["a3"] = seen_at(60, connections=1)  # type: ignore[index]


def meshed(seen: Evidence) -> None:
    seen.looks[-1].peers["a3"] = seen_at(60, mesh=MOST_MESH + 1)  # type: ignore[index]


def fat(seen: Evidence) -> None:
    seen.looks[7].peers["a3"] = seen_at(8, rss=500 * MIB)  # type: ignore[index]


def leaky(seen: Evidence) -> None:
    seen.looks[7].peers["a3"] = seen_at(8, files=2000)  # type: ignore[index]


def died(seen: Evidence) -> None:
    seen.died = {"a3": "killed: out of memory"}


def undone(seen: Evidence) -> None:
    seen.events.append(Event("loss", ("a1",), 40.0, 41.0, error="nft failed"))


@pytest.mark.parametrize(("wrong", "name"), [
    (fork, "no fork"), (other_state, "no fork"), (no_blocks, "no fork"),
    (stuck, "heights grow"), (never_back, "heights grow"), (late, "heights grow"), (halted, "heights grow"),
    (lost, "no acknowledged inference is lost"), (unanswered, "questions are answered"),
    (unbalanced, "each epoch's money balances"), (honest_convicted, "verdicts are right"),
    (cheat_free, "verdicts are right"), (honest_refused, "verdicts are right"), (lonely, "peers are connected"),
    (meshed, "peers are connected"), (fat, "memory and files are bounded"), (leaky, "memory and files are bounded"),
    (died, "no process ended by itself"), (undone, "everything planned was done"),
], ids=lambda value: getattr(value, "__name__", ""))
def test_each_check_sees_what_is_wrong(wrong: Callable[[Evidence], None], name: str) -> None:
    seen = right()
    wrong(seen)
    assert failing(seen) == [name]
    check = next(check for check in all_checks(seen, CHECKS) if check.name == name)
    assert check.failures


def test_connections_that_end_under_load_are_counted_where_the_process_stayed() -> None:
    seen, (stayed, began_again) = right(), NAMES[:2]
    for at, count in ((0, 1), (-1, 4)):
        look = seen.looks[at]
        more = {
            stayed: replace(look.peers[stayed], ended=(("lost", count), ("silent", 2))),
            began_again: replace(look.peers[began_again], ended=(("lost", count),), cpu_s=1.0 - 0.1 * count),
        }
        seen.looks[at] = Look(look.at, {**look.peers, **more})
    says = {check.name: check.says for check in all_checks(seen, CHECKS)}
    assert says["peers are connected"].endswith("ended under load: 3 lost")


def test_a_cheat_with_few_checked_answers_need_not_be_convicted() -> None:
    seen = right()
    seen.conduct[1] = changed(seen.conduct[1], convicted="", checked=ENOUGH - 1)
    assert failing(seen) == []


def test_a_peer_that_has_left_need_not_grow() -> None:
    seen = right()
    never_back(seen)
    seen.events[0].ended = None
    seen.gone.add("a2")
    assert failing(seen) == []


def test_a_newcomer_is_expected_only_once_it_has_come() -> None:
    seen = right()
    for look in seen.looks[:50]:
        look.peers.pop("a5", None)  # type: ignore[attr-defined]
    assert failing(seen) == []


@pytest.mark.parametrize("switch", ["no_fork", "acknowledged", "sums", "verdicts"])
def test_a_switch_leaves_its_check_out(switch: str) -> None:
    names = {check.name for check in all_checks(right(), CHECKS)}
    assert len(names - {check.name for check in all_checks(right(), changed(CHECKS, **{switch: False}))}) == 1
