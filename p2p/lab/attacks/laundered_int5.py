"""The text of int5 with honest numbers."""

from p2p.lab.attacks.int5 import ATTACK as BASE
from p2p.lab.attacks.launder import laundered

ATTACK = laundered(BASE)
