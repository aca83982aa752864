"""The text of pruned with honest numbers."""

from p2p.lab.attacks.launder import laundered
from p2p.lab.attacks.pruned import ATTACK as BASE

ATTACK = laundered(BASE)
