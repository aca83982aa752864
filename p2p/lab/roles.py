"""Makes the roles of a test network's peer out of its lab.toml.

Law: everything that is not the cheat's own is an honest peer's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from p2p.lab import attacks
from p2p.lab.attacks.reckless import Reckless
from p2p.lab.settings import LabSettings
from p2p.peer.fault_injector import FAULTS
from p2p.peer.roles import Roles
from p2p.peer.validator import Validator


def roles_of(settings: LabSettings) -> Roles:
    """The roles of a peer that behaves as `settings` says."""
    faults = {name: attacks.get(name).wrap for name in FAULTS}
    plant_every_s = (settings.plant_interval_ms or 0) / 1000
    if settings.cheat is None:
        return Roles(honest_ml_node=settings.honest_ml_node or "", faults=faults, plant_every_s=plant_every_s)
    cheat, honest = attacks.get(settings.cheat), Roles()
    validator: Callable[..., Validator] = cheat.validator or honest.validator
    if settings.cheat_friends:
        validator = partial(validator, friends=frozenset(map(bytes.fromhex, settings.cheat_friends)))
    return Roles(
        agent=cheat.agent or honest.agent, executor=cheat.executor or Reckless, validator=validator, jobs=cheat.wrap,
        checks=cheat.checks_with, honest_ml_node=settings.honest_ml_node or "", torch_options=cheat.torch_options,
        faults=faults, plant_every_s=plant_every_s,
    )
