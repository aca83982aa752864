"""The villains, by name."""

from __future__ import annotations

from tests.sim.villains.amnesiac import Amnesiac
from tests.sim.villains.base import Villain
from tests.sim.villains.border import Border
from tests.sim.villains.byte_mutator import ByteMutator
from tests.sim.villains.certificate_forger import CertificateForger
from tests.sim.villains.equivocator import Equivocator
from tests.sim.villains.evidence_framer import EvidenceFramer
from tests.sim.villains.greedy import Greedy
from tests.sim.villains.nuller import Nuller
from tests.sim.villains.oversizer import Oversizer
from tests.sim.villains.round_mutator import RoundMutator
from tests.sim.villains.silent_proposer import SilentProposer
from tests.sim.villains.silent_relay import SilentRelay
from tests.sim.villains.stale_replayer import StaleReplayer
from tests.sim.villains.sync_liar import SyncLiar
from tests.sim.villains.twin import Twin
from tests.sim.villains.withholder import Withholder

VILLAINS: dict[str, type[Villain]] = {
    "equivocator": Equivocator, "amnesiac": Amnesiac, "nuller": Nuller, "silent_proposer": SilentProposer, "twin": Twin,
    "withholder": Withholder, "stale_replayer": StaleReplayer, "oversizer": Oversizer, "byte_mutator": ByteMutator,
    "round_mutator": RoundMutator, "certificate_forger": CertificateForger, "evidence_framer": EvidenceFramer,
    "sync_liar": SyncLiar,
    "border": Border, "silent_relay": SilentRelay, "greedy": Greedy,
}
