"""The text of int6 with honest numbers."""

from p2p.lab.attacks.int6 import ATTACK as BASE
from p2p.lab.attacks.launder import laundered

ATTACK = laundered(BASE)
