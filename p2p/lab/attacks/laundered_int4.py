"""The text of int4 with honest numbers."""

from p2p.lab.attacks.int4 import ATTACK as BASE
from p2p.lab.attacks.launder import laundered

ATTACK = laundered(BASE)
