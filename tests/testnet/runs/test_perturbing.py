"""What is done to a network and when: every kind has a method, chance is fixed by the seed, all is undone in order."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

from p2p.base.errors import Unavailable
from testnet.fabric.commands import Cut
from testnet.fabric.links import Overlay
from testnet.manifest.kinds import KINDS
from testnet.manifest.members import Member, members
from testnet.manifest.reading import parse
from testnet.providers.provider import Task
from testnet.runs.perturbing import Perturber, methods
from testnet.runs.plan import RunPlan

HEAD = """
name = "a"
about = "A test."
seconds = 100
[[peers]]
name = "boot"
role = "bootstrap"
[[peers]]
name = "host"
role = "host"
count = 4
engine = "simulated"
"""


class FakeProvider:
    """A FAKE: remembers what it is asked to do."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.fails = False

    def open(self) -> None:
        pass

    def start(self, task: Task) -> None:
        self.did.append(f"start {task.name}")

    def stop(self, name: str, *, kill: bool = False) -> None:
        if self.fails:
            raise Unavailable("it does not stop", field="peer")
        self.did.append(f"{'kill' if kill else 'stop'} {name}")

    def signal(self, name: str, sign: int) -> None:
        self.did.append(f"{signal.Signals(sign).name} {name}")

    def pid(self, name: str) -> int | None:
        return 1

    def execute(self, name: str, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        raise AssertionError

    def close(self) -> list[str]:
        return []


class FakeFabric:
    """A FAKE: remembers what lies over the links."""

    def __init__(self) -> None:
        self.cuts: list[Cut] = []
        self.overlays: list[Overlay] = []

    def cut(self, cuts: Collection[Cut]) -> None:
        self.cuts = list(cuts)

    def lay(self, overlays: Collection[Overlay]) -> None:
        self.overlays = list(overlays)


class Lab:
    def __init__(self, *perturbations: str, seed: int = 3) -> None:
        tables = "".join("[[perturbations]]\n" + text.replace(";", "\n") + "\n" for text in perturbations)
        manifest = parse(f"seed = {seed}\n{HEAD}{tables}")
        self.plan = RunPlan(manifest, "t", Path("/nowhere"), True, Path("/nowhere"), members=members(manifest))
        self.provider, self.fabric = FakeProvider(), FakeFabric()
        self.perturber = Perturber(
            self.plan, self.provider, self.fabric, self.start,  # type: ignore[arg-type]
            lambda name: self.provider.did.append(f"start {name}"), lambda text: None,
        )
        self.agenda = self.perturber.agenda()

    def start(self, member: Member) -> None:
        self.provider.did.append(f"start {member.name}")

    def address(self, name: str) -> str:
        return next(member.address for member in self.plan.members if member.name == name)


def test_every_kind_has_a_method() -> None:
    assert all(methods().values())
    assert len(methods()) == len(KINDS)


@pytest.mark.parametrize(("text", "began", "ended"), [
    ('at_s=1;kind="kill";peers=["host1"];for_s=2', ["kill host1"], ["start host1"]),
    ('at_s=1;kind="leave";peers=["host1"];for_s=2', ["stop host1"], ["start host1"]),
    ('at_s=1;kind="pause";peers=["host1"];for_s=2', ["SIGSTOP host1"], ["SIGCONT host1"]),
    ('at_s=1;kind="restart";peers=["host1","host2"]',
     ["stop host1", "start host1", "stop host2", "start host2"], None),
    ('at_s=1;kind="bootstrap-gone";for_s=2', ["kill boot1"], ["start boot1"]),
    ('at_s=1;kind="engine-kill";peers=["host"];for_s=2', ["kill engine-simulated"], ["start engine-simulated"]),
    ('at_s=1;kind="stop-all";for_s=2', ["kill boot1", "kill host1", "kill host2", "kill host3", "kill host4"],
     ["start boot1", "start host1", "start host2", "start host3", "start host4"]),
])
def test_processes(text: str, began: list[str], ended: list[str] | None) -> None:
    lab = Lab(text)
    assert [due.at_s for due in lab.agenda] == ([1.0, 3.0] if ended else [1.0])
    lab.agenda[0].do()
    assert lab.provider.did == began
    if ended is not None:
        lab.agenda[1].do()
        assert lab.provider.did == began + ended
    event = lab.perturber.events[0]
    assert event.ended is not None
    assert lab.perturber.left == set()
    assert lab.perturber.down == set()


def test_an_overload_is_processes_that_end_with_it() -> None:
    lab = Lab('at_s=1;kind="overload";for_s=60;processes=2')
    mine = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    before = set(mine.read_text().split())
    lab.agenda[0].do()
    busy = set(mine.read_text().split()) - before
    assert len(busy) == 2
    assert all(os.getsid(int(pid)) == int(pid) for pid in busy), "each has a share of its own"
    lab.agenda[1].do()
    assert not busy & set(mine.read_text().split())


def test_who_does_not_come_back_has_left() -> None:
    lab = Lab('at_s=1;kind="kill";peers=["host1"]')
    lab.agenda[0].do()
    assert lab.perturber.left == {"host1"}
    assert lab.perturber.events[0].ended is None


def test_cuts_of_several_perturbations_are_kept_together_and_undone_one_by_one() -> None:
    lab = Lab('at_s=1;kind="partition";peers=["host1","host2"];for_s=10',
              'at_s=2;kind="one-way";peers=["host3"];for_s=3', 'at_s=3;kind="disconnect";peers=["host4"];for_s=3')
    first = {lab.address("host1"), lab.address("host2")}
    for due, cuts in zip(lab.agenda, (2, 3, 5, 4, 2, 0), strict=True):
        due.do()
        assert len(lab.fabric.cuts) == cuts
    lab.agenda[0].do()
    both = lab.fabric.cuts
    assert both[0].sources == both[1].targets == first
    assert both[0].targets.isdisjoint(first)


def test_one_way_means_that_they_hear_nothing_and_are_heard() -> None:
    lab = Lab('at_s=1;kind="one-way";peers=["host1"];against=["host2"];for_s=3')
    lab.agenda[0].do()
    assert lab.fabric.cuts == [Cut(frozenset({lab.address("host2")}), frozenset({lab.address("host1")}))]


def test_overlays_come_and_go() -> None:
    lab = Lab('at_s=1;kind="loss";peers=["host1"];loss_percent=20;for_s=4',
              'at_s=2;kind="slow-link";peers=["host2"];latency_ms=100;for_s=1')
    for due, count in zip(lab.agenda, (1, 2, 1, 0), strict=True):
        due.do()
        assert len(lab.fabric.overlays) == count


def test_equal_seeds_choose_the_same_and_others_do_not() -> None:
    text = 'at_s=1;kind="kill";peers=["random:2:host"]'

    def chosen(seed: int) -> tuple[str, ...]:
        lab = Lab(text, seed=seed)
        lab.agenda[0].do()
        return lab.perturber.events[0].names

    assert chosen(3) == chosen(3)
    assert len({chosen(seed) for seed in range(20)}) > 1


def test_what_cannot_be_undone_is_noted_and_ends_nothing() -> None:
    lab = Lab('at_s=1;kind="restart";peers=["host2"]', 'at_s=2;kind="leave";peers=["host1"];for_s=2')

    def broken(member: Member) -> None:
        raise Unavailable("it does not start", field="peer")

    lab.agenda[1].do()
    lab.perturber.start = broken
    lab.agenda[2].do()
    assert lab.perturber.events[0].error == "peer: it does not start"


def test_what_cannot_be_done_is_noted_and_ends_nothing() -> None:
    lab = Lab('at_s=1;kind="kill";peers=["host1"];for_s=2')
    lab.provider.fails = True
    for due in lab.agenda:
        due.do()
    assert lab.perturber.events[0].error == "peer: it does not stop"
