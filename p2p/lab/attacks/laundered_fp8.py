"""The text of fp8 with honest numbers."""

from p2p.lab.attacks.fp8 import ATTACK as BASE
from p2p.lab.attacks.launder import laundered

ATTACK = laundered(BASE)
