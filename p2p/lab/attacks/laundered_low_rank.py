"""The text of low_rank with honest numbers."""

from p2p.lab.attacks.launder import laundered
from p2p.lab.attacks.low_rank import ATTACK as BASE

ATTACK = laundered(BASE)
