"""Kinds of perturbations: what each needs of the manifest and of the provider. Law: data only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag, auto


class Needs(Flag):
    """What a provider must be able to do."""

    NOTHING = 0
    LINKS = auto()  # addresses of their own, and what lies between them
    CLOCKS = auto()
    DISKS = auto()


@dataclass(frozen=True, slots=True)
class Kind:
    what: str  # for people, after the peers' names
    needs: Needs = Needs.NOTHING
    lasts: bool = True  # for_s undoes it; False: it happens once
    whom: str = "peers"  # peers, engines, or nobody: the whole network


KINDS = {
    "kill": Kind("killed without a word"),
    "pause": Kind("stopped where they are (SIGSTOP)"),
    "restart": Kind("stopped in order and started again", lasts=False),
    "leave": Kind("stopped in order"),
    "join": Kind("started for the first time", lasts=False),
    "disconnect": Kind("cut off from everybody", Needs.LINKS),
    "partition": Kind("cut off from the other side", Needs.LINKS),
    "one-way": Kind("hear nothing of the other side, which hears them", Needs.LINKS),
    "slow-link": Kind("reached late or through little bandwidth", Needs.LINKS),
    "loss": Kind("lose packets", Needs.LINKS),
    "clock-offset": Kind("have a clock that is off", Needs.CLOCKS),
    "disk-full": Kind("have no room left on their disk", Needs.DISKS),
    "slow-disk": Kind("have a slow disk", Needs.DISKS),
    "engine-kill": Kind("their model server killed", whom="engines"),
    "upgrade": Kind("stopped, and started from this release", lasts=False),
    "bootstrap-gone": Kind("the bootstrap peer killed", whom="nobody"),
    "overload": Kind("the machine is kept busy by other processes", whom="nobody"),
    "stop-all": Kind("the whole network stopped at once", whom="nobody"),
}
