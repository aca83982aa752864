"""The text of rope_theta with honest numbers."""

from p2p.lab.attacks.launder import laundered
from p2p.lab.attacks.rope_theta import ATTACK as BASE

ATTACK = laundered(BASE)
